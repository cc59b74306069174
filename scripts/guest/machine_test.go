//go:build linux && soak

package guest

import "time"

// machine is a kind of guest. Its tests are those of this machine's packages, compiled for its architecture.
type machine struct {
	arch     string
	emulator string   // the program
	qemu     string   // its Debian package
	kernels  []string // packages that depend on the kernel of the day: the smallest first, Debian's usual one, Ubuntu's
	cpu      string   // the processor where it is emulated
	hardware []string // arguments: the machine, and a serial port with the character device "tests"
	kernel   string   // arguments of the kernel: the serial port of its messages
	tests    string   // the other one
}

var machines = []machine{
	{
		// Without no_timer_check it gives up when the emulator does not run for a moment.
		arch: "amd64", emulator: "qemu-system-x86_64", qemu: "qemu-system-x86",
		kernels: []string{"linux-image-cloud-amd64", "linux-image-amd64", "linux-image-virtual"}, cpu: "max",
		hardware: []string{"-machine", "pc", "-serial", "chardev:tests"}, kernel: "console=ttyS0 no_timer_check", tests: "ttyS1",
	},
	{
		// It has one serial port that a kernel may use; the one for the tests is on the bus.
		arch: "arm64", emulator: "qemu-system-aarch64", qemu: "qemu-system-arm",
		kernels: []string{"linux-image-cloud-arm64", "linux-image-arm64", "linux-image-virtual"}, cpu: "cortex-a72",
		hardware: []string{"-machine", "virt", "-device", "pci-serial,chardev=tests"}, kernel: "console=ttyAMA0", tests: "ttyS0",
	},
}

// Bounds. An emulated processor on a busy machine is a hundred times slower than a real one.
const (
	bootTime    = 2 * time.Minute // of a machine with KVM, before it is tried without
	packageTime = 2 * time.Hour   // of the tests of one package
	totalTime   = 6 * time.Hour
)
