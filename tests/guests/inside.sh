#!/bin/bash
# Runs in the guest, as its first process once all is mounted: the modules that tests need, then the command in $OUT/command.
# Its arguments come from files in the directory of results, and its output and status go there.

out=/mnt/out
exec >"$out/log" 2>&1 </dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
# shellcheck source=/dev/null
source "$out/environment" # CHECKOUT, TCPTRACE_SLOWNESS, and what the caller adds

modprobe -qa tun veth nf_tables nft_numgen nft_reject_inet nft_ct nft_limit tcp_diag inet_diag
ip link set lo up
cd "$CHECKOUT" || exit
read -r up idle </proc/uptime
echo "set up after $up s, $idle s of idle CPUs" >"$out/uptime"
bash "$out/command" >"$out/output" 2>&1
echo $? >"$out/status"
sync
echo o >/proc/sysrq-trigger
sleep 100
