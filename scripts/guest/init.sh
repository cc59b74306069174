#!/bin/busybox sh
# The first process of the guest. It runs every test binary below /tests and says so on a serial port, in
# lines that begin with #guest; the kernel writes to another one.

if [ "$1" != work ]; then
  # pivot_root(2) refuses the initramfs as the old root, so everything moves to a file system of its own first.
  /bin/busybox mkdir /new
  /bin/busybox mount -t tmpfs -o mode=755,size=90% tmpfs /new
  /bin/busybox mv /bin /etc /lib* /tests /modules /new/
  PATH=/new/bin
  busybox cp /init /new/
  busybox mkdir /new/proc /new/sys /new/dev /new/root /new/run /new/usr
  busybox mkdir -m 1777 /new/tmp
  exec busybox switch_root /new /init work
fi

/bin/busybox --install -s /bin
export PATH=/bin HOME=/root PROFFER_GUEST=1 PROFFER_TEST_IMAGES=/disks
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname guest
ip link set lo up
exec </dev/null >/dev/$PORT 2>&1
stty -F /dev/$PORT raw -echo

for module in /modules/*; do
  insmod "$module"
done
mkdir /disks
for disk in /sys/block/vd*; do
  ln -s "/dev/${disk##*/}" "/disks/$(cat "$disk/serial")"
done
mount -t ext4 /disks/tmp /tmp && chmod 1777 /tmp

for c in $(cat /sys/fs/cgroup/cgroup.controllers); do
  echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control || echo "controller $c cannot be passed on"
done

# The first quota of CPU has the kernel patch its scheduler's code, and so has the end of the last one. An emulator with several processors
# may go on with the code of while that was patched, a breakpoint, for ever: then the whole guest stands still. So there is always a quota.
mkdir /sys/fs/cgroup/quota && echo 100000 100000 >/sys/fs/cgroup/quota/cpu.max
echo "#guest up: Linux $(uname -r), $(nproc) processors, controllers $(cat /sys/fs/cgroup/cgroup.subtree_control)"

for binary in $(find /tests -name '*.test' | sort); do
  package=${binary#/tests/}
  package=${package%/*}
  cd "/tests/$package" || exit
  "$binary" -test.list "$RUN" | grep ^Test | sed "s|^|#guest has $package |"
  echo "#guest begin $package"
  "$binary" -test.v=test2json -test.timeout="$TIMEOUT" -test.run "$RUN" -test.count "$COUNT"
  echo "#guest end $package $?"
done
echo "#guest done"
sync
poweroff -f
