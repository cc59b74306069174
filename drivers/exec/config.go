package exec

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// Isolation and network modes of a config.
const (
	isolationFull = "full"
	isolationNone = "none"
	networkHost   = "host"
	networkNone   = "none"
)

// config is what a job writes for a task of this driver.
type config struct {
	command   string
	args      []string
	arg0      *string // what the program is called; nil: command
	isolation string  // empty: full where it is possible
	network   string
	root      string // below the task folder; empty: one with the host's programs
	capAdd    []string
	rlimits   []Rlimit
	pids      int // 0: the default

	seccomp string // the name of a profile; see package seccomp
	with    schema.Namespaces
}

// rlimits that a config may set, with their numbers for setrlimit on Linux. With nice and rtprio a task can take the cores of others, as with the
// capability sys_nice.
var rlimits = map[string]int{"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9, "locks": 10,
	"sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15}

const maxPids = 1 << 22

// parse reads a config and collects everything that is wrong with it. object names the place for messages.
func parse(object string, raw map[string]any) (*config, error) {
	b := schema.Read(object, raw)
	c := &config{command: b.Required("command", `command = "/usr/bin/python3"`), args: b.Texts("args"),
		network: b.OneOf("network", networkHost, networkNone), capAdd: capAdd(b), rlimits: rlimitsOf(b), pids: int(b.Whole("pids", 2, maxPids, 0))}
	if mode := b.OneOf("isolation", isolationFull, isolationNone); b.Has("isolation") {
		c.isolation = mode
	}
	c.arg0, c.seccomp, c.with = b.Optional("arg0"), b.Seccomp(), b.Namespaces()
	if c.root = b.Text("root"); c.root != "" && !strings.Contains(c.root, "${") {
		if first, _, deep := strings.Cut(path.Clean(c.root), "/"); !filepath.IsLocal(c.root) || strings.Contains(c.root, "..") || !deep || first != "local" {
			b.Problem("root", "%q is not a folder in local", c.root).Advise(`unpack an artifact there, such as root = "local/rootfs"`)
		}
	}
	if c.isolation == isolationNone {
		for key, set := range map[string]bool{"root": c.root != "", "network": c.network != networkHost, "cap_add": c.capAdd != nil, "seccomp": b.Has("seccomp"),
			structs.PIDModeKey: !c.with.OwnPID(), structs.IPCModeKey: !c.with.OwnIPC(), structs.ShmSizeKey: b.Has(structs.ShmSizeKey)} {
			if set {
				b.Problem(key, `it needs isolation = "full"`)
			}
		}
	}
	return c, b.Err("the exec driver")
}

func capAdd(b *schema.Block) (out []string) {
	for i, name := range b.Texts("cap_add") {
		if _, ok := Capability(name); ok {
			out = append(out, name)
			continue
		}
		p := b.Problem(fmt.Sprintf("cap_add[%d]", i), "capability %q may not be added", name)
		all := slices.Sorted(maps.Keys(capabilities))
		if near := structs.Nearest(strings.TrimPrefix(strings.ToLower(name), "cap_"), all); near != "" {
			p.Advise("did you mean %q?", near)
		} else {
			p.Advise("allowed are %s", strings.Join(all, ", "))
		}
	}
	return out
}

// RlimitName is the name of a limit in a config.
func RlimitName(resource int) string {
	for name, n := range rlimits {
		if n == resource {
			return name
		}
	}
	return strconv.Itoa(resource)
}

func rlimitsOf(b *schema.Block) (out []Rlimit) {
	m := b.Map("rlimits")
	for _, name := range slices.Sorted(maps.Keys(m)) {
		number, ok := rlimits[name]
		if !ok {
			p := b.Problem("rlimits."+name, "there is no such limit")
			all := slices.Sorted(maps.Keys(rlimits))
			if near := structs.Nearest(name, all); near != "" {
				p.Advise("did you mean %q?", near)
			} else {
				p.Advise("there are %s", strings.Join(all, ", "))
			}
			continue
		}
		text, isText := m[name].(string)
		if n, ok := schema.Whole(m[name]); ok && n >= 0 {
			text = strconv.FormatInt(n, 10)
		} else if !isText {
			text = ""
		}
		soft, hard, ok := schema.Limits(text)
		if !ok {
			b.Problem("rlimits."+name, `it must be a whole number, "soft:hard" or "unlimited", not %s`, schema.Describe(m[name]))
			continue
		}
		out = append(out, Rlimit{number, uint64(soft), uint64(hard)}) // -1 is all bits
	}
	return out
}
