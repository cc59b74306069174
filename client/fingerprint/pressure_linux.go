package fingerprint

import (
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec/cgroup"
)

// Pressure is how much work of the whole machine stood still for want of something; nil: the kernel does not measure it.
func Pressure() *drivers.Pressure { return cgroup.Pressure("/proc/pressure", "") }
