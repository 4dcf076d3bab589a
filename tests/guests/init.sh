#!/bin/busybox sh
# The first process of a guest: reaches the host's files (read only, with a writable layer that is forgotten), the disk of
# copied files and the directory of results, mounts what a system's start would, and starts inside.sh. The machine ends with it.
# All of it with busybox, which is in memory: each start of another program takes a second here.

b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do $b insmod "$module" || echo "cannot load $module"; done
shared=trans=virtio,version=9p2000.L,msize=512000
$b mount -t 9p -o ro,cache=loose,$shared host /host || echo "cannot mount the host's files"
$b mount -t tmpfs tmpfs /top
$b mkdir /top/upper /top/work
$b mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work overlay /root || echo "cannot mount the root"
$b mkdir -p /root/mnt/out /root/mnt/disk /root/mnt/modules
$b mount -t 9p -o rw,$shared out /root/mnt/out || echo "cannot mount the results"
$b mount -t 9p -o ro,cache=loose,$shared modules /root/mnt/modules || echo "cannot mount the modules"
$b mount -t ext4 -o ro /dev/vda /root/mnt/disk || echo "cannot mount the disk"
for place in proc sys dev; do $b mount --move /$place /root/$place; done

. /root/mnt/out/environment # CHECKOUT, and what the caller adds
$b mount -t tmpfs -o mode=1777 tmpfs /root/tmp
$b mount -t tmpfs -o mode=0755 tmpfs /root/run
$b ln -s /proc/self/fd /root/dev/fd # else made by udev; bash's <( ) and >( ) need it
$b mkdir -p /root/dev/shm /root/dev/pts /root/usr/lib/modules /root/var/cache/tcptrace
$b mount -t tmpfs tmpfs /root/dev/shm
$b mount -t devpts devpts /root/dev/pts
$b mount -t tracefs tracefs /root/sys/kernel/tracing
$b mount -t debugfs debugfs /root/sys/kernel/debug
$b mount -t securityfs securityfs /root/sys/kernel/security
$b mount -t bpf bpf /root/sys/fs/bpf
$b mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
$b mount --bind /root/mnt/modules /root/usr/lib/modules
$b mount --bind /root/mnt/out/programs /root/var/cache/tcptrace

# what is slow over the shared file system comes from the disk
$b mkdir -p "/root$CHECKOUT" # which may lie below /tmp
$b mount -t tmpfs tmpfs "/root$CHECKOUT"
$b tar -xf /root/mnt/out/checkout.tar -C "/root$CHECKOUT"
$b mkdir -p "/root$CHECKOUT/.venv"
while read -r path; do $b mount --bind "/root/mnt/disk$path" "/root$path"; done </root/mnt/disk/paths
exec $b switch_root /root /bin/bash /mnt/out/inside.sh
