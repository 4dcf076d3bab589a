#!/usr/bin/env bash
# Installs tcptrace for the whole machine, or removes it again: `deploy/install.sh install|uninstall`, as root.
# It lives in one directory, /opt/tcptrace (a virtual environment), with one link to its command; where there is systemd, one
# unit is put beside the machine's own, and neither enabled nor started; bash and zsh complete its options. Nothing else is written.
# An installed copy is readable by everybody, which a checkout in a private home is not: the tracer drops root's privileges.

set -euo pipefail

readonly PYTHON=/usr/bin/python3
readonly PLACE=/opt/tcptrace
readonly LINK=/usr/local/bin/tcptrace
readonly BASH_COMPLETION=/usr/local/share/bash-completion/completions/tcptrace
readonly ZSH_COMPLETION=/usr/local/share/zsh/site-functions/_tcptrace
readonly CACHE=/var/cache/tcptrace
readonly UNIT=/etc/systemd/system/tcptrace.service
readonly ENABLED=/etc/systemd/system/multi-user.target.wants/tcptrace.service
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

# Refuses to touch what something else put in these places.
require_ours() {
	[ ! -e "$PLACE" ] || [ -e "$PLACE/installed-by-tcptrace" ] ||
		die "$PLACE exists and was not made by 'make install'" "move it away"
	[ ! -e "$LINK" ] && [ ! -L "$LINK" ] || [ "$(readlink "$LINK")" = "$PLACE/bin/tcptrace" ] ||
		die "$LINK exists and does not lead to $PLACE" "move it away"
	[ ! -e "$UNIT" ] || grep -q "^ExecStart=$LINK " "$UNIT" ||
		die "$UNIT exists and does not start $LINK" "move it away"
	require_our_completion "$BASH_COMPLETION"
	require_our_completion "$ZSH_COMPLETION"
}

require_our_completion() {
	[ ! -e "$1" ] || grep -q "written by 'make install'" "$1" || die "$1 exists and was not made by 'make install'" "move it away"
}

make_place() {
	mkdir -p "$PLACE"
	touch "$PLACE/installed-by-tcptrace"
	"$PLACE/bin/python" -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear "$PLACE"
	touch "$PLACE/installed-by-tcptrace" # --clear has emptied the directory
}

has_systemd() { [ -d "$(dirname "$UNIT")" ]; }
systemd_runs() { [ -d /run/systemd/system ]; }

install_unit() {
	has_systemd || return 0
	cp deploy/systemd/tcptrace.service "$UNIT"
	! systemd_runs || systemctl daemon-reload
	say "installed $UNIT; to start it, now and whenever the machine does: sudo systemctl enable --now tcptrace"
}

# Drop-ins that an administrator wrote (tcptrace.service.d) and /etc/default/tcptrace are not ours to remove.
remove_unit() {
	[ -e "$UNIT" ] || return 0
	! systemd_runs || systemctl --quiet disable --now tcptrace
	rm -f "$UNIT" "$ENABLED"
	! systemd_runs || systemctl daemon-reload
	say "removed $UNIT"
}

# A table of words each: pressing Tab starts nothing of tcptrace.
install_completion() {
	mkdir -p "$(dirname "$BASH_COMPLETION")" "$(dirname "$ZSH_COMPLETION")"
	"$PLACE/bin/python" -I deploy/completion.py bash >"$BASH_COMPLETION"
	"$PLACE/bin/python" -I deploy/completion.py zsh >"$ZSH_COMPLETION"
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
	deploy/locked/install.sh "$PLACE/bin/python" >&2 ||
		die "pip could not install what deploy/locked asks for (see above)" "is there a way to PyPI, or to a mirror of all of it?"
	mkdir -p "$(dirname "$LINK")"
	ln -sfn "$PLACE/bin/tcptrace" "$LINK"
	install_completion
	install_unit
	warn_of_unrelated
	say "installed; try: sudo tcptrace run"
}

uninstall() {
	require_root uninstall
	require_ours
	remove_unit
	rm -f "$LINK" "$BASH_COMPLETION" "$ZSH_COMPLETION"
	rm -rf "$PLACE" "$CACHE" /var/cache/private/tcptrace
	say "removed $PLACE, $LINK and $CACHE; the Debian packages it used were left"
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
