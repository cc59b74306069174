package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/drivers/remove"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// container is one start of a task and its folder:
//
//	id           the Spec's ID
//	config.json  what the runtime reads
//	rootfs/      the container's root: a mount of overlayfs over the image's layers, or a copy
//	upper/ work/ what the container writes to its root
//	mounts/      the sources of mount blocks, until it runs
//	log, pid     the runtime's
//
// What the runtime remembers is in state/ beside it. Everything of a container can be found by its ID, so that a start which was cut
// off at any point can be removed.
type container struct {
	d    *Driver
	id   string // of the Spec
	name string // for the runtime, and of the folder
	dir  string
}

func (d *Driver) container(id string) *container {
	sum := sha256.Sum256([]byte(id))
	name := hex.EncodeToString(sum[:12])
	return &container{d: d, id: id, name: name, dir: filepath.Join(d.opts.Dir, name)}
}

func (ct *container) path(name string) string { return filepath.Join(ct.dir, name) }

// make prepares everything that the runtime needs, and says how to start it. After an error remove takes away what there is.
func (ct *container) make(ctx context.Context, object string, c *config, spec *drivers.Spec) (*exec.Launch, error) {
	d := ct.d
	rules, err := d.profile(object, c)
	if err != nil {
		return nil, err
	}
	f, err := d.sup.Features(ctx)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	runtime, _, err := d.runtime.find(ctx, f.Cgroups)
	if err != nil {
		return nil, err
	}
	if !f.Root || f.CgroupBase == "" {
		return nil, structs.Errorf(structs.Unavailable, object, "containers need root and cgroups")
	}
	if err := d.ready(); err != nil {
		return nil, err
	}
	if err := ct.remove(); err != nil { // of an agent that died before this one
		return nil, err
	}
	want, err := c.want(object, spec)
	if err != nil {
		return nil, err
	}
	im, err := d.store.Ensure(ctx, want, spec.ID, nil)
	if err != nil {
		return nil, err
	}
	if err := ct.folder(im, spec.Project, 0); err != nil {
		return nil, drivers.DiskError(object, err)
	}
	in := &input{config: c, image: im.Config, env: spec.Env, hostname: c.hostname, root: ct.path("rootfs"), cgroups: f.Cgroups,
		cgroup: "/" + f.CgroupBase + "/" + ct.name, cpu: spec.CPU, cpuLimit: spec.CPULimit, memory: max(spec.Memory, spec.MemoryMax), revocable: spec.Revocable, terminal: spec.Terminal}
	if spec.Revocable { // as little as can be said: it has the cores that nobody else wants
		in.cpu = 1
	}
	if c.network == networkHost { // it says nothing else
		in.netns = spec.Netns
	}
	if err := ct.shares(object, in, spec); err != nil {
		return nil, err
	}
	if in.hostname == "" {
		in.hostname = spec.Hostname
	}
	if in.hostname == "" {
		if in.hostname, err = os.Hostname(); err != nil || len(in.hostname) > 63 {
			in.hostname = "proffer"
		}
	}
	user := spec.User
	if user == "" {
		user = im.Config.User
	}
	if in.user, err = resolve(object, in.root, user); err != nil {
		return nil, err
	}
	if err := spec.MakeFolders(int(in.user.uid), int(in.user.gid)); err != nil {
		return nil, err
	}
	in.folders = []bind{{spec.AllocDir, "/alloc", false, ""}, {filepath.Join(spec.TaskDir, "local"), "/local", false, ""},
		{filepath.Join(spec.TaskDir, "secrets"), "/secrets", false, ""}, {filepath.Join(spec.TaskDir, "tmp"), "/tmp", false, ""}}
	if c.network == networkHost && in.netns == "" {
		for _, file := range []string{"/etc/resolv.conf", "/etc/hosts"} {
			given := slices.ContainsFunc(spec.Files, func(m drivers.Mount) bool { return m.Target == file })
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && !given {
				in.folders = append(in.folders, bind{file, file, true, ""})
			}
		}
	}
	if c.network == networkHost {
		for _, m := range spec.Files {
			in.folders = append(in.folders, bind{m.Source, m.Target, m.ReadOnly, ""})
		}
	}
	if program, err := d.launcher(); err == nil { // in every container: a command in it may need it
		in.folders = append(in.folders, bind{program, launchPath, true, ""})
	} else if c.init || c.arg0 != nil {
		return nil, drivers.DiskError(object, err)
	}
	more, err := ct.binds(object, c, spec)
	if err != nil {
		return nil, err
	}
	in.binds = append(in.binds, more...)
	if err := ct.exclusive(object, f, in, spec); err != nil {
		return nil, err
	}
	for i, m := range spec.Mounts {
		if m.Below != "" && !m.Propagation.Shares() { // what spreads has to be the host's own, which the node looked at
			if m.Source, err = ct.hold(object, fmt.Sprintf("mounts/v%d", i), m.Below, m.Source); err != nil {
				return nil, err
			}
		}
		in.binds = append(in.binds, bind{m.Source, m.Target, m.ReadOnly, m.Propagation})
	}
	in.tmpfs = spec.Task.Tmpfs
	if err := ct.program(object, in); err != nil {
		return nil, err
	}
	s := in.spec()
	if rules != nil {
		if s.Linux.Seccomp, err = rules(s.Process.Capabilities.Bounding); err != nil {
			return nil, structs.Errorf(structs.Invalid, object+".config.seccomp", "profile %q with these capabilities: %w", c.seccomp, err)
		}
	}
	raw, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(ct.path("config.json"), raw, 0o600)
	}
	if err != nil {
		return nil, drivers.DiskError(object, err)
	}
	run := ct.command("--log", ct.path("log"), "--log-format", "json", "run", "--detach", "--bundle", ct.dir, "--pid-file", ct.path("pid"))
	if spec.Terminal != nil {
		run = append(run, "--console-socket", ct.path("console"))
	}
	l := &exec.Launch{
		ID: spec.ID, Program: runtime, Args: append(run, ct.name), Terminal: spec.Terminal, Console: ct.path("console"),
		Env: []string{"PATH=" + defaultPath}, AllocDir: spec.AllocDir, TaskDir: spec.TaskDir, LogDir: spec.LogDir, LogName: spec.Task.Name,
		Memory: in.memory, Revocable: spec.Revocable, Fenced: spec.Fence != nil, Container: f.CgroupBase + "/" + ct.name, PidFile: ct.path("pid"), Cores: spec.Cores,
		Ports: spec.Ports, Guarded: c.network == networkHost && spec.Netns == "",
	}
	if logs := spec.Task.Logs; logs != nil {
		l.LogFiles, l.LogFileSize, l.LogAge = logs.MaxFiles, logs.MaxFileSize, logs.MaxAge.Std()
	}
	return l, nil
}

// shares puts the container into the namespaces that it shares.
func (ct *container) shares(object string, in *input, spec *drivers.Spec) (err error) {
	with, allowed := in.config.with, ct.d.opts.HostNamespaces
	if err = drivers.AllowHost(object, structs.PIDModeKey, with.PID, allowed); err == nil {
		err = drivers.AllowHost(object, structs.IPCModeKey, with.IPC, allowed)
	}
	if err == nil {
		in.pidns, err = drivers.Joined(object, structs.PIDModeKey, with.PID, spec.Pidns)
	}
	if err == nil {
		in.ipcns, err = drivers.Joined(object, structs.IPCModeKey, with.IPC, spec.Ipcns)
	}
	if with.IPC == structs.NamespaceHost {
		in.binds = append(in.binds, bind{structs.SharedMemory, structs.SharedMemory, false, ""})
	}
	return err
}

// profile is the filter for system calls, by the capabilities that the container may have; nil: it has none.
func (d *Driver) profile(object string, c *config) (func(caps []string) (*specs.LinuxSeccomp, error), error) {
	switch c.seccomp {
	case structs.SeccompDefault:
		return seccomp.Default, nil
	case structs.SeccompUnconfined:
		if !d.opts.AllowUnconfined {
			return nil, drivers.Unconfined(object)
		}
		return nil, nil
	}
	p, err := d.opts.Profiles.Find(object, c.seccomp)
	if err != nil {
		return nil, err
	}
	return p.For, nil
}

// command is one of the runtime's, with what all have in common.
func (ct *container) command(args ...string) []string {
	return append([]string{"--root", ct.d.state()}, args...)
}

// folder makes the container's folder and its root, which is mounted with further flags.
func (ct *container) folder(im *images.Image, project uint32, flags uintptr) error {
	if err := os.Mkdir(ct.dir, 0o711); err != nil {
		return err
	}
	if err := ct.ofProject(project); err != nil {
		return err
	}
	if err := os.WriteFile(ct.path("id"), []byte(ct.id), 0o600); err != nil {
		return err
	}
	for _, sub := range []string{"rootfs", "upper", "work"} {
		if err := os.Mkdir(ct.path(sub), 0o755); err != nil {
			return err
		}
	}
	if ct.d.copies {
		return ct.copy(im)
	}
	// The root's own mode and owner are those of the upper folder.
	var st unix.Stat_t
	if err := unix.Stat(im.Layers[len(im.Layers)-1], &st); err != nil {
		return err
	}
	if err := unix.Chmod(ct.path("upper"), st.Mode&0o7777); err != nil {
		return err
	}
	if err := unix.Chown(ct.path("upper"), int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	return mountOverlay(im.Layers, ct.path("upper"), ct.path("work"), ct.path("rootfs"), flags)
}

// copied is a file with what the copy of an image took when it was made: what there is more is the container's.
const copied = "copied"

// copy makes the root a copy of the image.
func (ct *container) copy(im *images.Image) error {
	if err := images.Copy(im.Layers, ct.path("rootfs")); err != nil {
		return err
	}
	size, err := occupied(ct.path("rootfs"))
	if err != nil {
		return err
	}
	return os.WriteFile(ct.path(copied), strconv.AppendInt(nil, size, 10), 0o600)
}

// occupied is what is in a folder takes of the disk, files with several names once.
func occupied(dir string) (sum int64, err error) {
	seen := map[uint64]bool{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if st.Nlink > 1 && !d.IsDir() {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum, err
}

// ofProject makes what the container writes count for a project, before anything is in its folder.
func (ct *container) ofProject(project uint32) error {
	if project == 0 || ct.d.copies { // the image would count, too: see Written
		return nil
	}
	f, err := os.Open(ct.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return drivers.SetProject(f, project, true)
}

// binds resolves the sources of mount blocks. What was opened is mounted below mounts/ until the container has its own of it, and
// the runtime is given that path: nobody can put a link in the place of a folder that was allowed.
func (ct *container) binds(object string, c *config, spec *drivers.Spec) (out []bind, err error) {
	for i, m := range c.mounts {
		if m.kind != mountBind {
			continue
		}
		object := fmt.Sprintf("%s.config.mount[%d]", object, i)
		top, rest := spec.TaskDir, m.source
		if path.IsAbs(m.source) {
			if top, rest = ct.allowed(m.source); top == "" {
				return nil, structs.Errorf(structs.Forbidden, object, "the node's folder %s may not be mounted", m.source).
					Advise("the node's configuration of the oci driver names those that may be, in host_paths")
			}
		}
		at, err := ct.attachBelow(object, fmt.Sprintf("mounts/%d", i), top, rest)
		if err != nil {
			return nil, err
		}
		out = append(out, bind{at, m.target, m.readOnly, ""})
	}
	return out, nil
}

// hold mounts what is in a folder, or that, for the runtime to find it there.
func (ct *container) hold(object, as, below, source string) (at string, err error) {
	rest, err := filepath.Rel(below, source)
	if err != nil {
		return "", structs.Errorf(structs.Internal, object, "%w", err)
	}
	return ct.attachBelow(object, as, below, rest)
}

// attachBelow mounts what is in a folder, and nothing that a link in it leads to outside, below the container's own folder.
func (ct *container) attachBelow(object, as, top, rest string) (at string, err error) {
	dir, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", structs.Errorf(structs.Invalid, object, "open %s: %w", top, err)
	}
	fd, err := unix.Openat2(dir, rest, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	unix.Close(dir)
	if err != nil {
		return "", structs.Errorf(structs.Invalid, object, "open %s below %s: %w", rest, top, err)
	}
	at = ct.path(as)
	err = attach(fd, at)
	unix.Close(fd)
	if err != nil {
		return "", structs.Errorf(structs.Unavailable, object, "mount %s: %w", filepath.Join(top, rest), err)
	}
	return at, nil
}

// attach mounts what a descriptor has open on a new file or folder.
func attach(fd int, at string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	make := func() error { return os.WriteFile(at, nil, 0o600) }
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		make = func() error { return os.Mkdir(at, 0o700) }
	}
	if err := make(); err != nil {
		return err
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// detach takes the sources of mounts away: a container that runs has its own of them.
func (ct *container) detach() error {
	entries, err := os.ReadDir(ct.path("mounts"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, unmount(ct.path("mounts/"+e.Name())))
	}
	return err
}

// allowed finds the folder that the node allows, of which source is or is part.
func (ct *container) allowed(source string) (top, rest string) {
	for _, dir := range ct.d.opts.HostPaths {
		if source == dir {
			return dir, "."
		}
		if rest, ok := strings.CutPrefix(source, strings.TrimSuffix(dir, "/")+"/"); ok {
			return dir, rest
		}
	}
	return "", ""
}

// program looks for what the container will run: the answer is better than the runtime's.
func (ct *container) program(object string, in *input) error {
	args := in.args()
	if len(args) == 0 || args[0] == "" {
		return structs.Errorf(structs.Invalid, object, "the image says nothing about what to run, and neither does the task").Advise("write command or entrypoint")
	}
	code := look(in.root, in.mounts(), args[0], in.environment(), in.cwd())
	if code == 0 {
		return nil
	}
	why := "not found in the image"
	if code == 126 {
		why = "is not executable"
	}
	return &drivers.NoProgram{Code: code, Err: structs.Errorf(structs.Invalid, object, "program %q %s", args[0], why).
		Advise("give a path that exists there, or a name that is in its PATH")}
}

// explain puts what the runtime wrote about its failure into the error.
func (ct *container) explain(object string, err error) error {
	said := lastWords(ct.path("log"))
	if said == "" {
		return err
	}
	for _, short := range []error{unix.ENOSPC, unix.EDQUOT, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EAGAIN} {
		if strings.HasSuffix(said, short.Error()) {
			return structs.Errorf(structs.Exhausted, object, "the container cannot be made: %s", said)
		}
	}
	if strings.Contains(said, "rlimit") && strings.HasSuffix(strings.ToLower(said), "operation not permitted") {
		return structs.Errorf(structs.Forbidden, object, "its ulimits are above those of the node: %s", said).
			Advise("lower them, or raise the hard limits that the node's agent is started with (of its service, and fs.nr_open for nofile)")
	}
	code := 0
	switch {
	case strings.Contains(said, "executable file"), strings.Contains(said, "exec:") && strings.Contains(said, "no such file"):
		code = 127
	case strings.Contains(said, "exec:") && strings.Contains(said, "permission denied"):
		code = 126
	}
	if code != 0 {
		return &drivers.NoProgram{Code: code, Err: structs.Errorf(structs.Invalid, object, "its program cannot be run: %s", said)}
	}
	return structs.Errorf(structs.Internal, object, "the container cannot be made: %s", said)
}

// remove takes away all that there is of a container, which must not run. It may be repeated.
func (ct *container) remove() error {
	if err := errors.Join(ct.detach(), unmount(ct.path("rootfs"))); err != nil {
		return structs.Errorf(structs.Unavailable, "task "+ct.id, "%w", err)
	}
	err := os.RemoveAll(filepath.Join(ct.d.state(), ct.name))
	if image, held := ct.d.store.Held(ct.id); held == nil {
		err = errors.Join(err, ct.d.store.Release(image, ct.id))
	}
	// The id goes last: without it nobody would know whose folder it is.
	entries, readErr := os.ReadDir(ct.dir)
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		err = errors.Join(err, readErr)
	}
	for _, e := range entries {
		if e.Name() != "id" {
			err = errors.Join(err, remove.All(ct.path(e.Name())))
		}
	}
	if err == nil {
		err = os.RemoveAll(ct.dir)
	}
	if err != nil {
		return drivers.DiskError("task "+ct.id, err)
	}
	return nil
}
