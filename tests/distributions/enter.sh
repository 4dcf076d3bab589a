#!/usr/bin/env bash
# Runs a command in a fresh root: `unshare --mount --propagation private enter.sh PLACE COMMAND…`, PLACE from roots.py.
# Every mount made here ends with the command. Processes, network and kernel are the machine's own: what BPF programs see are
# its process ids. The old root is put away (pivot_root), since in a mere chroot the tests could make no private mounts.

set -euo pipefail
place=$1
shift
root=$place/fresh/root

mount -t overlay overlay -o "lowerdir=$place/base,upperdir=$place/fresh/upper,workdir=$place/fresh/work" "$root"
for shared in dev proc sys; do mount --rbind "/$shared" "$root/$shared"; done
mount -t tmpfs -o mode=755 none "$root/run"

# what was downloaded once is not downloaded again
mkdir -p "$root/root/.cache/pip" "$root/results"
mount --bind "$place/archives" "$root/var/cache/apt/archives"
mount --bind "$place/../pip" "$root/root/.cache/pip"
mount --bind "$place/results" "$root/results"

# the way to the networks, and the certificates that this machine trusts
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
	touch "$root$file"
	mount --bind "$(readlink -f "$file")" "$root$file"
done

# no package may start a service: it would run outside of the root as well
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"

cd "$root"
pivot_root . .
umount --lazy .
exec chroot . /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
