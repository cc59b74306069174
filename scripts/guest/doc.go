// Package guest proves what depends on a kernel that the machine of the tests may not have: control groups of version 2,
// and quotas of projects. Many machines that build Proffer still mount version 1, while most of those that run it have
// version 2, and a folder of files that look like control groups enforces nothing; many kernels have no such quotas.
//
// The test boots Debian's kernel in QEMU with an initramfs made here: busybox, runc and crun with their libraries, the
// proffer binary, the test binaries of the packages that isolate tasks, and the kernel's modules for disks. It has three
// small disks, for what depends on them: bounds of their use, and file systems with quotas; it needs no network. /init
// there mounts the file systems and runs each binary; what they print comes back through a serial port, and each test of
// the guest becomes a subtest here. The kernel's own messages come through another serial port and are shown when
// something failed.
//
// There is a guest for each architecture on which tasks are isolated: the stage of drivers/exec is machine code for it,
// with system calls and start of its own. The one of this machine's architecture runs with KVM where that works; the
// other is emulated, and takes a few minutes of an idle machine. One of them alone, and a part of its tests:
//
//	go test -tags 'soak system' -run TestControlGroupsVersion2/arm64 -timeout 6h ./scripts/guest -guest.run TestExec
//
// It has tests only, with the build tag soak; they need root on Debian or a relative of it, to get QEMU, and mkfs of ext4
// and xfs.
package guest
