package oci

import (
	"os"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/structs"
)

// exclusive puts what the task has for itself alone, and its bounds, into the input.
func (ct *container) exclusive(object string, f *exec.Features, in *input, spec *drivers.Spec) error {
	if why := f.NoCores; why != "" && len(spec.Cores) > 0 {
		return structs.Errorf(structs.Unavailable, object, "it asks for cores for itself: %s", why)
	}
	if why := f.NoIO; why != "" && spec.IO != nil {
		return structs.Errorf(structs.Unavailable, object, "it asks for bounds of its disk use: %s", why)
	}
	in.cores, in.io = spec.Cores, spec.IO
	if spec.IO != nil {
		disk, err := cgroup.DiskOf(ct.d.opts.Dir)
		if err != nil {
			return structs.Errorf(structs.Unavailable, object, "%w", err)
		}
		in.disk = [2]int64{disk.Major, disk.Minor}
	}
	if len(spec.Devices) == 0 {
		return nil
	}
	for _, d := range spec.Devices {
		node, err := deviceNode(d.Host, d.Path)
		if err != nil {
			return structs.Errorf(structs.Unavailable, object, "%w", err)
		}
		in.devices = append(in.devices, node)
		if d.Volume != "" && !strings.Contains(d.Perms, "w") {
			in.reads = append(in.reads, node.Path)
		}
	}
	return ct.d.cdi().apply(object, in, spec.Devices)
}

// deviceNode is one of the host's as the container has it: whoever runs in there may use it, for nobody else sees the node.
func deviceNode(host, path string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(host, &st); err != nil {
		return specs.LinuxDevice{}, &os.PathError{Op: "stat", Path: host, Err: err}
	}
	kind := "c"
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		kind = "b"
	} else if st.Mode&unix.S_IFMT != unix.S_IFCHR {
		return specs.LinuxDevice{}, &os.PathError{Op: "use as a device", Path: host, Err: unix.ENODEV}
	}
	mode := os.FileMode(0o666)
	return specs.LinuxDevice{Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), FileMode: &mode}, nil
}
