//go:build linux && (amd64 || arm64)

package supervisor

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/drivers/exec/guard"
	"github.com/proffer/proffer/drivers/exec/stage"
	"github.com/proffer/proffer/structs"
)

// host is what the supervisor uses of Linux: starters, cgroups, pidfds.
type host struct {
	s      *server
	slots  *stage.Slots
	cgroup *cgroup.Layout // nil: tasks are not limited
	guard  *guard.Guard   // of ports; nil: there is none
	root   bool
	feats  exec.Features
	roots  stage.Root
	covers []string

	pins     sync.RWMutex // for writing while where tasks may run changes
	rest     string       // of the cores, for tasks that have none of their own; empty: all
	mu       sync.Mutex
	starters map[kind]*stage.Starter      // those but for isolated tasks are made on first use
	filters  map[uint64][]unix.SockFilter // by the capabilities of tasks
	timer    *os.File                     // ends with the lease
}

// kind is what tasks of one starter have in common: what they see, and how likely the kernel kills them for want of memory, which they
// inherit of it.
type kind struct{ full, revocable bool }

func kindOf(l *exec.Launch) kind { return kind{l.Full, l.Revocable} }

// likely is the oom_score_adj of tasks.
func (k kind) likely() string {
	if k.revocable {
		return strconv.Itoa(drivers.RevocableOOMScore)
	}
	return "0"
}

const selfGroup = "supervisor"

// secrets of a host that a task has no business with, beside the data and configuration folders of the agent.
var secrets = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/sudoers", "/etc/sudoers.d",
	"/etc/ssh", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/proffer.d", "/etc/krb5.keytab", "/etc/machine-id",
}

func openHost(s *server, fresh bool, given *handover) (*host, error) {
	path := filepath.Join(s.dir, "slots")
	if fresh { // the clock of the lease began anew as well
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	slots, err := stage.OpenSlots(path)
	if err != nil {
		return nil, err
	}
	h := &host{s: s, slots: slots, root: os.Geteuid() == 0, starters: map[kind]*stage.Starter{}, filters: map[uint64][]unix.SockFilter{}}
	h.feats.Root, h.feats.Detached, h.feats.Named, h.feats.Shares = h.root, true, true, true
	h.roots = stage.DefaultRoot(filepath.Join(s.dir, "root"))
	if len(s.with.hostPaths) > 0 {
		h.roots.Binds = s.with.hostPaths
	}
	h.covers = h.hidden(append(append([]string{s.dir}, secrets...), s.with.hide...))
	if !h.root {
		h.feats.Why, h.feats.Lacks = "isolation needs root", "cgroups need root"
		return h, nil
	}
	sum := fnv.New32a()
	sum.Write([]byte(s.dir))
	if h.cgroup, err = cgroup.Detect(fmt.Sprintf("%s/%08x", s.with.parent, sum.Sum32())); err != nil {
		h.cgroup, h.feats.Lacks = nil, err.Error()
		s.log.Warn("tasks will not be limited", "why", err)
	} else {
		h.feats.Cgroups, h.feats.Lacks, h.feats.CgroupBase = h.cgroup.Version, h.cgroup.Missing(), h.cgroup.Base()
		h.feats.Commands = h.cgroup.Commands()
		if err := h.cgroup.Cores(); err != nil {
			h.feats.NoCores = err.Error()
		}
		if err := h.cgroup.IO(); err != nil {
			h.feats.NoIO = err.Error()
		} else if _, err := cgroup.DiskOf(s.dir); err != nil {
			h.feats.NoIO = err.Error()
		}
		if err := h.cgroup.MoveSelf(selfGroup); err != nil {
			s.log.Warn("the supervisor stays in the service's cgroup: a service manager may end it with the agent", "err", err)
		}
		if err := h.openGuard(s.with.ports, s.table.live); err != nil {
			h.feats.NoGuard = err.Error()
			s.log.Warn("tasks in the network of the node can bind the ports of others", "why", err)
		}
		if given != nil && given.Base != "" && given.Base != h.cgroup.Base() {
			h.cgroup.Prune(given.Base, selfGroup)
		}
	}
	if err := os.MkdirAll(h.roots.Mount, 0o700); err != nil {
		slots.Close()
		return nil, err
	}
	full, err := h.spawn(kind{full: true})
	if err != nil {
		h.feats.Why = err.Error()
		s.log.Warn("no isolation", "why", err)
	}
	if h.feats.Full = err == nil; h.feats.Full {
		h.starters[kind{full: true}] = full
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0); err != nil {
		s.log.Info("the supervisor is not protected from the OOM killer", "why", err)
	}
	return h, nil
}

// hidden keeps of paths those that a task would see.
func (h *host) hidden(paths []string) []string {
	var list []string
	for _, p := range paths {
		if to, err := filepath.EvalSymlinks(p); err == nil {
			p = to
		}
		for _, b := range h.roots.Binds {
			if strings.HasPrefix(p+"/", b+"/") {
				list = append(list, p)
				break
			}
		}
	}
	return list
}

// spawn starts a starter that is as likely an OOM victim as its tasks shall be; the supervisor itself may be protected.
func (h *host) spawn(k kind) (*stage.Starter, error) {
	root := (*stage.Root)(nil)
	if k.full {
		root = &h.roots
	}
	st, err := stage.Spawn(h.slots, root)
	if err == nil {
		os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", st.PID()), []byte(k.likely()), 0)
		if h.cgroup != nil {
			if err := h.cgroup.Adopt(st.PID()); err != nil {
				h.s.log.Warn("tasks may run on cores that others have for themselves", "why", err)
			}
		}
	}
	return st, err
}

// starter returns the one for a kind of task, a new one when the last one broke.
func (h *host) starter(k kind, broken *stage.Starter) (*stage.Starter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if k.full && !h.feats.Full {
		return nil, structs.Errorf(structs.Unavailable, "isolation", "it is not possible here: %s", h.feats.Why)
	}
	st := h.starters[k]
	if st != nil && st == broken {
		broken.Close()
		delete(h.starters, k)
		st = nil
	}
	if st == nil {
		var err error
		if st, err = h.spawn(k); err != nil {
			return nil, err
		}
		h.starters[k] = st
	}
	return st, nil
}

// run hands a plan to a starter, twice when the first one had died.
func (h *host) run(k kind, do func(*stage.Starter) (*stage.Process, error)) (*stage.Process, error) {
	var broken *stage.Starter
	for {
		st, err := h.starter(k, broken)
		if err != nil {
			return nil, err
		}
		p, err := do(st)
		if err == nil || !errors.Is(err, stage.ErrStarter) || broken != nil {
			return p, err
		}
		broken = st
	}
}

func (h *host) features() *exec.Features {
	f := h.feats
	return &f
}

func (h *host) cgroupPath(seq uint64) string {
	if h.cgroup == nil {
		return ""
	}
	return h.cgroup.Path("t" + strconv.FormatUint(seq, 36))
}

// clean removes the cgroup of an ended task, or command, with all that is still in it.
func (h *host) clean(rec *record) error {
	if rec.Within != 0 {
		if g := h.commandOf(rec); g != nil && !g.TryRemove() {
			return errors.Join(g.Kill(), g.Remove())
		}
		return nil
	}
	defer h.leave(rec)
	if rec.Cgroup == "" || h.cgroup == nil {
		return nil
	}
	g := h.group(rec)
	if base := filepath.Dir(rec.Cgroup); base != h.cgroup.Base() { // it was another one when the task began
		defer h.cgroup.Prune(base, selfGroup)
	}
	// The kernel emptied the PID namespace of an isolated task before its stage could be waited for. Listing a group to see
	// that it is empty costs more than to remove it.
	if rec.Launch.Full && g.TryRemove() {
		return nil
	}
	if err := g.Kill(); err != nil {
		return err
	}
	if rec.Launch.Container != "" {
		return g.RemoveEverywhere()
	}
	return g.Remove()
}

// killRest kills what is left of an ended task in its cgroup.
func (h *host) killRest(rec *record) {
	if rec.Cgroup != "" && h.cgroup != nil {
		h.group(rec).Kill()
	}
}

// sweep removes cgroups that no record names, of a supervisor that died at the wrong moment.
func (h *host) sweep(live map[uint64]*record) {
	if h.cgroup == nil {
		return
	}
	known := map[string]bool{h.cgroup.Path(selfGroup): true}
	for _, rec := range live {
		known[rec.Cgroup] = true
	}
	for _, path := range h.cgroup.List() {
		if !known[path] {
			g := h.cgroup.Open(path)
			if err := errors.Join(g.Kill(), g.RemoveEverywhere()); err != nil {
				h.s.log.Warn("a cgroup is left over", "path", path, "err", err)
			}
		}
	}
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

func (h *host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, st := range h.starters {
		st.Close()
	}
	h.slots.Close()
	if h.guard != nil {
		h.guard.Close()
	}
	if h.cgroup != nil {
		h.cgroup.Leave(selfGroup)
	}
}
