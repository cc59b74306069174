package docker

import (
	"github.com/moby/moby/api/types/container"

	"github.com/proffer/proffer/drivers"
)

// assign gives a container the devices that the task has for itself: through NVIDIA's runtime where the engine has it, which mounts the
// libraries as well, and as nodes otherwise.
func (d *Driver) assign(spec *drivers.Spec, r *container.Resources) {
	nvidia := d.nvidia.Load()
	if nvidia {
		var ids []string
		for _, dev := range spec.Devices {
			if dev.ID != "" {
				ids = append(ids, dev.ID)
			}
		}
		if len(ids) > 0 {
			r.DeviceRequests = append(r.DeviceRequests, container.DeviceRequest{Driver: "nvidia", DeviceIDs: ids, Capabilities: [][]string{{"gpu"}}})
		}
	}
	for _, dev := range spec.Devices {
		if nvidia && dev.Volume == "" {
			continue
		}
		r.Devices = append(r.Devices, container.DeviceMapping{PathOnHost: dev.Host, PathInContainer: dev.Path, CgroupPermissions: dev.Perms})
	}
}
