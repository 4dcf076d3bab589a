#!/bin/bash
# Runs in the guest, as its first process: what a system's start would do and tests need, then the command in $OUT/command.
# Its arguments come from files in the directory of results, and its output and status go there.

out=/mnt/out
exec >"$out/log" 2>&1 </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# shellcheck source=/dev/null
source "$out/environment" # CHECKOUT, TCPTRACE_SLOWNESS, and what the caller adds

mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /dev/shm /dev/pts /usr/lib/modules
mount -t tmpfs tmpfs /dev/shm
mount -t devpts devpts /dev/pts
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --bind /mnt/modules /usr/lib/modules
modprobe -qa tun veth nf_tables nft_numgen nft_reject_inet nft_ct nft_limit tcp_diag inet_diag
ip link set lo up

# what is slow over the shared file system comes from the disk
mount -t tmpfs tmpfs "$CHECKOUT"
tar -xf "$out/checkout.tar" -C "$CHECKOUT"
mkdir -p "$CHECKOUT/.venv"
while read -r path; do mount --bind "/mnt/disk$path" "$path"; done </mnt/disk/paths
cd "$CHECKOUT" || exit
read -r up idle </proc/uptime
echo "set up after $up s, $idle s of idle CPUs" >"$out/uptime"
bash "$out/command" >"$out/output" 2>&1
echo $? >"$out/status"
sync
echo o >/proc/sysrq-trigger
sleep 100
