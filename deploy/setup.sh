#!/usr/bin/env bash
# Installs what one of make's targets needs and is not there yet: `deploy/setup.sh run|test|guests|distributions|bench|fuzz|release|check|install`.
# It says what it installs before it does, never asks a question, and goes on without a package that it may not install,
# naming what will not work. The distribution gives what pip cannot: bcc (PyPI's `bcc` is an unrelated package), and tools.

set -euo pipefail
# shellcheck source=deploy/becoming-root.sh
source "$(dirname "$0")/becoming-root.sh"

readonly PYTHON=/usr/bin/python3 # bcc is installed for this one; a python3 that comes first on PATH cannot import it
readonly VENV=.venv
readonly PROMETHEUS=.cache/prometheus
readonly UPDATED=.cache/apt-updated # its age is that of our last apt-get update
readonly APT_LOG=.cache/apt.log
readonly APT_OPTIONS=(-y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::http::Timeout=30 -o Acquire::Retries=1)

# Everything goes to standard error, so that `make -s run ARGS=--json` writes nothing but JSON to standard output.
say() { printf 'set-up: %s\n' "$*" >&2; }
hint() { printf 'hint: %s\n' "$*" >&2; }
die() {
	say "$1"
	hint "$2"
	exit 1
}

# The Debian packages of each target, in the order in which they are named to the user.
packages_of() {
	case $1 in
	run | install) echo python3 python3-venv python3-bpfcc ;;
	test) echo python3 python3-venv python3-bpfcc gcc libc6-dev iproute2 nftables procps tcpdump tshark bpftool \
		chromium-headless-shell fonts-dejavu-core && packages_of_all_tests ;;
	distributions) echo python3 mmdebstrap ;;
	guests) packages_of test && echo qemu-system-x86 busybox-static kmod e2fsprogs zstd ;;
	release) echo python3 python3-venv ;;
	fuzz) echo python3 python3-venv libbpf1 ;;
	bench) packages_of test && echo libbpf-tools bpfcc-tools ;;
	check) echo python3 python3-venv clang-format ;;
	esac
}

# Nobody's machine gets systemd or docker-compose for the sake of tests; where a skip is a failure, all tests have to run.
# python3-setuptools: Ubuntu 24.04's docker-compose imports distutils, which it has, and does not depend on it.
packages_of_all_tests() {
	[ -z "${TCPTRACE_REQUIRE_KERNEL:-}" ] || echo systemd python3-setuptools docker-compose
}

# What does not work without a package, to end the sentence "without it, ...".
loss_of() {
	case $1 in
	python3 | python3-venv) echo "nothing works" ;;
	python3-bpfcc) echo "tcptrace cannot trace; replay, demo and the tests without the kernel do work" ;;
	clang-format) echo "the C code is not checked" ;;
	mmdebstrap) echo "no other distribution can be tried" ;;
	qemu-system-x86 | busybox-static | kmod | e2fsprogs | zstd) echo "other kernels are not tested" ;;
	libbpf1) echo "nothing reads types of the kernel's" ;;
	libbpf-tools | bpfcc-tools) echo "the bench leaves its rows out" ;;
	*) echo "the tests that use it are skipped" ;;
	esac
}

# The versions that decide whether the virtual environment still fits, and where it stands (its scripts hold their path).
fingerprint() {
	pwd
	"$VENV/bin/python" --version 2>&1 || true
	sha256sum pyproject.toml
}

# Its hundreds of lines go to a log, whose end is shown when it fails.
apt() {
	local command=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get "${APT_OPTIONS[@]}" "$@")
	is_root || command=(sudo "${command[@]}")
	mkdir -p "$(dirname "$APT_LOG")"
	"${command[@]}" </dev/null >"$APT_LOG" 2>&1 && return
	say "apt-get $1 failed; the end of $APT_LOG says:"
	tail -n 5 "$APT_LOG" | sed 's/^/  /' >&2
	return 1
}

# A command of the package's name will do as well: some distributions have bpftool in a package of another name.
is_there() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ||
		PATH=/usr/sbin:/usr/bin command -v "$1" >/dev/null
}

missing_packages() {
	local package
	for package in "$@"; do
		is_there "$package" || echo "$package"
	done
}

# Whether apt can install a package: one that others only mention has a record, but no version to install.
# (grep reads to the end: with -q it would hang up on apt-cache, which pipefail would take for a no.)
apt_knows() { LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep 'Candidate: [^(]' >/dev/null; }

unknown_packages() {
	local package
	for package in "$@"; do
		apt_knows "$package" || echo "$package"
	done
}

report_missing() {
	local why=$1 package
	shift
	say "not installed ($why):"
	for package in "$@"; do
		printf '  %-14s without it, %s\n' "$package" "$(loss_of "$package")" >&2
	done
	hint "as root: apt-get install --no-install-recommends $*"
}

update_lists() {
	if apt update; then touch "$UPDATED"; else say "going on with the package lists there are"; fi
}

lists_are_recent() {
	compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null && [ -n "$(find "$UPDATED" -mmin -1440 2>/dev/null)" ]
}

# Leaves the lists alone while they hold every package, since updating them takes longer than all the rest; and updates
# them once a day at most, since a package that this distribution does not have at all must not cost that each time.
refresh_lists() {
	[ -n "$(unknown_packages "$@")" ] || return 0
	lists_are_recent && return
	say "running apt-get update, since the package lists do not have them all"
	update_lists
}

# One stale list entry must not cost the others: after an update, what still fails is installed one by one.
install_packages() {
	local package
	apt install "$@" && return
	say "trying once more with fresh lists, package by package"
	update_lists
	for package in "$@"; do
		apt install "$package" || true
	done
}

ensure_packages() {
	local missing known unknown
	if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
		say "no apt-get here: install yourself what these Debian packages hold: $*"
		return
	fi
	mapfile -t missing < <(missing_packages "$@")
	[ "${#missing[@]}" = 0 ] && return
	say "Debian packages needed and not installed: ${missing[*]}"
	if ! can_become_root; then
		report_missing "installing needs root, or sudo" "${missing[@]}"
		return
	fi
	refresh_lists "${missing[@]}"
	mapfile -t unknown < <(unknown_packages "${missing[@]}")
	mapfile -t known < <(printf '%s\n' "${missing[@]}" | grep -vxF -f <(printf '%s\n' "${unknown[@]}") || true)
	if [ "${#known[@]}" != 0 ]; then
		say "installing with apt-get, and what they depend on: ${known[*]}"
		install_packages "${known[@]}"
	fi
	mapfile -t missing < <(missing_packages "$@")
	[ "${#missing[@]}" = 0 ] || report_missing "apt-get could not install them" "${missing[@]}"
}

require_python() {
	[ -x "$PYTHON" ] || die "there is no $PYTHON" "as root: apt-get install python3 python3-venv"
	"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
		die "$("$PYTHON" --version) is too old: tcptrace needs 3.11" "use Debian 12, Ubuntu 24.04 or newer"
	"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
		die "$PYTHON cannot make virtual environments" "as root: apt-get install python3-venv"
}

# A stamp holds the fingerprint for which the environment was complete; the word "none" stands for no extra.
stamp_of() { echo "$VENV/stamp-$1"; }
is_fresh() { [ "$(cat "$(stamp_of "$1")" 2>/dev/null)" = "$(fingerprint)" ]; }

require_writable() {
	[ ! -e "$VENV" ] || [ -w "$VENV" ] ||
		die "$VENV needs an update and belongs to $(stat -c %U "$VENV")" "remove it: sudo rm -r $PWD/$VENV"
}

# An environment made elsewhere, or by a Python that is gone, is made anew: patching one is slower and less sure.
make_venv() {
	local home
	home=$(sed -n 's/^command = .* //p' "$VENV/pyvenv.cfg" 2>/dev/null || true)
	[ "$home" = "$PWD/$VENV" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && return
	say "making the virtual environment $VENV with $PYTHON"
	"$PYTHON" -m venv --clear "$VENV" >&2
}

ensure_venv() {
	local extra=$1 project=.
	is_fresh "$extra" && return
	require_python
	require_writable
	make_venv
	[ "$extra" = none ] || project=".[$extra]"
	say "installing into $VENV with pip: tcptrace ($project) and the packages that pyproject.toml names for it"
	"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$project" >&2 ||
		die "pip could not install tcptrace's packages (see above)" "is there a way to a Python package index?"
	fingerprint | tee "$(stamp_of none)" >"$(stamp_of "$extra")"
}

# As this user and beforehand: root, who traces, leaves no files here, and would compile tcptrace at every start.
compile_checkout() {
	"$VENV/bin/python" -m compileall -qq tracer || say "tcptrace starts more slowly, as $PWD/tracer cannot be written"
}

has_prometheus() {
	[ -x "$PROMETHEUS/usr/bin/promtool" ] || { command -v prometheus && command -v promtool; } >/dev/null
}

# Unpacked instead of installed: Debian's package would start a server, on port 9090 of the user's machine.
# Since Debian 13 promtool is a package of its own.
fetch_prometheus() {
	local place=$PROMETHEUS.new packages=(prometheus) deb
	! apt_knows promtool || packages+=(promtool)
	rm -rf "$place"
	mkdir -p "$place"
	(cd "$place" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" >&2) || return
	for deb in "$place"/*.deb; do dpkg -x "$deb" "$place" && rm "$deb" || return; done
	"$place/usr/bin/prometheus" --version >/dev/null && "$place/usr/bin/promtool" --version >/dev/null || return
	rm -rf "$PROMETHEUS"
	mv "$place" "$PROMETHEUS"
}

ensure_prometheus() {
	has_prometheus && return
	apt_knows prometheus || ! can_become_root || refresh_lists prometheus
	say "fetching Debian's Prometheus into $PROMETHEUS for the tests; it is not installed, and no service starts"
	fetch_prometheus && return
	rm -rf "$PROMETHEUS.new"
	say "Prometheus could not be fetched: without it, the tests that use it are skipped"
}

main() {
	cd "$(dirname "$0")/.."
	case ${1:-} in
	run | test | guests | distributions | bench | fuzz | release | check | install) ;;
	*) die "usage: deploy/setup.sh run|test|guests|distributions|bench|fuzz|release|check|install" "see 'make help'" ;;
	esac
	# shellcheck disable=SC2046 # one word a package is what is wanted
	ensure_packages $(packages_of "$1")
	case $1 in
	run) ensure_venv none && compile_checkout ;;
	test) ensure_venv test && compile_checkout && ensure_prometheus ;;
	bench) ensure_venv test && compile_checkout ;;
	guests) ensure_venv test ;;
	fuzz | release) ensure_venv "$1" ;;
	check) ensure_venv check ;;
	install | distributions) require_python ;;
	esac
}

main "$@"
