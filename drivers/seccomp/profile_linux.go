package seccomp

import (
	"slices"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Default is the profile of a task that may have the given capabilities at most, such as CAP_SYS_NICE. User namespaces, in which a
// task would have all capabilities over what it makes, are not in it, nor is what would take a file out of the quota of its project.
func Default(caps []string) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.GetDefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}})
	if err != nil {
		return nil, err
	}
	p.Syscalls = sockets(p.Syscalls)
	if slices.Contains(caps, "CAP_SYS_ADMIN") {
		return p, nil
	}
	for i := range p.Syscalls {
		names := &p.Syscalls[i].Names
		*names = slices.DeleteFunc(*names, func(name string) bool { return name == "ioctl" })
	}
	p.Syscalls = slices.DeleteFunc(p.Syscalls, func(s specs.LinuxSyscall) bool { return len(s.Names) == 0 })
	for _, x := range ioctls {
		p.Syscalls = append(p.Syscalls, specs.LinuxSyscall{Names: []string{"ioctl"}, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 1, Value: uint64(x.mask), ValueTwo: uint64(x.bits), Op: specs.OpMaskedEqual}}})
	}
	return p, nil
}

// ioctls are the requests that are allowed: those that have bits under mask. Runtimes take one condition of an argument in a rule, and answer
// with the first rule that holds, so "all but" is said by bits. It is all but the requests of the types X (0x58) and f (0x66) that hand
// something over and take nothing back, among them FS_IOC_FSSETXATTR (0x401c5820) and FS_IOC_SETFLAGS (0x40086602), with which the owner
// of a file chooses its project.
var ioctls = []struct{ mask, bits uint32 }{
	{0x40000000, 0}, {0x80000000, 0x80000000}, // most: they hand nothing over, or take something back
	{0x8000, 0x8000}, {0x4000, 0}, {0x100, 0x100}, // of bits that X and f have alike
	{0x3000, 0}, {0x3000, 0x3000}, {0x1800, 0x0800}, {0x1800, 0x1000}, // and of neighbours of which X has both or one, and f not
	{0x0c00, 0}, {0x0c00, 0x0c00}, {0x0600, 0x0200}, {0x0600, 0x0400},
}
