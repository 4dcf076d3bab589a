#!/bin/busybox sh
# The first process of a guest: reaches the host's files (read only, with a writable layer that is forgotten), the disk of
# copied files and the directory of results, and starts inside.sh in them. The machine ends with it.

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
exec $b switch_root /root /bin/bash /mnt/out/inside.sh
