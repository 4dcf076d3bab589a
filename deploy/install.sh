#!/usr/bin/env bash
# Installs tcptrace for the whole machine, or removes it again: `deploy/install.sh install|uninstall`, as root.
# It lives in one directory, /opt/tcptrace (a virtual environment), with one link to its command; nothing else is written.
# An installed copy is readable by everybody, which a checkout in a private home is not: the tracer gives up root's rights.

set -euo pipefail

readonly PYTHON=/usr/bin/python3
readonly PLACE=/opt/tcptrace
readonly LINK=/usr/local/bin/tcptrace
readonly UNRELATED=/usr/bin/tcptrace

say() { printf 'tcptrace: %s\n' "$*" >&2; }
hint() { printf 'hint: %s\n' "$*" >&2; }
die() {
	say "$1"
	hint "$2"
	exit 1
}

require_root() {
	[ "$(id -u)" = 0 ] || die "$1 writes to $PLACE and $LINK and needs root" "sudo make $1"
}

# Refuses to touch what something else put in these two places.
require_ours() {
	[ ! -e "$PLACE" ] || [ -e "$PLACE/installed-by-tcptrace" ] ||
		die "$PLACE exists and was not made by 'make install'" "move it away"
	[ ! -e "$LINK" ] && [ ! -L "$LINK" ] || [ "$(readlink "$LINK")" = "$PLACE/bin/tcptrace" ] ||
		die "$LINK exists and does not lead to $PLACE" "move it away"
}

make_place() {
	mkdir -p "$PLACE"
	touch "$PLACE/installed-by-tcptrace"
	"$PLACE/bin/python" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear "$PLACE"
	touch "$PLACE/installed-by-tcptrace" # --clear has emptied the directory
}

warn_of_unrelated() {
	[ -e "$UNRELATED" ] || return 0
	say "note: $UNRELATED is another program of the same name (Debian's package tcptrace, a pcap analyser)"
	hint "which of the two a shell starts is decided by its PATH; $LINK is this one"
}

install() {
	require_root install
	require_ours
	deploy/setup.sh install
	say "installing into $PLACE, with the command $LINK"
	umask 022
	make_place
	"$PLACE/bin/python" -m pip install --quiet --disable-pip-version-check . >&2
	mkdir -p "$(dirname "$LINK")"
	ln -sfn "$PLACE/bin/tcptrace" "$LINK"
	warn_of_unrelated
	say "installed; try: sudo tcptrace run"
}

uninstall() {
	require_root uninstall
	require_ours
	rm -f "$LINK"
	rm -rf "$PLACE"
	say "removed $PLACE and $LINK; the Debian packages it used were left"
}

main() {
	cd "$(dirname "$0")/.."
	case ${1:-} in
	install) install ;;
	uninstall) uninstall ;;
	*) die "usage: deploy/install.sh install|uninstall" "see 'make help'" ;;
	esac
}

main "$@"
