#!/usr/bin/env bash
# Builds dist/tcptrace-ebpf_VERSION_ARCH.deb: `deploy/deb.sh`, in the checkout, without root.
# /usr/lib/tcptrace holds tcptrace and what deploy/locked asks for, since Debian's packages of it are older; wheels are made for one
# version of Python, which the package depends on. Debian's own package tcptrace, a pcap analyser, has a command of the same name.

set -euo pipefail
cd "$(dirname "$0")/.."

readonly PYTHON=.venv/bin/python
readonly NAME=tcptrace-ebpf
readonly LIBRARY=usr/lib/tcptrace
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
umask 022
chmod 755 "$root"

PIP_TARGET=$root/$LIBRARY PYTHONDONTWRITEBYTECODE=1 PIP_NO_COMPILE=1 deploy/locked/install.sh "$PYTHON" >&2
rm -rf "${root:?}/$LIBRARY/bin"

mkdir -p "$root/usr/bin" "$root/lib/systemd/system" "$root/usr/share/bash-completion/completions" "$root/DEBIAN"
printf '%s\n' '#!/usr/bin/python3 -I' 'import sys' "sys.path.insert(0, '/$LIBRARY')" 'from tracer.__main__ import main' 'main()' \
	>"$root/usr/bin/tcptrace"
chmod 755 "$root/usr/bin/tcptrace"
sed 's,^ExecStart=/usr/local/bin/,ExecStart=/usr/bin/,' deploy/systemd/tcptrace.service >"$root/lib/systemd/system/tcptrace.service"
"$PYTHON" -I deploy/completion.py bash >"$root/usr/share/bash-completion/completions/tcptrace"

version=$("$PYTHON" -c 'from tracer import __version__; print(__version__)')
minor=$("$PYTHON" -c 'import sys; print(sys.version_info.minor)')
cat >"$root/DEBIAN/control" <<END
Package: $NAME
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The tcptrace authors <tcptrace@localhost>
Installed-Size: $(du -sk "$root" | cut -f 1)
Depends: python3 (>= 3.$minor), python3 (<< 3.$((minor + 1))), python3-bpfcc
Conflicts: tcptrace
Section: net
Priority: optional
Description: trace the kernel's TCP life cycle with eBPF
 Handshakes, failures, closes, resets and retransmissions of every connection, on a terminal and for Prometheus.
END
printf '%s\n' '#!/bin/sh' "/usr/bin/python3 -m compileall -q /$LIBRARY || true" >"$root/DEBIAN/postinst"
printf '%s\n' '#!/bin/sh' "find /$LIBRARY -name __pycache__ -exec rm -rf {} +" 'rm -rf /var/cache/tcptrace' >"$root/DEBIAN/prerm"
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
mkdir -p dist
dpkg-deb -Zgzip --root-owner-group --build "$root" "dist/${NAME}_${version}_$(dpkg --print-architecture).deb"
