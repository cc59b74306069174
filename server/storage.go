package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

const (
	errandTime      = 90 * time.Second // for one call to a controller
	errandsOfPlugin = 16               // at once, see lane
	firstRetry      = 500 * time.Millisecond
	lastRetry       = 30 * time.Second
)

// storage brings the volumes of plugins to what their records want, for one term: it has them made, attached, taken back, made larger and
// removed. What is to be done follows from the records and the claims alone, and each call may be repeated, so that nothing need be
// handed to the next leader. A call is made by a node on which the controller of the plugin runs.
type storage struct {
	server *Server
	kick   chan struct{} // holds one

	mu      sync.Mutex
	dirty   map[string]bool // volumes to be looked at
	running map[string]bool
	failed  map[string]*failure
	busy    map[string]int // by lane
	at      map[string]map[structs.NodeID]bool
	calls   sync.WaitGroup
}

// failure is that a volume's last errand did not succeed.
type failure struct {
	plugin string
	times  int
	again  time.Time
}

// keepStorage runs a storage for one term. While there are no volumes of plugins it costs nothing.
func (s *Server) keepStorage(term context.Context) {
	for term.Err() == nil {
		snap := s.store.Snapshot()
		if !hasPlugged(snap) {
			s.store.Wait(term, snap.Index(), state.OfTable(state.Volumes))
			continue
		}
		k := &storage{server: s, kick: make(chan struct{}, 1), dirty: map[string]bool{}, running: map[string]bool{}, failed: map[string]*failure{},
			busy: map[string]int{}, at: map[string]map[structs.NodeID]bool{}}
		k.run(term)
	}
}

func hasPlugged(snap *state.Snapshot) bool {
	for v := range snap.Volumes() {
		if v.CSI != nil {
			return true
		}
	}
	return false
}

// run works until the term ends, or the feed was too slow.
func (k *storage) run(term context.Context) {
	ctx, cancel := context.WithCancel(term)
	snap, feed := k.server.store.Subscribe(1<<16, state.OfTable(state.Volumes), state.OfTable(state.Allocs), state.OfTable(state.Nodes))
	for n := range snap.Nodes() {
		k.takeNode(nil, n)
	}
	for v := range snap.Volumes() {
		k.dirty[v.Name] = v.CSI != nil
	}
	var following sync.WaitGroup
	following.Go(func() {
		defer cancel()
		defer feed.Close()
		k.follow(ctx, feed)
	})
	defer following.Wait()
	defer k.calls.Wait()
	defer cancel()
	for ctx.Err() == nil {
		next := k.begin(ctx)
		timer := time.NewTimer(next)
		select {
		case <-k.kick:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (k *storage) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// follow notes what changes.
func (k *storage) follow(ctx context.Context, feed *state.Feed) {
	for {
		batch, err := feed.Next(ctx)
		if err != nil {
			return
		}
		k.mu.Lock()
		for _, c := range batch.Changes {
			switch c.Table {
			case state.Volumes:
				if v, _ := c.New.(*structs.Volume); v != nil && v.CSI != nil {
					k.dirty[v.Name] = true
				}
			case state.Allocs:
				was, _ := c.Old.(*structs.Allocation)
				is, _ := c.New.(*structs.Allocation)
				if was == nil || was.Ended() {
					continue
				}
				for _, x := range was.Volumes {
					if x.Plugin != "" && (is == nil || is.Ended() || is.Claim(x.ID) == nil) {
						k.dirty[x.Name] = true
					}
				}
			case state.Nodes:
				was, _ := c.Old.(*structs.Node)
				is, _ := c.New.(*structs.Node)
				k.takeNode(was, is)
			}
		}
		k.mu.Unlock()
		k.wake()
	}
}

// controls reports whether the controller of a plugin can be asked on a node.
func controls(n *structs.Node, plugin string) bool {
	if n == nil || n.Status != structs.NodeReady {
		return false
	}
	p := n.Plugins[plugin]
	return p != nil && p.Controller != nil && p.Controller.Healthy
}

// takeNode notes where controllers are. What waits for one that is new is tried at once. The caller holds mu.
func (k *storage) takeNode(was, is *structs.Node) {
	if was != nil {
		for plugin := range was.Plugins {
			if controls(was, plugin) && !controls(is, plugin) {
				delete(k.at[plugin], was.ID)
			}
		}
	}
	if is == nil {
		return
	}
	for plugin := range is.Plugins {
		if !controls(is, plugin) || k.at[plugin][is.ID] {
			continue
		}
		if k.at[plugin] == nil {
			k.at[plugin] = map[structs.NodeID]bool{}
		}
		k.at[plugin][is.ID] = true
		for name, f := range k.failed {
			if f.plugin == plugin {
				f.again, k.dirty[name] = time.Time{}, true
			}
		}
	}
}

// lane is what waits for each other: the volumes of a plugin, but for those that are made of the raw storage of a node. They can be asked for there
// alone, so that a node that does not answer would hold up all others.
func lane(v *structs.Volume) string {
	if v.MadeDisk() {
		return v.CSI.Plugin + "/" + string(v.Node)
	}
	return v.CSI.Plugin
}

// begin starts what is due and returns how long until more is.
func (k *storage) begin(ctx context.Context) (next time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, next := time.Now(), time.Hour
	snap := k.server.store.Snapshot()
	for _, name := range slices.Sorted(maps.Keys(k.dirty)) {
		v := snap.Volume(name)
		if v == nil || v.CSI == nil {
			delete(k.dirty, name)
			delete(k.failed, name)
			continue
		}
		if k.running[name] || k.busy[lane(v)] >= errandsOfPlugin {
			continue
		}
		if f := k.failed[name]; f != nil && f.again.After(now) {
			next = min(next, f.again.Sub(now))
			continue
		}
		delete(k.dirty, name)
		e := snap.NextErrand(v)
		if e == nil {
			delete(k.failed, name)
			continue
		}
		k.running[name] = true
		k.busy[lane(v)]++
		tried := 0
		if f := k.failed[name]; f != nil {
			tried = f.times
		}
		k.calls.Go(func() {
			k.done(v, k.do(ctx, snap, v, e, tried), ctx.Err() != nil)
		})
	}
	return next
}

// done notes how an errand ended; the volume is looked at again.
func (k *storage) done(v *structs.Volume, err error, over bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.running, v.Name)
	if k.busy[lane(v)]--; k.busy[lane(v)] == 0 {
		delete(k.busy, lane(v))
	}
	k.dirty[v.Name] = true
	f := k.failed[v.Name]
	switch {
	case err == nil:
		delete(k.failed, v.Name)
	case !over:
		if f == nil {
			f = &failure{plugin: v.CSI.Plugin}
			k.failed[v.Name] = f
		}
		f.again = time.Now().Add(min(firstRetry<<min(f.times, 10), lastRetry))
		f.times++
	}
	k.wake()
}

// deeds are what a controller is asked for, by what is recorded then.
var deeds = map[state.VolumeDeed]csi.Deed{
	state.VolumeWasMade:  csi.Make,
	state.VolumeChecked:  csi.Check,
	state.VolumeGrew:     csi.Grow,
	state.VolumeGone:     csi.Remove,
	state.VolumeAttached: csi.Attach,
	state.VolumeDetached: csi.Detach,
}

// do carries out an errand and records it.
func (k *storage) do(ctx context.Context, snap *state.Snapshot, v *structs.Volume, e *state.Errand, tried int) error {
	note := &state.NoteVolume{Name: v.Name, ID: v.ID, Did: e.Did, Node: e.Node}
	if e.At != nil {
		note.Index = e.At.Index
	}
	err := k.ask(ctx, snap, v, e, tried, note)
	if err == nil {
		if err = k.record(ctx, note); structs.KindOf(err) != structs.Invalid {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := structs.AsError(err).Error()
	if v.CSI.Error == why && !note.Last {
		return err
	}
	k.server.log.Warn("a storage plugin did not do what a volume needs", "volume", v.Name, "plugin", v.CSI.Plugin, "for", string(e.Did), "err", why)
	k.record(ctx, &state.NoteVolume{Name: v.Name, ID: v.ID, Did: state.VolumeFailed, Why: why, Last: note.Last}) // it is tried again in any case
	return err
}

// record proposes what was done. What the state has gone beyond is left.
func (k *storage) record(ctx context.Context, note *state.NoteVolume) error {
	_, _, err := k.server.raft.Propose(ctx, "", "server "+k.server.config.Name, note)
	if kind := structs.KindOf(err); kind == structs.Conflict || kind == structs.NotFound {
		return nil
	}
	return err
}

// ask makes the call of an errand, when it needs one, and completes what is to be recorded.
func (k *storage) ask(ctx context.Context, snap *state.Snapshot, v *structs.Volume, e *state.Errand, tried int, note *state.NoteVolume) error {
	c, do := v.CSI, deeds[e.Did]
	order := &csi.Order{Do: do, Volume: v.For(e.Node), Node: e.Node, Size: v.Size}
	secrets, err := k.server.volumeSecrets(ctx, v)
	if err != nil {
		return err
	}
	order.Volume.CSI.Parameters, order.Volume.CSI.Secrets, order.Volume.CSI.Sealed = c.Parameters, secrets, structs.Sealed{}
	if e.At != nil {
		order.NodeID, order.Number = e.At.PluginID, e.At.Index
	}
	if v.MadeDisk() && e.At == nil {
		order.Number = snap.Index() // a call of a leader that is gone makes nothing that its successor believes to be removed
	}
	switch {
	case e.Did == state.VolumeDetaches, do == csi.Remove && !c.Made, (do == csi.Attach || do == csi.Detach) && !e.At.Called:
		return nil
	case do == csi.Detach && c.External == "": // its work went before it was made
		return nil
	case do == csi.Check && withoutController(snap, c.Plugin):
		return nil
	case do == csi.Make:
		order.From = madeFor(snap, v)
	}
	n, can, err := k.controller(snap, v, tried)
	if err != nil {
		return err
	}
	switch {
	case (do == csi.Attach || do == csi.Detach) && !can.Attaches:
		return nil
	case do == csi.Make && !can.Makes, do == csi.Remove && !can.Makes:
		return structs.Errorf(structs.Invalid, fmt.Sprintf("plugin %q", c.Plugin), "it cannot make or remove volumes").Advise("register one that is there: volume create -external ID")
	case do == csi.Grow && !can.Expands:
		return structs.Errorf(structs.Invalid, fmt.Sprintf("plugin %q", c.Plugin), "it cannot make volumes larger")
	}
	ctx, cancel := context.WithTimeout(ctx, errandTime)
	defer cancel()
	var a csi.Answer
	if err := k.server.config.Pool.Call(ctx, n.Address, csi.Method, order, &a); err != nil {
		if do == csi.Make && v.Status == structs.VolumePurging && structs.KindOf(err) == structs.Invalid && !v.MadeDisk() {
			note.Did = state.VolumeGone // it was never made, and never can be
			return nil
		}
		return err
	}
	if a.None != "" && v.Status == structs.VolumePurging {
		note.Did = state.VolumeGone
		return nil
	}
	if a.None != "" {
		note.Last = true
		return structs.Errorf(structs.Invalid, "disk "+v.Name, "%s", a.None)
	}
	note.External, note.Context, note.Capacity, note.Topology, note.Called = a.External, a.Context, a.Capacity, a.Topology, true
	if do == csi.Grow && a.Capacity < v.Size {
		note.Capacity = v.Size
	}
	return nil
}

// withoutController reports whether a plugin runs that has no controller at all: nobody can be asked about its volumes.
func withoutController(snap *state.Snapshot, plugin string) bool {
	for n := range snap.Nodes() {
		if p := n.Plugins[plugin]; p != nil && p.Node != nil && p.Node.Healthy && !p.HasController {
			return true
		}
	}
	return false
}

// madeFor says where a volume that is being made is waited for: by work that was placed with it.
func madeFor(snap *state.Snapshot, v *structs.Volume) (places []structs.Segments) {
	at := slices.Sorted(maps.Keys(v.CSI.Attached))
	if v.MadeDisk() {
		at = []structs.NodeID{v.Node}
	}
	for _, id := range at {
		n := snap.Node(id)
		if n == nil {
			continue
		}
		if p := n.Plugins[v.CSI.Plugin]; p != nil && p.Node != nil && len(p.Node.Topology) > 0 {
			places = append(places, p.Node.Topology)
		}
	}
	return places
}

// controller returns a node on which the controller of the plugin of a volume can be asked, another one with each failure. What is made of the
// raw storage of a node is known there alone.
func (k *storage) controller(snap *state.Snapshot, v *structs.Volume, tried int) (*structs.Node, *structs.PluginControllerPart, error) {
	plugin := v.CSI.Plugin
	if v.MadeDisk() {
		if n := snap.Node(v.Node); controls(n, plugin) {
			return n, n.Plugins[plugin].Controller, nil
		}
		return nil, nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("plugin %q", plugin), "its controller does not run on node %s, or is not healthy", v.NodeName)
	}
	k.mu.Lock()
	at := slices.Sorted(maps.Keys(k.at[plugin]))
	k.mu.Unlock()
	for i := range at {
		if n := snap.Node(at[(i+tried)%len(at)]); controls(n, plugin) {
			return n, n.Plugins[plugin].Controller, nil
		}
	}
	return nil, nil, structs.Errorf(structs.Unavailable, fmt.Sprintf("plugin %q", plugin), "its controller runs on no node, or is not healthy").
		Advise("run a job with csi_plugin { id = %q, type = \"controller\" }", plugin)
}

// drains returns nodes as a job sees them. A storage plugin stays on a node that drains until no volume is attached to it any more: those
// could not be unmounted without it. So it is at the deadline of the drain.
func drains(job *structs.Job, node func(structs.NodeID) *structs.Node) func(structs.NodeID) *structs.Node {
	if !slices.ContainsFunc(job.Groups, (*structs.Group).Plugin) {
		return node
	}
	return func(id structs.NodeID) *structs.Node {
		n := node(id)
		if n == nil || n.Drain == nil || len(n.Attached) == 0 {
			return n
		}
		still := *n
		still.Drain = nil
		return &still
	}
}

// isPlugin reports whether an allocation is of a storage plugin.
func isPlugin(snap *state.Snapshot, a *structs.Allocation) bool {
	v := snap.Version(a.Job, a.Version)
	if v == nil {
		return false
	}
	g := v.Job.Group(a.Group)
	return g != nil && g.Plugin()
}
