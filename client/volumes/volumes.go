// Package volumes keeps the storage of a node that outlives its work: host volumes, which its configuration names, and the persistent
// volumes of the region that are on its disk. It gives them to allocations and takes them back. See DESIGN.md.
package volumes

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/flight"
	"github.com/proffer/proffer/drivers/remove"
	"github.com/proffer/proffer/structs"
)

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
