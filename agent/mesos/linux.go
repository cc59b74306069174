package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Limits and rights of a container, in the words of the driver that runs it. What of them the node does not allow is its driver's to
// refuse, when the task starts.

// confined has the driver of a task give it the limits and rights that its container asks for.
func (b *building) confined(c *wire.ContainerInfo) error {
	if c == nil {
		return b.linux(nil)
	}
	if c.TTY != nil && c.Type != wire.ContainerMesos {
		return errNoTerminal
	}
	if err := b.rlimits(c.RLimits); err != nil {
		return err
	}
	return b.linux(c.Linux)
}

// rlimits are those of setrlimit(2). One without values is no limit at all.
func (b *building) rlimits(r *wire.RLimitInfo) error {
	if r == nil || len(r.RLimits) == 0 {
		return nil
	}
	key := "ulimit"
	if b.task.Driver == "exec" {
		key = "rlimits"
	}
	limits, _ := b.task.Config[key].(map[string]any) // those of parameters
	if limits == nil {
		limits = map[string]any{}
	}
	for _, l := range r.RLimits {
		if l.Type == nil || *l.Type == 0 || l.Type.String() == "" {
			return errors.New("'RLimitInfo.rlimits' has one without a type, such as RLMT_NOFILE")
		}
		name := strings.ToLower(strings.TrimPrefix(l.Type.String(), "RLMT_"))
		if _, twice := limits[name]; twice {
			return fmt.Errorf("'RLimitInfo.rlimits' has %s twice", l.Type)
		}
		switch {
		case l.Hard == nil && l.Soft == nil:
			limits[name] = "unlimited"
		case l.Hard == nil || l.Soft == nil:
			return fmt.Errorf("%s of 'RLimitInfo.rlimits' has one of 'soft' and 'hard': set both, or neither for no limit", l.Type)
		case *l.Soft > *l.Hard:
			return fmt.Errorf("%s of 'RLimitInfo.rlimits' has a soft limit above the hard one: %d and %d", l.Type, *l.Soft, *l.Hard)
		default:
			limits[name] = limitText(*l.Soft) + ":" + limitText(*l.Hard)
		}
	}
	b.task.Config[key] = limits
	return nil
}

// limitText is a limit as drivers read it: all that they cannot count is none.
func limitText(n uint64) string {
	if n > math.MaxInt64 {
		return "-1"
	}
	return strconv.FormatUint(n, 10)
}

// usualCapabilities are those that the first process of an image has, as root, from the drivers that run images; more are those that the
// Docker engine gives beside them.
var (
	usualCapabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
	moreCapabilities  = []string{"AUDIT_WRITE", "MKNOD", "NET_RAW"}
)

func (b *building) linux(l *wire.LinuxInfo) error {
	if l == nil {
		return b.sharedMemory(&wire.LinuxInfo{})
	}
	if err := b.capabilities(l); err != nil {
		return err
	}
	if err := b.seccomp(l.Seccomp); err != nil {
		return err
	}
	if isTrue(l.SharePID) {
		if err := b.setting("share_pid_namespace", structs.PIDModeKey, b.parents(sharesPID)); err != nil {
			return err
		}
	}
	return b.sharedMemory(l)
}

func sharesPID(l *wire.LinuxInfo) bool { return isTrue(l.SharePID) }
func sharesIPC(l *wire.LinuxInfo) bool { return l.IPC != nil && l.IPC.String() == "SHARE_PARENT" }
func ownIPC(l *wire.LinuxInfo) bool {
	return l.IPC != nil && l.IPC.String() == "PRIVATE" || l.ShmSize != nil
}

// parents says whose namespace it is that a container shares with the one it is in: the node's, or that of the tasks of its pod, unless their
// executor shares that of the node in its turn.
func (b *building) parents(shares func(*wire.LinuxInfo) bool) string {
	if b.pod == nil || b.pod.Linux != nil && shares(b.pod.Linux) {
		return structs.NamespaceHost
	}
	return structs.NamespaceAlloc
}

// sharedMemory gives a task its own, or that of whatever it is in. A task of a pod that says nothing shares, as in Mesos, the segments,
// semaphores and queues of its pod. Its /dev/shm would there be the agent's, which nobody keeps apart: it is the pod's here. With an image
// it has its own.
func (b *building) sharedMemory(l *wire.LinuxInfo) error {
	switch {
	case sharesIPC(l):
		return b.parentsMemory(l)
	case b.pod == nil || ownIPC(l):
		return b.ownMemory(l)
	case b.task.Driver != "exec":
		b.task.Tmpfs = append(b.task.Tmpfs, &structs.Tmpfs{Destination: structs.SharedMemory, Size: structs.DefaultShmSize})
	}
	return b.parentsMemory(l)
}

func (b *building) ownMemory(l *wire.LinuxInfo) error {
	size, err := shmSize(l)
	switch {
	case err != nil || size == 0:
		return err
	case b.task.Driver == "exec":
		b.task.Tmpfs = append(b.task.Tmpfs, &structs.Tmpfs{Destination: structs.SharedMemory, Size: size})
		return nil
	}
	return b.setting("shm_size", structs.ShmSizeKey, int(size))
}

// parentsMemory gives a task that of whatever it is in. Of a pod the executor says how large it is.
func (b *building) parentsMemory(l *wire.LinuxInfo) error {
	if l.ShmSize != nil {
		return errShmSize
	}
	mode := b.parents(sharesIPC)
	if err := b.setting("ipc_mode", structs.IPCModeKey, mode); err != nil {
		return err
	}
	if mode == structs.NamespaceAlloc && b.pod.Linux != nil {
		size, err := shmSize(b.pod.Linux)
		if err != nil {
			return err
		}
		if size > 0 {
			b.task.Config[structs.ShmSizeKey] = int(size)
		}
	}
	return nil
}

var errShmSize = errors.New("'LinuxInfo.shm_size' is for 'ipc_mode' PRIVATE: shared memory of others has a size of its own")

// shmSize is that of the shared memory of a container; 0: it does not say.
func shmSize(l *wire.LinuxInfo) (structs.Bytes, error) {
	switch {
	case l.ShmSize == nil:
		return 0, nil
	case *l.ShmSize == 0:
		return 0, errors.New("'LinuxInfo.shm_size' is 0: set it in MB, or leave it out")
	}
	return structs.Bytes(*l.ShmSize) << 20, nil
}

// seccomp has the task under a profile of its node. Frameworks name its file, which Mesos looks for in a folder of the agent.
func (b *building) seccomp(s *wire.SeccompInfo) error {
	if s == nil {
		return nil
	}
	name := strings.TrimSuffix(wire.TextOf(s.Profile), ".json")
	switch {
	case isTrue(s.Unconfined) && name != "":
		return errors.New("'SeccompInfo' has a 'profile_name' and is 'unconfined': leave one out")
	case isTrue(s.Unconfined):
		name = structs.SeccompUnconfined
	case name == "":
		return nil
	case name == structs.SeccompDefault || name == structs.SeccompUnconfined:
		return fmt.Errorf("the seccomp profile '%s' cannot be: leave 'profile_name' out for that of all tasks, or set 'unconfined'", *s.Profile)
	case !structs.ValidName(name):
		return fmt.Errorf("'%.200s' is not the name of a seccomp profile, which is a file of the node's folder with profiles", *s.Profile)
	}
	options, _ := b.task.Config["security_opt"].([]any) // those of parameters
	if slices.ContainsFunc(options, func(o any) bool { s, _ := o.(string); return strings.HasPrefix(s, "seccomp") }) {
		return errTwice("seccomp")
	}
	b.task.Config[structs.SeccompKey] = name
	return nil
}

// setting is one of the driver's that a field of LinuxInfo makes.
func (b *building) setting(field, key string, value any) error {
	if b.task.Config[key] != nil {
		return errTwice(field)
	}
	b.task.Config[key] = value
	return nil
}

func errTwice(field string) error {
	return fmt.Errorf("'LinuxInfo.%s' says what 'DockerInfo.parameters' says, too: leave one out", field)
}

// capabilities gives the task those that are effective, of those that bound them. Nobody here gains any by what he runs, so that
// those which are in the bounding set alone could never be had.
func (b *building) capabilities(l *wire.LinuxInfo) error {
	if b.task.Config["cap_add"] != nil || b.task.Config["cap_drop"] != nil {
		if l.Effective != nil || l.Capabilities != nil || l.Bounding != nil {
			return errors.New("capabilities are in 'DockerInfo.parameters' and in 'LinuxInfo': leave one out")
		}
		return nil
	}
	effective := l.Effective
	if l.Capabilities != nil {
		if effective != nil {
			return errors.New("'LinuxInfo.capability_info' is what 'effective_capabilities' was called before: leave one out")
		}
		effective = l.Capabilities
	}
	bound, err := capabilityNames(l.Bounding)
	if err != nil {
		return err
	}
	if effective == nil {
		if l.Bounding == nil || b.task.Driver == "exec" { // which gives none unless it is asked
			return nil
		}
		usual := usualCapabilities
		if b.task.Driver == "docker" {
			usual = slices.Concat(usual, moreCapabilities)
		}
		var drop []any
		for _, name := range usual {
			if !slices.Contains(bound, name) {
				drop = append(drop, strings.ToLower(name))
			}
		}
		if drop != nil {
			b.task.Config["cap_drop"] = drop
		}
		return nil
	}
	names, err := capabilityNames(effective)
	if err != nil {
		return err
	}
	add := make([]any, 0, len(names))
	for _, name := range names {
		if l.Bounding != nil && !slices.Contains(bound, name) {
			return fmt.Errorf("capability %s is effective, and not among 'LinuxInfo.bounding_capabilities': add it there, or leave it out", name)
		}
		add = append(add, strings.ToLower(name))
	}
	if len(add) > 0 {
		b.task.Config["cap_add"] = add
	}
	if b.task.Driver != "exec" {
		b.task.Config["cap_drop"] = []any{"all"}
	}
	return nil
}

// capabilityNames are the capabilities of a set, sorted, each once.
func capabilityNames(c *wire.CapabilityInfo) (out []string, err error) {
	if c == nil {
		return nil, nil
	}
	for _, x := range c.Capabilities {
		name := x.String()
		if name == "" || name == "UNKNOWN" {
			return nil, errors.New("'LinuxInfo' names a capability that is not known")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
