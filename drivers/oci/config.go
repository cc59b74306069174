package oci

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// config is what a job writes for a task of this driver. What has the same name in the docker driver means the same.
type config struct {
	image     string
	forcePull bool
	login     *structs.ImageLogin // nil: the node's

	entrypoint []string
	command    string
	args       []string
	arg0       *string // what the program is called; nil: as where it is
	workDir    string
	hostname   string
	readOnly   bool
	init       bool
	network    string
	mounts     []mount
	capAdd     []string // CAP_…
	capDrop    []string
	ulimits    []schema.Ulimit
	sysctls    map[string]string
	pids       int64
	groups     []uint32
	seccomp    string // the name of a profile; see package seccomp
	with       schema.Namespaces
}

// Kinds of mounts, and network modes.
const (
	mountBind   = "bind"
	mountTmpfs  = "tmpfs"
	networkHost = "host"
	networkNone = "none"
)

type mount struct {
	kind     string
	source   string // below local/ of the task's folder, or on the node
	target   string
	readOnly bool
	size     structs.Bytes
}

const (
	maxPids     = 1 << 22
	defaultPids = 4096
)

// parse reads a config and collects everything that is wrong with it. object names the place for messages.
func parse(object string, raw map[string]any) (*config, error) {
	b := schema.Read(object, raw)
	c := &config{
		image: b.Required("image", `image = "debian:bookworm"`), forcePull: b.Bool("force_pull"),
		entrypoint: b.Texts("entrypoint"), command: b.Text("command"), args: b.Texts("args"),
		workDir: b.Text("work_dir"), hostname: b.Text("hostname"), readOnly: b.Bool("read_only"), init: b.Bool("init"),
		network: b.OneOf("network_mode", networkHost, networkNone), sysctls: b.TextMap("sysctls"),
		pids: b.Whole("pids", drivers.MinPids, maxPids, defaultPids),
	}
	c.login = b.Login()
	c.mounts = mounts(b)
	c.capAdd = capabilities(b, "cap_add", addable)
	c.capDrop = capabilities(b, "cap_drop", append([]string{"CAP_ALL"}, usual...))
	c.ulimits = b.Ulimits("ulimit")
	c.groupIDs(b)
	c.arg0, c.seccomp, c.with = b.Optional("arg0"), b.Seccomp(), b.Namespaces()
	if c.image != "" && !schema.Refers(c.image) {
		if _, err := images.ParseReference("", c.image); err != nil {
			e := structs.AsError(err)
			b.Problem("image", "%s", e.Why).Do = e.Do
		}
	}
	if c.workDir != "" && !schema.Refers(c.workDir) && (!path.IsAbs(c.workDir) || path.Clean(c.workDir) != c.workDir) {
		b.Problem("work_dir", "%q is not an absolute path", c.workDir)
	}
	if len(c.hostname) > 63 {
		b.Problem("hostname", "it is longer than 63 characters")
	}
	for name := range c.sysctls {
		if !namespaced(name, c.network == networkNone, c.with.OwnIPC()) {
			b.Problem("sysctls."+name, "it is not the container's own").
				Advise(`kernel.shm*, kernel.msg*, kernel.sem and fs.mqueue.* are, unless ipc_mode shares them, and net.* with network_mode = "none"`)
		}
	}
	return c, b.Err("the oci driver")
}

func (c *config) groupIDs(b *schema.Block) {
	for i, text := range b.Texts("group_add") {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil && !schema.Refers(text) {
			b.Problem(fmt.Sprintf("group_add[%d]", i), "%q is not the number of a group", text)
		}
		c.groups = append(c.groups, uint32(n))
	}
}

// usual are the capabilities of root in a container. MKNOD and NET_RAW, which engines often give, are not among them: the network
// may be the host's, and nobody needs devices of his own.
var usual = []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
	"CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT"}

// addable are those that a job may ask for. The others would let a task leave its container or administer the node.
var addable = append([]string{"CAP_AUDIT_WRITE", "CAP_IPC_LOCK", "CAP_NET_RAW", "CAP_SYS_NICE"}, usual...)

func capabilities(b *schema.Block, key string, allowed []string) (out []string) {
	for i, name := range b.Texts(key) {
		full := "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if !slices.Contains(allowed, full) {
			p := b.Problem(fmt.Sprintf("%s[%d]", key, i), "%q may not be named here", name)
			var short []string
			for _, a := range allowed {
				short = append(short, strings.ToLower(strings.TrimPrefix(a, "CAP_")))
			}
			slices.Sort(short)
			p.Advise("there are %s", strings.Join(short, ", "))
			continue
		}
		out = append(out, full)
	}
	return out
}

// ownTargets are what every task has of its own.
var ownTargets = []string{"/local", "/secrets", "/alloc", "/proc", "/sys", "/dev"}

func mounts(b *schema.Block) (out []mount) {
	for i, block := range b.Blocks("mount") {
		at := fmt.Sprintf("mount[%d]", i)
		m := mount{kind: block.OneOf("type", mountBind, mountTmpfs), source: block.Text("source"),
			target: block.Required("target", `target = "/data"`), readOnly: block.Bool("read_only"), size: block.Size("size")}
		block.Close("a mount")
		out = append(out, m)
		if m.target != "" && !schema.Refers(m.target) {
			switch {
			case !path.IsAbs(m.target) || path.Clean(m.target) != m.target || m.target == "/":
				b.Problem(at, "the target %q is not an absolute path below the root", m.target)
			case slices.ContainsFunc(ownTargets, func(own string) bool { return m.target == own || strings.HasPrefix(m.target, own+"/") }):
				b.Problem(at, "every task has its own of what is at %s", m.target)
			}
		}
		switch {
		case m.kind == mountTmpfs && m.source != "":
			b.Problem(at, "a tmpfs has no source")
		case m.kind == mountBind && m.size != 0:
			b.Problem(at, "size is for a tmpfs")
		case m.kind == mountBind && m.source == "":
			b.Problem(at, "it has no source").Advise("a folder of the node, or one below local/")
		case m.kind == mountTmpfs || schema.Refers(m.source):
		case path.Clean(m.source) != m.source:
			b.Problem(at, "%q is to be written as %q", m.source, path.Clean(m.source))
		case !path.IsAbs(m.source) && m.source != "local" && !strings.HasPrefix(m.source, "local/"):
			b.Problem(at, "%q is neither absolute nor below local/ of the task's folder", m.source)
		}
	}
	return out
}

// namespaced reports whether a kernel setting is of a namespace that the container has for itself.
func namespaced(name string, network, ipc bool) bool {
	switch {
	case name == "kernel.sem", strings.HasPrefix(name, "kernel.shm"), strings.HasPrefix(name, "kernel.msg"), strings.HasPrefix(name, "fs.mqueue."):
		return ipc
	}
	return network && strings.HasPrefix(name, "net.")
}
