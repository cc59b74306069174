package fingerprint

import (
	"github.com/proffer/proffer/structs"
	"golang.org/x/sys/unix"
)

// system adds what the kernel says.
func system(a map[string]string) {
	a["os.name"] = "macos"
	for name, attribute := range map[string]string{"kern.osrelease": "kernel.version", "kern.osproductversion": "os.version",
		"hw.machine": "kernel.arch", "kern.hostname": "unique.hostname", "machdep.cpu.brand_string": "cpu.model"} {
		if v, err := unix.Sysctl(name); err == nil && v != "" {
			a[attribute] = v
		}
	}
}

func memoryOf() structs.Bytes {
	v, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return structs.Bytes(v)
}

func defaultInterface() string { return "" }
