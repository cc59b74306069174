// Package volumes keeps the storage of a node that outlives its work: host volumes, which its configuration names, and the persistent
// volumes of the region that are on its disk. It gives them to allocations and takes them back. See DESIGN.md.
package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/drivers/remove"
	"github.com/proffer/proffer/structs"
)

// HostVolume is a folder of the host that jobs may mount.
type HostVolume struct {
	Path     string // absolute
	ReadOnly bool

	Propagation structs.Propagation // the most that a mount of it may ask for; empty: host-to-task, and private with ReadOnly
}

func (h HostVolume) most() structs.Propagation {
	if h.Propagation == "" && !h.ReadOnly {
		return structs.PropagationHostToTask
	}
	return h.Propagation
}

// Volumes is the storage of one node. It is a runner.Provider; its methods may be called from any goroutine.
type Volumes struct {
	dir string // of the volumes; for the agent's user alone
	log *slog.Logger

	// Told is called with volumes whose data is gone. It is set before Keep.
	Told func([]structs.VolumeID)
	// Plugins mount the volumes of plugins on the node Self. They are set before the first use; nil: there are none.
	Plugins *csi.Plugins
	Self    func() structs.NodeID

	disks atomic.Pointer[map[string]Disk]
	// Limits bounds what volumes hold; nil: nothing does. It is set before Keep.
	Limits *disk.Limits

	turns flight.Turns // of volumes that are given, taken back or bounded

	mu     sync.Mutex
	host   map[string]HostVolume
	known  func(structs.AllocID) bool           // nil before Keep: all are
	purge  map[structs.VolumeID]bool            // that the region wants gone
	region map[structs.VolumeID]*structs.Volume // as it last said
	wake   chan struct{}                        // holds one
	news   chan struct{}                        // closed with the next Take
	grow   map[structs.VolumeID]*structs.Volume // that have another size
}

var _ runner.Provider = (*Volumes)(nil)

// A volume is a folder below dir, named after its id:
//
//	ID/volume.json   what it is
//	ID/claims/ALLOC  an allocation that has it, as a claim; ALLOC@TASK: a task of one that brought it
//	ID/data          what tasks see
//	ID/plugin.json   instead of volume.json and data: the plugin that mounts it
const (
	recordFile   = "volume.json"
	claimsFolder = "claims"
	dataFolder   = "data"
	purging      = ".purging" // behind the id of one that is being removed
)

// holderOf names who has a claim: an allocation, or a task of one.
func holderOf(alloc structs.AllocID, task string) structs.AllocID {
	if task == "" {
		return alloc
	}
	return alloc + "@" + structs.AllocID(task)
}

// allocOf is the allocation of who has a claim.
func allocOf(holder structs.AllocID) structs.AllocID {
	alloc, _, _ := strings.Cut(string(holder), "@")
	return structs.AllocID(alloc)
}

// claim is what an allocation has of a volume.
type claim struct {
	Incarnation uint64
	Alone       bool
	Reads       bool `json:",omitempty"` // and does not write
}

// Open makes the folder of the volumes. The errors are those of the disk.
func Open(dir string, host map[string]HostVolume, log *slog.Logger) (*Volumes, error) {
	err := os.MkdirAll(filepath.Dir(dir), 0o711) // tasks of other users pass through it to what else is there
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, drivers.DiskError("volumes", err)
	}
	v := &Volumes{dir: dir, log: log, purge: map[structs.VolumeID]bool{}, region: map[structs.VolumeID]*structs.Volume{}, wake: make(chan struct{}, 1),
		news: make(chan struct{}), grow: map[structs.VolumeID]*structs.Volume{}}
	v.SetHost(host)
	return v, nil
}

// SetHost replaces the host volumes. What runs keeps what it has.
func (v *Volumes) SetHost(host map[string]HostVolume) {
	for name, h := range host {
		if err := isFolder(h.Path); err != nil {
			v.log.Warn("a host volume cannot be used", "volume", name, "path", h.Path, "err", err)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.host = host
}

func isFolder(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no folder")
	}
	return err
}

// Host returns the host volumes that are there.
func (v *Volumes) Host() map[string]*structs.NodeHostVolume {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out map[string]*structs.NodeHostVolume
	for name, h := range v.host {
		if isFolder(h.Path) != nil {
			continue
		}
		if out == nil {
			out = map[string]*structs.NodeHostVolume{}
		}
		out[name] = &structs.NodeHostVolume{ReadOnly: h.ReadOnly, Propagation: h.most()}
	}
	return out
}

// Disk is what the volumes on the node may take of its disk.
func (v *Volumes) Disk() (sum structs.Bytes) {
	return v.on(v.dir)
}

// ids lists the volumes on the disks.
func (v *Volumes) ids() (out []structs.VolumeID) {
	for _, dir := range v.dirs() {
		out = append(out, idsIn(dir)...)
	}
	return out
}

func idsIn(dir string) (out []structs.VolumeID) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && filepath.Ext(e.Name()) != purging {
			out = append(out, structs.VolumeID(e.Name()))
		}
	}
	return out
}

func (v *Volumes) record(id structs.VolumeID) (*structs.AllocVolume, error) {
	return readRecord(v.path(id, recordFile))
}

func readRecord(at string) (*structs.AllocVolume, error) {
	raw, err := os.ReadFile(at)
	if err != nil {
		return nil, err
	}
	rec := new(structs.AllocVolume)
	return rec, json.Unmarshal(raw, rec)
}

func (v *Volumes) putRecord(id structs.VolumeID, name string, size structs.Bytes) error {
	raw, err := json.Marshal(&structs.AllocVolume{Name: name, ID: id, Size: size})
	if err != nil {
		return err
	}
	at := v.path(id, recordFile)
	if err := os.WriteFile(at+".new", raw, 0o600); err != nil {
		return err
	}
	return os.Rename(at+".new", at)
}

// Name is for messages.
func (v *Volumes) Name() string { return "volumes" }

// Needs reports whether a group has volumes.
func (v *Volumes) Needs(alloc *structs.Allocation, group *structs.Group) bool {
	return len(group.Volumes) > 0 || len(alloc.Volumes) > 0
}

// Provide claims the volumes of an allocation and says what its tasks mount. A volume that an older allocation still has on this
// node, against what the region believes, is waited for: there is no second writer.
func (v *Volumes) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	type source struct {
		path     string
		readOnly bool
		block    bool
	}
	sources := map[string]source{}
	for _, x := range need.Group.Volumes {
		if x.Type != structs.HostVolume && brought(need, x.Name) {
			continue
		}
		var at source
		var err error
		if x.Type == structs.HostVolume {
			at.path, at.readOnly, err = v.hostPath(x, need.Group.Propagation(x.Name))
		} else {
			i := slices.IndexFunc(need.Alloc.Volumes, func(c structs.AllocVolume) bool { return c.Group == x.Name })
			if i < 0 {
				return structs.Errorf(structs.Invalid, fmt.Sprintf("volume %q", x.VolumeName(need.Alloc.Index)), "the region did not give it to the allocation")
			}
			at.path, err = v.claim(ctx, need.Alloc, &need.Alloc.Volumes[i])
		}
		if err != nil {
			return err
		}
		at.readOnly, at.block = at.readOnly || x.ReadOnly, x.Block()
		sources[x.Name] = at
	}
	for _, t := range need.Group.Tasks {
		for _, m := range t.VolumeMounts {
			from, has := sources[m.Volume]
			if !has { // the task brings it
				continue
			}
			if from.block {
				perms := "rw"
				if from.readOnly || m.ReadOnly {
					perms = "r"
				}
				given.Device(t.Name, drivers.Device{Host: from.path, Path: m.Destination, Perms: perms, Volume: m.Volume})
				continue
			}
			given.Mount(t.Name, drivers.Mount{Source: from.path, Target: m.Destination, ReadOnly: from.readOnly || m.ReadOnly, Propagation: m.Propagation})
		}
	}
	return nil
}

// brought reports whether a block of a group is of a volume that one of the tasks brings, or brought.
func brought(need *runner.Need, block string) bool {
	i := slices.IndexFunc(need.Alloc.Volumes, func(c structs.AllocVolume) bool { return c.Group == block })
	if i >= 0 {
		return need.Alloc.Volumes[i].Task != ""
	}
	x := need.Alloc.External
	return x != nil && x.Executor != "" // the task ended, and the region took the claim back
}

// Lend claims the volumes that a task of an executor brings and says where they are to be mounted.
func (v *Volumes) Lend(ctx context.Context, need *runner.Need, task string, mounts []*structs.VolumeMount, given *store.Given) error {
	for i := range need.Alloc.Volumes {
		c := &need.Alloc.Volumes[i]
		if c.Task != task {
			continue
		}
		at, err := v.claim(ctx, need.Alloc, c)
		if err != nil {
			return err
		}
		for _, m := range mounts {
			if m.Volume == c.Group {
				given.Mount(task, drivers.Mount{Source: at, Target: m.Destination, ReadOnly: c.ReadOnly || m.ReadOnly})
			}
		}
	}
	return nil
}

// hostPath returns the folder of a host volume, without links in it.
func (v *Volumes) hostPath(x *structs.GroupVolume, spread structs.Propagation) (at string, readOnly bool, err error) {
	object := fmt.Sprintf("host volume %q", x.Source)
	v.mu.Lock()
	h, has := v.host[x.Source]
	v.mu.Unlock()
	if !has || h.ReadOnly && !x.ReadOnly {
		return "", false, structs.Errorf(structs.NotFound, object, "the node does not have it, or not for writing").
			Advise("its configuration names host volumes")
	}
	if at, err = filepath.EvalSymlinks(h.Path); err == nil {
		err = isFolder(at)
	}
	if err != nil {
		return "", false, structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	if !spread.Within(h.most()) {
		return "", false, structs.Errorf(structs.Forbidden, object, "the node does not let it be mounted %s", spread).
			Advise("its host_volume block allows that with propagation = %q", spread)
	}
	if spread.Shares() {
		err = shared(object, at, spread)
	}
	return at, h.ReadOnly, err
}

// Bind says how a task mounts a path of the host: one of a host volume or below it, as that allows, or of one of the folders in also, which
// the driver of the task lets it mount.
func (v *Volumes) Bind(b *structs.Bind, also []string) (m drivers.Mount, err error) {
	object := "host path " + strconv.Quote(b.Source)
	m = drivers.Mount{Target: b.Destination, ReadOnly: b.ReadOnly, Propagation: b.Propagation}
	top, rest, refused := "", "", error(nil)
	v.mu.Lock()
	for _, name := range slices.Sorted(maps.Keys(v.host)) {
		h := v.host[name]
		path := filepath.Clean(h.Path)
		below, is := within(b.Source, path)
		switch {
		case !is || len(path) < len(top):
		case h.ReadOnly && !b.ReadOnly:
			refused = structs.Errorf(structs.Forbidden, object, "the node lets tasks read host volume %q, and not write to it", name).Advise("mount it with the mode RO")
		case !b.Propagation.Within(h.most()):
			refused = structs.Errorf(structs.Forbidden, object, "the node does not let host volume %q be mounted %s", name, b.Propagation).
				Advise("its host_volume block allows that with propagation = %q", b.Propagation)
		default:
			top, rest = path, below
		}
	}
	v.mu.Unlock()
	if b.Propagation.Shares() && top != "" && rest != "." {
		return m, structs.Errorf(structs.Forbidden, object, "mounts are seen below a host volume as a whole, which is %s", top).
			Advise("mount that one, or leave mount_propagation out")
	}
	for _, dir := range also {
		if below, is := within(b.Source, dir); is && top == "" && !b.Propagation.Shares() {
			top, rest = dir, below
		}
	}
	switch {
	case top == "" && refused != nil:
		return m, refused
	case top == "":
		return m, structs.Errorf(structs.Forbidden, object, "the configuration of the node does not let tasks mount it").
			Advise("a block host_volume NAME { path = %q } in its client block does, or host_paths of the docker or oci block for tasks of that driver", b.Source)
	}
	if m.Below, err = filepath.EvalSymlinks(top); err == nil {
		m.Source = filepath.Join(m.Below, rest)
	}
	if err == nil && rest != "." {
		err = noLinks(m.Below, rest)
	}
	if err != nil {
		return m, structs.Errorf(structs.Invalid, object, "%w", err).Advise("make it on the node; links below what the node lets tasks mount are not followed")
	}
	if b.Propagation.Shares() {
		err = shared(object, m.Source, b.Propagation)
	}
	return m, err
}

// within returns what a clean path is below a folder: "." when it is that.
func within(path, dir string) (rest string, is bool) {
	if path == dir {
		return ".", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// noLinks says that a part of a path below a folder is a link.
func noLinks(dir, rest string) error {
	for part := range strings.SplitSeq(rest, "/") {
		dir = filepath.Join(dir, part)
		if info, err := os.Lstat(dir); err != nil {
			return err
		} else if info.Mode()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a link", dir)
		}
	}
	return nil
}

// claim gives an allocation, or the task of one that brings it, a persistent volume, which is made when it is not there yet.
func (v *Volumes) claim(ctx context.Context, alloc *structs.Allocation, c *structs.AllocVolume) (string, error) {
	object := fmt.Sprintf("volume %q", c.Name)
	if !structs.ValidName(string(c.ID)) || !structs.ValidName(string(alloc.ID)) || c.Task != "" && !structs.ValidName(c.Task) {
		return "", structs.Errorf(structs.Invalid, object, "it is claimed under a name that is none")
	}
	holder := holderOf(alloc.ID, c.Task)
	mine := claim{alloc.Incarnation, c.Access.Alone(c.ReadOnly), c.ReadOnly}
	if c.Plugin != "" {
		return v.plug(ctx, object, holder, c, mine)
	}
	end, err := v.begin(ctx, object, c.ID)
	if err != nil {
		return "", err
	}
	defer end()
	size, err := v.hold(object, holder, c, mine)
	if err != nil {
		return "", err
	}
	if err := v.bound(c.ID, size); err != nil { // it may look at each file
		return "", drivers.DiskError(object, err)
	}
	return v.path(c.ID, dataFolder), nil
}

// hold makes a volume that is not there yet, notes a claim, and returns the size.
func (v *Volumes) hold(object string, holder structs.AllocID, c *structs.AllocVolume, mine claim) (structs.Bytes, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.purge[c.ID] {
		return 0, structs.Errorf(structs.NotFound, object, "it was deleted")
	}
	if _, err := v.dirOf(c.Disk); err != nil {
		return 0, err
	}
	size, err := v.make(c)
	if err != nil {
		return 0, drivers.DiskError(object, err)
	}
	return size, v.note(object, holder, c.ID, mine)
}

// note writes a claim, unless it would be beside another one that keeps it away. The caller holds mu.
func (v *Volumes) note(object string, holder structs.AllocID, id structs.VolumeID, mine claim) error {
	others, err := v.claims(id)
	if err != nil {
		return drivers.DiskError(object, err)
	}
	for other, theirs := range others {
		if other != holder && mine.Alone && theirs.Alone {
			return structs.Errorf(structs.Unavailable, object, "allocation %s has it on this node until it has ended", structs.Short(allocOf(other)))
		}
	}
	raw, err := json.Marshal(mine)
	if err == nil {
		err = os.WriteFile(v.path(id, claimsFolder, string(holder)), raw, 0o600)
	}
	if err != nil {
		return drivers.DiskError(object, err)
	}
	return nil
}

// make makes the folders of a volume, notes what it is, and returns its size. The caller holds mu.
func (v *Volumes) make(c *structs.AllocVolume) (size structs.Bytes, err error) {
	dir, err := v.dirOf(c.Disk)
	if err != nil {
		return 0, err
	}
	size = c.Size
	if r := v.region[c.ID]; r != nil {
		size = r.Size
	}
	if rec, err := v.record(c.ID); err == nil && rec.Size == size {
		return size, nil
	}
	own := filepath.Join(dir, string(c.ID))
	for _, dir := range []string{own, filepath.Join(own, claimsFolder), filepath.Join(own, dataFolder)} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return 0, err
		}
	}
	// Whoever may mount it may write to it: the users of its tasks need not be the same. Nobody else gets as far as here.
	if info, err := os.Lstat(v.path(c.ID, recordFile)); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		if err := os.Chmod(v.path(c.ID, dataFolder), 0o777); err != nil {
			return 0, err
		}
	}
	return size, v.putRecord(c.ID, c.Name, size)
}

// claims reads who has a volume, and forgets those that the node does not know any more. The caller holds mu.
func (v *Volumes) claims(id structs.VolumeID) (map[structs.AllocID]claim, error) {
	entries, err := os.ReadDir(v.path(id, claimsFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	out := map[structs.AllocID]claim{}
	for _, e := range entries {
		at := v.path(id, claimsFolder, e.Name())
		if v.known != nil && !v.known(allocOf(structs.AllocID(e.Name()))) && !v.plugged(id) {
			if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		raw, err := os.ReadFile(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		c := claim{Alone: true} // one that cannot be read keeps others away
		if err == nil {
			json.Unmarshal(raw, &c)
		}
		out[structs.AllocID(e.Name())] = c
	}
	return out, nil
}

// Release takes the volumes of an allocation back, with those that its tasks brought. Their data stays.
func (v *Volumes) Release(ctx context.Context, id structs.AllocID) error {
	return v.takeBack(ctx, func(holder structs.AllocID) bool { return allocOf(holder) == id })
}

// Return takes back what a task of an executor brought. The data stays.
func (v *Volumes) Return(ctx context.Context, id structs.AllocID, task string) error {
	return v.takeBack(ctx, func(holder structs.AllocID) bool { return holder == holderOf(id, task) })
}

// takeBack takes volumes back from some who have claims.
func (v *Volumes) takeBack(ctx context.Context, from func(holder structs.AllocID) bool) error {
	if err := v.unplug(ctx, from); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, volume := range v.ids() {
		for _, holder := range v.holders(volume) {
			if !from(holder) {
				continue
			}
			if err := os.Remove(v.path(volume, claimsFolder, string(holder))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return drivers.DiskError("volume "+string(volume), err)
			}
		}
	}
	v.nudge()
	return nil
}

// holders lists who has claims of a volume.
func (v *Volumes) holders(id structs.VolumeID) (out []structs.AllocID) {
	entries, _ := os.ReadDir(v.path(id, claimsFolder))
	for _, e := range entries {
		out = append(out, structs.AllocID(e.Name()))
	}
	return out
}

func (v *Volumes) nudge() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Take takes over what the region says of volumes on this node; full: of all that are there.
func (v *Volumes) Take(list []*structs.Volume, full bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if full {
		maps.DeleteFunc(v.region, func(_ structs.VolumeID, x *structs.Volume) bool { return x.CSI != nil })
	}
	for _, x := range list {
		if !structs.ValidName(string(x.ID)) {
			continue
		}
		old := v.region[x.ID]
		if x.CSI != nil && len(x.CSI.Attached) == 0 {
			delete(v.region, x.ID)
			delete(v.grow, x.ID)
			continue
		}
		v.region[x.ID] = x
		if x.CSI != nil {
			v.grown(old, x)
			continue
		}
		if x.Status == structs.VolumePurging {
			v.purge[x.ID] = true
		}
		if rec, err := v.record(x.ID); err == nil && rec.Size != x.Size {
			if err := v.putRecord(x.ID, x.Name, x.Size); err != nil {
				v.log.Warn("the size of a volume cannot be noted", "volume", x.Name, "err", err)
			}
			v.grow[x.ID] = x
		}
	}
	close(v.news)
	v.news = make(chan struct{})
	v.nudge()
}

// purgeAgain is how often it is tried to remove what could not be removed.
const purgeAgain = 30 * time.Second

// Keep removes the data of volumes that are to be purged, and claims of allocations that are not known any more.
func (v *Volumes) Keep(ctx context.Context, known func(structs.AllocID) bool) {
	v.mu.Lock()
	v.known = known
	v.mu.Unlock()
	v.nudge()
	ticker := time.NewTicker(purgeAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.wake:
		case <-ticker.C:
		}
		v.removePurged()
		v.tidy(ctx)
		v.resize(ctx)
	}
}

func (v *Volumes) removePurged() {
	v.mu.Lock()
	due := make([]structs.VolumeID, 0, len(v.purge))
	for id := range v.purge {
		if err := v.away(id); err != nil {
			v.log.Warn("a deleted volume cannot be removed", "volume", id, "err", err)
			continue
		}
		claims, err := v.claims(id)
		if err != nil || len(claims) > 0 {
			v.log.Warn("a deleted volume is still in use here", "volume", id, "allocs", len(claims), "err", err)
			continue
		}
		// Nothing can claim it from here on: it has another name.
		if err := os.Rename(v.path(id), v.path(id)+purging); err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.log.Warn("a deleted volume cannot be removed", "volume", id, "err", err)
			continue
		}
		due = append(due, id)
	}
	v.mu.Unlock()
	var gone []structs.VolumeID
	for _, id := range due {
		project := v.Limits.Project(v.path(id+purging, dataFolder))
		if err := remove.All(v.path(id + purging)); err != nil {
			v.log.Warn("a deleted volume cannot be removed", "volume", id, "err", err)
			continue
		}
		v.Limits.Release(project)
		gone = append(gone, id)
	}
	if len(gone) == 0 {
		return
	}
	v.mu.Lock()
	for _, id := range gone {
		delete(v.purge, id)
		delete(v.region, id)
	}
	v.mu.Unlock()
	v.log.Info("the data of deleted volumes was removed", "volumes", len(gone))
	if v.Told != nil {
		v.Told(gone)
	}
}
