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
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// HostVolume is a folder of the host that jobs may mount.
type HostVolume struct {
	Path     string // absolute
	ReadOnly bool
}

// Volumes is the storage of one node. It is a runner.Provider; its methods may be called from any goroutine.
type Volumes struct {
	dir string // of the volumes; for the agent's user alone
	log *slog.Logger

	// Told is called with volumes whose data is gone. It is set before Keep.
	Told func([]structs.VolumeID)

	mu     sync.Mutex
	host   map[string]HostVolume
	known  func(structs.AllocID) bool           // nil before Keep: all are
	purge  map[structs.VolumeID]bool            // that the region wants gone
	region map[structs.VolumeID]*structs.Volume // as it last said
	wake   chan struct{}                        // holds one
}

var _ runner.Provider = (*Volumes)(nil)

// A volume is a folder below dir, named after its id:
//
//	ID/volume.json   what it is
//	ID/claims/ALLOC  an allocation that has it, as a claim
//	ID/data          what tasks see
const (
	recordFile   = "volume.json"
	claimsFolder = "claims"
	dataFolder   = "data"
	purging      = ".purging" // behind the id of one that is being removed
)

// claim is what an allocation has of a volume.
type claim struct {
	Incarnation uint64
	Alone       bool
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
	v := &Volumes{dir: dir, log: log, purge: map[structs.VolumeID]bool{}, region: map[structs.VolumeID]*structs.Volume{}, wake: make(chan struct{}, 1)}
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
		out[name] = &structs.NodeHostVolume{ReadOnly: h.ReadOnly}
	}
	return out
}

// Disk is what the volumes on the node may take of its disk.
func (v *Volumes) Disk() (sum structs.Bytes) {
	for _, id := range v.ids() {
		if rec, err := v.record(id); err == nil {
			sum += rec.Size
		}
	}
	return sum
}

// ids lists the volumes on the disk.
func (v *Volumes) ids() (out []structs.VolumeID) {
	entries, _ := os.ReadDir(v.dir)
	for _, e := range entries {
		if e.IsDir() && filepath.Ext(e.Name()) != purging {
			out = append(out, structs.VolumeID(e.Name()))
		}
	}
	return out
}

func (v *Volumes) path(id structs.VolumeID, parts ...string) string {
	return filepath.Join(append([]string{v.dir, string(id)}, parts...)...)
}

func (v *Volumes) record(id structs.VolumeID) (*structs.AllocVolume, error) {
	raw, err := os.ReadFile(v.path(id, recordFile))
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
	return len(group.Volumes) > 0
}

// Provide claims the volumes of an allocation and says what its tasks mount. A volume that an older allocation still has on this
// node, against what the region believes, is waited for: there is no second writer.
func (v *Volumes) Provide(ctx context.Context, need *runner.Need, given *store.Given) error {
	type source struct {
		path     string
		readOnly bool
	}
	sources := map[string]source{}
	for _, x := range need.Group.Volumes {
		var at source
		var err error
		if x.Type == structs.HostVolume {
			at.path, at.readOnly, err = v.hostPath(x)
		} else {
			at.path, err = v.claim(need.Alloc, x)
		}
		if err != nil {
			return err
		}
		at.readOnly = at.readOnly || x.ReadOnly
		sources[x.Name] = at
	}
	given.Mounts = map[string][]drivers.Mount{}
	for _, t := range need.Group.Tasks {
		for _, m := range t.VolumeMounts {
			from := sources[m.Volume]
			given.Mounts[t.Name] = append(given.Mounts[t.Name], drivers.Mount{Source: from.path, Target: m.Destination, ReadOnly: from.readOnly || m.ReadOnly})
		}
	}
	return nil
}

// hostPath returns the folder of a host volume, without links in it.
func (v *Volumes) hostPath(x *structs.GroupVolume) (at string, readOnly bool, err error) {
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
	return at, h.ReadOnly, nil
}

// claim gives an allocation a persistent volume, which is made when it is not there yet.
func (v *Volumes) claim(alloc *structs.Allocation, x *structs.GroupVolume) (string, error) {
	object := fmt.Sprintf("volume %q", x.VolumeName(alloc.Index))
	i := slices.IndexFunc(alloc.Volumes, func(c structs.AllocVolume) bool { return c.Group == x.Name })
	if i < 0 || !structs.ValidName(string(alloc.Volumes[i].ID)) || !structs.ValidName(string(alloc.ID)) {
		return "", structs.Errorf(structs.Invalid, object, "the region did not give it to the allocation")
	}
	c := &alloc.Volumes[i]
	mine := claim{alloc.Incarnation, c.Access.Alone(c.ReadOnly)}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.purge[c.ID] {
		return "", structs.Errorf(structs.NotFound, object, "it was deleted")
	}
	if err := v.make(c); err != nil {
		return "", drivers.DiskError(object, err)
	}
	others, err := v.claims(c.ID)
	if err != nil {
		return "", drivers.DiskError(object, err)
	}
	for other, theirs := range others {
		if other != alloc.ID && mine.Alone && theirs.Alone {
			return "", structs.Errorf(structs.Unavailable, object, "allocation %s has it on this node until it has ended", structs.Short(other))
		}
	}
	raw, err := json.Marshal(mine)
	if err == nil {
		err = os.WriteFile(v.path(c.ID, claimsFolder, string(alloc.ID)), raw, 0o600)
	}
	if err != nil {
		return "", drivers.DiskError(object, err)
	}
	return v.path(c.ID, dataFolder), nil
}

// make makes the folders of a volume, and notes what it is.
func (v *Volumes) make(c *structs.AllocVolume) error {
	size := c.Size
	if r := v.region[c.ID]; r != nil {
		size = r.Size
	}
	if rec, err := v.record(c.ID); err == nil && rec.Size == size {
		return nil
	}
	for _, dir := range []string{v.path(c.ID), v.path(c.ID, claimsFolder), v.path(c.ID, dataFolder)} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	// Whoever may mount it may write to it: the users of its tasks need not be the same. Nobody else gets as far as here.
	if info, err := os.Lstat(v.path(c.ID, recordFile)); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		if err := os.Chmod(v.path(c.ID, dataFolder), 0o777); err != nil {
			return err
		}
	}
	return v.putRecord(c.ID, c.Name, size)
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
		if v.known != nil && !v.known(structs.AllocID(e.Name())) {
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

// Release takes the volumes of an allocation back. Their data stays.
func (v *Volumes) Release(ctx context.Context, id structs.AllocID) error {
	if !structs.ValidName(string(id)) {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, volume := range v.ids() {
		if err := os.Remove(v.path(volume, claimsFolder, string(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return drivers.DiskError("volume "+string(volume), err)
		}
	}
	v.nudge()
	return nil
}

func (v *Volumes) nudge() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// Take takes over what the region says of volumes on this node.
func (v *Volumes) Take(list []*structs.Volume) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, x := range list {
		if !structs.ValidName(string(x.ID)) {
			continue
		}
		v.region[x.ID] = x
		if x.Status == structs.VolumePurging {
			v.purge[x.ID] = true
		}
		if rec, err := v.record(x.ID); err == nil && rec.Size != x.Size {
			if err := v.putRecord(x.ID, x.Name, x.Size); err != nil {
				v.log.Warn("the size of a volume cannot be noted", "volume", x.Name, "err", err)
			}
		}
	}
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
	}
}

func (v *Volumes) removePurged() {
	v.mu.Lock()
	due := make([]structs.VolumeID, 0, len(v.purge))
	for id := range v.purge {
		claims, err := v.claims(id)
		if err != nil || len(claims) > 0 {
			v.log.Warn("a deleted volume is still in use here", "volume", id, "allocs", len(claims), "err", err)
			continue
		}
		// Nothing can claim it from here on: it has another name.
		if err := os.Rename(v.path(id), v.path(id+purging)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			v.log.Warn("a deleted volume cannot be removed", "volume", id, "err", err)
			continue
		}
		due = append(due, id)
	}
	v.mu.Unlock()
	var gone []structs.VolumeID
	for _, id := range due {
		if err := os.RemoveAll(v.path(id + purging)); err != nil {
			v.log.Warn("a deleted volume cannot be removed", "volume", id, "err", err)
			continue
		}
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
