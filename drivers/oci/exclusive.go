package oci

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// blockIO bounds what the container does with the disk that its root and its folders are on.
func (in *input) blockIO() *specs.LinuxBlockIO {
	if in.io == nil {
		return nil
	}
	b := &specs.LinuxBlockIO{}
	for _, limit := range []struct {
		to *[]specs.LinuxThrottleDevice
		n  int64
	}{
		{&b.ThrottleReadBpsDevice, int64(in.io.ReadBps)}, {&b.ThrottleWriteBpsDevice, int64(in.io.WriteBps)},
		{&b.ThrottleReadIOPSDevice, int64(in.io.ReadIops)}, {&b.ThrottleWriteIOPSDevice, int64(in.io.WriteIops)},
	} {
		if limit.n > 0 {
			d := specs.LinuxThrottleDevice{Rate: uint64(limit.n)}
			d.Major, d.Minor = in.disk[0], in.disk[1]
			*limit.to = append(*limit.to, d)
		}
	}
	return b
}
