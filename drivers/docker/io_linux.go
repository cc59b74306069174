package docker

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/structs"
)

// boundIO bounds what a container does with the disks that its root and its folders are on.
func (d *Driver) boundIO(spec *drivers.Spec, r *container.Resources) error {
	var disks []string
	for _, dir := range []string{d.images.folder(), spec.TaskDir} {
		disk, err := cgroup.DiskOf(dir)
		var path string
		if err == nil {
			path, err = nodeOf(disk)
		}
		if err != nil {
			return structs.Errorf(structs.Unavailable, "task "+spec.ID, "it asks for bounds of its disk use: %w", err)
		}
		if !slices.Contains(disks, path) {
			disks = append(disks, path)
		}
	}
	for _, limit := range []struct {
		to *[]*blkiodev.ThrottleDevice
		n  int64
	}{
		{&r.BlkioDeviceReadBps, int64(spec.IO.ReadBps)}, {&r.BlkioDeviceWriteBps, int64(spec.IO.WriteBps)},
		{&r.BlkioDeviceReadIOps, int64(spec.IO.ReadIops)}, {&r.BlkioDeviceWriteIOps, int64(spec.IO.WriteIops)},
	} {
		for _, path := range disks {
			if limit.n > 0 {
				*limit.to = append(*limit.to, &blkiodev.ThrottleDevice{Path: path, Rate: uint64(limit.n)})
			}
		}
	}
	return nil
}

// nodeOf returns the device node of a disk: engines take no numbers.
func nodeOf(disk cgroup.Disk) (string, error) {
	raw, err := os.ReadFile("/sys/dev/block/" + disk.String() + "/uevent")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return "/dev/" + name, nil
		}
	}
	return "", fmt.Errorf("the disk %s has no device node", disk)
}
