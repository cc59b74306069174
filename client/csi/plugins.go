// Package csi is how a node runs plugins of the Container Storage Interface and uses them: they are tasks, each makes a socket in a folder
// that it was given, and is asked over it. See DESIGN.md.
package csi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/drivers/remove"
	"github.com/proffer/proffer/structs"
)

// Plugins are the storage plugins of one node. It is a runner.Provider for the allocations that have them; its methods may be called
// from any goroutine.
type Plugins struct {
	dir string // for the agent's user alone
	log *slog.Logger

	// Abandon is how long a plugin may be gone before what it mounted is unmounted without it; 0: 2 min.
	Abandon time.Duration

	orders orders

	mu    sync.Mutex
	tasks map[string]*task     // by folder
	gone  map[string]time.Time // since when a plugin that mounts is known not to be on the node
	wake  chan struct{}        // holds one
	news  chan struct{}        // holds one
}

var _ runner.Provider = (*Plugins)(nil)

// record is what the disk keeps of a task that is a plugin.
type record struct {
	Alloc      structs.AllocID
	Task       string
	Plugin     string
	Node       bool
	Controller bool
}

// task is one plugin's process, as far as it is known here.
type task struct {
	record
	folder string // of its socket
	socket *socket

	stop context.CancelFunc // of its watch; nil: it is not watched yet
	said *about             // nil: it never answered
	why  string             // it is not well
}

// A plugin's task is a folder below tasks, and its volumes are mounted below mounts:
//
//	tasks/KEY/plugin.json        what it is
//	tasks/KEY/s/csi.sock         its socket, in the folder that the task sees
//	mounts/PLUGIN/VOLUME/stage   the volume, as the node has it
//	mounts/PLUGIN/VOLUME/ALLOC   the volume, as the tasks of an allocation have it
const (
	recordFile   = "plugin.json"
	tasksFolder  = "tasks"
	mountsFolder = "mounts"
	socketFolder = "s"
	stageFolder  = "stage"
)

// Open makes the folder and finds the plugins that were there. The errors are those of the disk.
func Open(dir string, log *slog.Logger) (*Plugins, error) {
	p := &Plugins{dir: dir, log: log, tasks: map[string]*task{}, gone: map[string]time.Time{}, wake: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	entries, err := os.ReadDir(filepath.Join(dir, tasksFolder))
	if err != nil && !os.IsNotExist(err) {
		return nil, drivers.DiskError("storage plugins", err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, tasksFolder, e.Name(), recordFile))
		var r record
		if err == nil {
			err = json.Unmarshal(raw, &r)
		}
		if err != nil {
			log.Warn("the record of a storage plugin cannot be read: it is not used until it is started again", "folder", e.Name(), "err", err)
			continue
		}
		p.tasks[e.Name()] = p.task(e.Name(), r)
	}
	return p, nil
}

func (p *Plugins) task(key string, r record) *task {
	folder := filepath.Join(p.dir, tasksFolder, key, socketFolder)
	return &task{record: r, folder: folder, socket: newSocket(r.Plugin, folder), why: "it has not made its socket yet"}
}

// Name is for messages.
func (p *Plugins) Name() string { return "plugins" }

// Needs reports whether a task of the group is a plugin.
func (p *Plugins) Needs(alloc *structs.Allocation, group *structs.Group) bool { return group.Plugin() }

// Provide gives each plugin of an allocation the folder for its socket and, when it mounts volumes, the one where it does so: at the same
// path as the node has it, since it is told paths.
func (p *Plugins) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	for _, t := range need.Group.Tasks {
		c := t.CSIPlugin
		if c == nil {
			continue
		}
		object := fmt.Sprintf("plugin %q", c.ID)
		if !structs.ValidName(c.ID) {
			return structs.Errorf(structs.Invalid, object, "that is no name")
		}
		r := record{need.Alloc.ID, t.Name, c.ID, c.ServesNode(), c.ServesController()}
		sum := sha256.Sum256([]byte(string(r.Alloc) + "/" + r.Task))
		key := hex.EncodeToString(sum[:6]) // short: a socket's path is
		if err := p.enter(key, r); err != nil {
			return drivers.DiskError(object, err)
		}
		mounts := filepath.Join(p.dir, mountsFolder, c.ID)
		endpoint := filepath.Join(p.dir, tasksFolder, key, socketFolder, socketName)
		if !unisolated(t) {
			given.Mount(t.Name, drivers.Mount{Source: filepath.Dir(endpoint), Target: c.MountDir})
			if r.Node {
				m, err := spread(object, mounts)
				if err != nil {
					return err
				}
				given.Mount(t.Name, m)
			}
			endpoint = filepath.Join(c.MountDir, socketName)
		}
		if given.Env == nil {
			given.Env = map[string]map[string]string{}
		}
		given.Env[t.Name] = map[string]string{"CSI_ENDPOINT": "unix://" + endpoint}
	}
	return nil
}

// unisolated reports whether a task sees the host as it is: then nothing can be mounted for it, and nothing need be.
func unisolated(t *structs.Task) bool {
	return t.Driver == "exec" && t.Config["isolation"] == "none"
}

// leave removes the folder where a plugin mounts, and that it is shared, when neither a task of it nor a volume is there. The caller holds mu.
func (p *Plugins) leave(plugin string) {
	for _, t := range p.tasks {
		if t.Plugin == plugin && t.Node {
			return
		}
	}
	at := filepath.Join(p.dir, mountsFolder, plugin)
	if entries, err := os.ReadDir(at); err != nil || len(entries) > 0 {
		return
	}
	err := unmount(at)
	if err == nil {
		err = os.Remove(at)
	}
	if err != nil {
		p.log.Warn("the folder of a storage plugin cannot be removed", "plugin", plugin, "err", err)
	}
}

// enter makes the folders of a plugin's task and notes it.
func (p *Plugins) enter(key string, r record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir := filepath.Join(p.dir, tasksFolder, key)
	if err := os.MkdirAll(filepath.Join(dir, socketFolder), 0o700); err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, socketFolder), 0o777); err != nil { // whoever the task runs as; nobody else gets here
		return err
	}
	if r.Node {
		if err := os.MkdirAll(filepath.Join(p.dir, mountsFolder, r.Plugin), 0o700); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(&r)
	if err != nil {
		return err
	}
	at := filepath.Join(dir, recordFile)
	if err := os.WriteFile(at+".new", raw, 0o600); err != nil {
		return err
	}
	if err := os.Rename(at+".new", at); err != nil {
		return err
	}
	if p.tasks[key] == nil {
		p.tasks[key] = p.task(key, r)
	}
	if r.Node {
		delete(p.gone, r.Plugin)
	}
	p.nudge()
	return nil
}

func (p *Plugins) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Release forgets the plugins of an allocation.
func (p *Plugins) Release(ctx context.Context, id structs.AllocID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, t := range p.tasks {
		if t.Alloc != id {
			continue
		}
		if err := remove.All(filepath.Join(p.dir, tasksFolder, key)); err != nil {
			return drivers.DiskError("plugin "+t.Plugin, err)
		}
		delete(p.tasks, key)
		p.leave(t.Plugin)
		if t.stop != nil {
			t.stop()
		}
		p.changed()
	}
	return nil
}

// News has something when a plugin says something else than before, or is gone: see Nodes.
func (p *Plugins) News() <-chan struct{} { return p.news }

func (p *Plugins) changed() {
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// Keep watches the plugins until ctx ends, and forgets those of allocations that are not known any more.
func (p *Plugins) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	var watching sync.WaitGroup
	defer watching.Wait()
	p.mu.Lock()
	var unknown []structs.AllocID
	for _, t := range p.tasks {
		if !known(t.Alloc) {
			unknown = append(unknown, t.Alloc)
		}
	}
	p.mu.Unlock()
	for _, id := range unknown {
		if err := p.Release(ctx, id); err != nil {
			p.log.Warn("what is left of a storage plugin cannot be removed", "alloc", id, "err", err)
		}
	}
	p.nudge()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		p.mu.Lock()
		for _, t := range p.tasks {
			if t.stop == nil {
				var own context.Context
				own, t.stop = context.WithCancel(ctx)
				watching.Go(func() { p.watch(own, t) })
			}
		}
		p.mu.Unlock()
	}
}

const (
	lookEvery = 10 * time.Second       // at a plugin that is well
	firstLook = 100 * time.Millisecond // at one that is not, doubled each time
	lastLook  = 5 * time.Second        // at most
)

// watch asks a plugin how it is until ctx ends.
func (p *Plugins) watch(ctx context.Context, t *task) {
	wait := firstLook
	var made os.FileInfo // the socket that said answers for
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, askTime)
		said, at, err := t.look(asking, made)
		if err != nil && asking.Err() != nil && ctx.Err() == nil {
			err = structs.Errorf(structs.Unavailable, "plugin "+t.Plugin, "it does not answer within %s", structs.Duration(askTime))
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		if made = at; err != nil {
			p.note(t, said, structs.AsError(err).Why)
			pause.For(ctx, wait)
			wait = min(2*wait, lastLook)
			continue
		}
		p.note(t, said, "")
		wait = firstLook
		pause.For(ctx, lookEvery)
	}
}

// look asks a plugin how it is, and what, unless it said so at the socket made. What it said last stands when it does not answer. The socket
// is nil then.
func (t *task) look(ctx context.Context, made os.FileInfo) (*about, os.FileInfo, error) {
	info, err := os.Lstat(filepath.Join(t.folder, socketName))
	if os.IsNotExist(err) {
		err = structs.Errorf(structs.Unavailable, "plugin "+t.Plugin, "it has not made its socket yet")
	}
	if err == nil {
		err = t.socket.ready(ctx)
	}
	if err != nil {
		return t.said, nil, err
	}
	if t.said != nil && made != nil && os.SameFile(made, info) && made.ModTime().Equal(info.ModTime()) {
		return t.said, info, nil
	}
	said, err := t.socket.describe(ctx, t.Node, t.Controller)
	if err != nil {
		return t.said, nil, err
	}
	return said, info, nil
}

// note takes over how a plugin is.
func (p *Plugins) note(t *task, said *about, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.said == said && t.why == why {
		return
	}
	if t.why != "" && why == "" {
		p.log.Info("a storage plugin is well", "plugin", t.Plugin, "alloc", structs.Short(t.Alloc), "vendor", said.vendor, "version", said.version)
	} else if t.why == "" {
		p.log.Warn("a storage plugin is not well", "plugin", t.Plugin, "alloc", structs.Short(t.Alloc), "err", why)
	}
	t.said, t.why = said, why
	p.changed()
}

// Nodes says what the node is to be shown to have. One part of a plugin that several tasks serve is as the best of them.
func (p *Plugins) Nodes() map[string]*structs.NodePlugin {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out map[string]*structs.NodePlugin
	for _, t := range p.tasks {
		n := out[t.Plugin]
		if n == nil {
			if len(out) >= structs.MaxNodePlugins {
				continue
			}
			if out == nil {
				out = map[string]*structs.NodePlugin{}
			}
			n = &structs.NodePlugin{}
			out[t.Plugin] = n
		}
		said := t.said
		if said == nil {
			said = &about{}
		} else {
			n.Vendor, n.Version, n.HasController = said.vendor, said.version, n.HasController || said.hasController
		}
		if t.Node && (n.Node == nil || !n.Node.Healthy) {
			n.Node = &structs.PluginNodePart{}
			if said.node != nil {
				*n.Node = *said.node
			}
			n.Node.Healthy, n.Node.Why = t.why == "", t.why
		}
		if t.Controller && (said.controller != nil || said.vendor == "") && (n.Controller == nil || !n.Controller.Healthy) {
			n.Controller = &structs.PluginControllerPart{}
			if said.controller != nil {
				*n.Controller = *said.controller
			}
			n.Controller.Healthy, n.Controller.Why = t.why == "", t.why
		}
	}
	return out
}

// serving returns a plugin that serves its node or its controller part.
func (p *Plugins) serving(plugin string, node bool) (*socket, error) {
	_, s, err := p.server(plugin, node)
	return s, err
}

func (p *Plugins) server(plugin string, node bool) (*about, *socket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var best *task
	for _, t := range p.tasks {
		if t.Plugin != plugin || (node && !t.Node) || (!node && !t.Controller) {
			continue
		}
		if best == nil || t.why == "" && best.why != "" {
			best = t
		}
	}
	switch {
	case best == nil:
		return nil, nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("plugin %q", plugin), "it does not run on this node")
	case best.said == nil || best.why != "":
		return nil, nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("plugin %q", plugin), "it is not well: %s", best.why)
	}
	return best.said, best.socket, nil
}
