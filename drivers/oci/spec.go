package oci

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/oci/pid1"
	"github.com/proffer/proffer/structs"
)

// input is all that a container's spec is made of. The paths are those of the host unless it says otherwise.
type input struct {
	config   *config
	image    v1.Config
	env      []string // of the task; it wins over the image's
	hostname string
	netns    string // path of the network namespace that it joins; empty: as config says
	pidns    string // likewise, of the others that it may share
	ipcns    string
	user     identity
	root     string
	folders  []bind // the task's own, and files such as resolv.conf
	binds    []bind // what mount blocks say, resolved, and volumes
	tmpfs    []*structs.Tmpfs
	cgroup   string // absolute, from the top of each hierarchy
	cgroups  int    // version

	cpu, cpuLimit structs.Milli
	memory        structs.Bytes
	revocable     bool // it yields to all other tasks
	cores         []int
	io            *structs.TaskIO
	disk          [2]int64 // that io is for: major and minor number
	devices       []specs.LinuxDevice
	reads         []string // paths of devices that it may only read
	hooks         *specs.Hooks
	terminal      *drivers.Size // nil: without
}

type bind struct {
	source, target string
	readOnly       bool
	spread         structs.Propagation
}

// identity is who the container's first process runs as, in numbers.
type identity struct {
	uid, gid uint32
	groups   []uint32
	home     string // of the image's passwd; empty: unknown
}

// ociVersion is the newest that every supported runtime knows; nothing of a later one is used.
const ociVersion = "1.0.2"

// spec makes the runtime's configuration. It looks at nothing but its input: the same input gives the same spec.
func (in *input) spec() *specs.Spec {
	s := &specs.Spec{
		Version:  ociVersion,
		Hostname: in.hostname,
		Root:     &specs.Root{Path: in.root, Readonly: in.config.readOnly},
		Process: &specs.Process{
			User: specs.User{UID: in.user.uid, GID: in.user.gid, AdditionalGids: in.additional()},
			Args: in.process(), Env: in.environment(), Cwd: in.cwd(), NoNewPrivileges: true, Capabilities: in.capabilities(),
			OOMScoreAdj: in.oomScore(),
		},
		Mounts: in.mounts(),
		Linux: &specs.Linux{
			Sysctl: in.config.sysctls, CgroupsPath: in.cgroup, Resources: in.resources(),
			Namespaces:    in.namespaces(),
			MaskedPaths:   slices.Clone(maskedPaths),
			ReadonlyPaths: slices.Clone(readonlyPaths),
		},
	}
	if size := in.terminal; size != nil {
		s.Process.Terminal = true
		if size.Rows > 0 && size.Cols > 0 {
			s.Process.ConsoleSize = &specs.Box{Height: uint(size.Rows), Width: uint(size.Cols)}
		}
	}
	s.Linux.Devices, s.Hooks = in.devices, in.hooks
	if slices.ContainsFunc(in.binds, func(b bind) bool { return b.spread == structs.PropagationBidirectional }) {
		s.Linux.RootfsPropagation = "shared" // else the runtime cuts all mounts off from the host before it makes any
	}
	for _, u := range in.config.ulimits {
		s.Process.Rlimits = append(s.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)}) // -1 is all bits
	}
	return s
}

// namespaces are those that the runtime makes or joins. What it does not name is the node's.
func (in *input) namespaces() (list []specs.LinuxNamespace) {
	add := func(kind specs.LinuxNamespaceType, path string) {
		list = append(list, specs.LinuxNamespace{Type: kind, Path: path})
	}
	if in.config.with.PID != structs.NamespaceHost {
		add(specs.PIDNamespace, in.pidns)
	}
	add(specs.MountNamespace, "")
	if in.config.with.IPC != structs.NamespaceHost {
		add(specs.IPCNamespace, in.ipcns)
	}
	add(specs.UTSNamespace, "")
	if in.netns != "" || in.config.network == networkNone {
		add(specs.NetworkNamespace, in.netns)
	}
	if in.cgroups == 2 {
		add(specs.CgroupNamespace, "")
	}
	return list
}

func (in *input) oomScore() *int {
	score := 0
	if in.revocable {
		score = drivers.RevocableOOMScore
	}
	return &score
}

// maskedPaths show the host, or change it, and so are hidden behind something empty.
var maskedPaths = []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
	"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}

var readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}

// launchPath is where a container has what begins programs (package pid1): /dev is its own whatever the image is.
const launchPath = "/dev/launch"

// process is what the container's first process is started with.
func (in *input) process() []string {
	if in.config.init {
		return launch(pid1.Init, in.args(), in.config.arg0)
	}
	return called(in.args(), in.config.arg0)
}

// called are the arguments with which the program args[0] runs under another name; nil: its own. A runtime runs what is called args[0].
func called(args []string, arg0 *string) []string {
	if arg0 == nil {
		return args
	}
	return launch(pid1.Exec, args, arg0)
}

func launch(what string, args []string, arg0 *string) []string {
	if len(args) == 0 {
		return args // make says that there is no program
	}
	name := args[0]
	if arg0 != nil {
		name = *arg0
	}
	return append([]string{launchPath, what, args[0], name}, args[1:]...)
}

// args are what runs: a task's entrypoint or command takes the place of the image's, and so does what follows of it.
func (in *input) args() []string {
	entry, rest := in.image.Entrypoint, in.image.Cmd
	if in.config.entrypoint != nil {
		entry, rest = in.config.entrypoint, nil
	}
	if in.config.command != "" {
		rest = append([]string{in.config.command}, in.config.args...)
	} else if in.config.args != nil {
		rest = in.config.args
	}
	return slices.Concat(entry, rest)
}

// defaultPath is what an image has that says nothing of it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (in *input) environment() []string {
	env := map[string]string{"PATH": defaultPath}
	if in.terminal != nil {
		env["TERM"] = "xterm-256color"
	}
	if in.user.home != "" {
		env["HOME"] = in.user.home
	}
	for _, list := range [][]string{in.image.Env, in.env} {
		for _, kv := range list {
			name, value, _ := strings.Cut(kv, "=")
			env[name] = value
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}

func (in *input) cwd() string {
	for _, dir := range []string{in.config.workDir, in.image.WorkingDir} {
		if dir != "" {
			return path.Join("/", dir)
		}
	}
	return "/"
}

func (in *input) additional() []uint32 {
	ids := append(slices.Clone(in.user.groups), in.config.groups...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// capabilities are those that root in the container has. Another user has those that the job asks for by name, as ambient ones:
// no_new_privs would keep a file's from him.
func (in *input) capabilities() *specs.LinuxCapabilities {
	var set []string
	if !slices.Contains(in.config.capDrop, "CAP_ALL") {
		set = slices.Clone(usual)
	}
	for _, c := range in.config.capAdd {
		if !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(in.config.capDrop, c) })
	slices.Sort(set)
	if in.user.uid == 0 {
		return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}
	}
	asked := slices.Clone(in.config.capAdd)
	slices.Sort(asked)
	asked = slices.Compact(asked)
	return &specs.LinuxCapabilities{Bounding: set, Effective: asked, Permitted: asked, Inheritable: asked, Ambient: asked}
}

func (in *input) mounts() []specs.Mount {
	tmpfs := func(target string, options ...string) specs.Mount {
		return specs.Mount{Destination: target, Type: "tmpfs", Source: "tmpfs", Options: options}
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		tmpfs("/dev", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"),
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}
	if in.config.with.OwnIPC() { // another one is among binds
		list = slices.Insert(list, 3, tmpfs(structs.SharedMemory, "nosuid", "noexec", "nodev", "mode=1777", fmt.Sprintf("size=%d", in.config.with.Shm)))
	}
	sys := specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}}
	list = append(list, sys)
	if in.cgroups == 2 {
		list = append(list, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}})
	}
	own := len(list)
	for _, b := range slices.Concat(in.folders, in.binds) {
		options := []string{"rbind", "rprivate", "nosuid", "nodev"}
		if b.readOnly { // without what is mounted below it, which would stay writable
			options = []string{"bind", "rprivate", "nosuid", "nodev", "ro"}
		}
		switch b.spread {
		case structs.PropagationHostToTask:
			options[0], options[1] = "rbind", "rslave"
		case structs.PropagationBidirectional:
			options[0], options[1] = "rbind", "rshared"
		}
		list = append(list, specs.Mount{Destination: b.target, Type: "bind", Source: b.source, Options: options})
	}
	for _, f := range in.tmpfs {
		list = append(list, tmpfs(f.Destination, "nosuid", "nodev", "mode=1777", fmt.Sprintf("size=%d", f.Size)))
	}
	for _, m := range in.config.mounts {
		if m.kind != mountTmpfs {
			continue
		}
		options := []string{"nosuid", "nodev", "mode=1777"}
		if m.size > 0 {
			options = append(options, fmt.Sprintf("size=%d", m.size))
		}
		if m.readOnly {
			options = append(options, "ro")
		}
		list = append(list, tmpfs(m.target, options...))
	}
	// What is mounted in another mount comes after it.
	slices.SortStableFunc(list[own:], func(x, y specs.Mount) int { return strings.Compare(x.Destination, y.Destination) })
	return list
}

const cpuPeriod = 100_000 // µs

// resources limit the container. One core is 1024 shares; runtimes translate them for cgroup v2.
func (in *input) resources() *specs.LinuxResources {
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // runtimes add null, zero, tty and the like
		CPU:     &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}, Pids: &specs.LinuxPids{Limit: &in.config.pids},
	}
	if in.cpu > 0 {
		shares := uint64(min(max(int64(in.cpu)*1024/1000, 2), 262_144))
		r.CPU.Shares = &shares
	}
	if in.cpuLimit > 0 {
		quota, period := max(int64(in.cpuLimit)*cpuPeriod/1000, 1000), uint64(cpuPeriod)
		r.CPU.Quota, r.CPU.Period = &quota, &period
	}
	r.CPU.Cpus = drivers.FormatCores(in.cores)
	r.BlockIO = in.blockIO()
	for _, d := range in.devices {
		access := "rw"
		if slices.Contains(in.reads, d.Path) {
			access = "r"
		}
		r.Devices = append(r.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &d.Major, Minor: &d.Minor, Access: access})
	}
	if in.memory > 0 {
		limit := int64(in.memory)
		r.Memory.Limit, r.Memory.Swap = &limit, &limit // no swap beside it
	}
	return r
}
