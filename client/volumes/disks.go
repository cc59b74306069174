package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/structs"
)

// Disk is a disk beside that of the data folder, as the configuration names it: a place for volumes.
type Disk struct {
	Type structs.DiskType
	Path string // absolute; of a mount disk where its file system is mounted

	// Raw is what a raw disk is; no volume is on it, and the node has nothing of it but what its plugin has.
	Raw *structs.NodeDisk
}

// diskFolder is below the path of a disk. It is for the agent's user alone.
const diskFolder = "proffer-volumes"

// SetDisks replaces the disks. Those of them that cannot be used are said to be so, and volumes on them cannot be claimed.
func (v *Volumes) SetDisks(disks map[string]Disk) {
	v.disks.Store(&disks)
	for name, d := range disks {
		if err := d.ready(); err != nil && d.Raw == nil {
			v.log.Warn("a disk cannot be used", "disk", name, "path", d.Path, "err", err)
		}
	}
	v.nudge()
}

func (v *Volumes) diskNamed(name string) (d Disk, is bool) {
	if all := v.disks.Load(); all != nil {
		d, is = (*all)[name]
	}
	return d, is
}

// ready says why no volume can be on a disk, and makes the folder for them.
func (d Disk) ready() error {
	if d.Raw != nil {
		return errors.New("it is raw")
	}
	if err := isFolder(d.Path); err != nil {
		return err
	}
	if d.Type == structs.DiskMount {
		own, err := ownFileSystem(d.Path)
		if err != nil {
			return err
		}
		if !own {
			return errors.New("nothing is mounted there")
		}
	}
	if err := os.Mkdir(filepath.Join(d.Path, diskFolder), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Disks says what the disks are now.
func (v *Volumes) Disks() map[string]*structs.NodeDisk {
	all := v.disks.Load()
	if all == nil || len(*all) == 0 {
		return nil
	}
	out := make(map[string]*structs.NodeDisk, len(*all))
	for name, d := range *all {
		if d.Raw != nil {
			out[name] = new(*d.Raw)
			continue
		}
		x := &structs.NodeDisk{Type: d.Type, Path: d.Path}
		out[name] = x
		err := d.ready()
		var free, total structs.Bytes
		if err == nil {
			free, total, err = fingerprint.Disk(d.Path)
		}
		if err != nil {
			x.Problem = err.Error()
			continue
		}
		x.Size = total
		if d.Type == structs.DiskPath { // others may fill it, and the volumes on it have what they take
			x.Size = min(total, free+v.on(filepath.Join(d.Path, diskFolder)))
		}
		x.Size = x.Size >> 20 << 20
	}
	return out
}

// on adds up what the volumes in a folder may take.
func (v *Volumes) on(dir string) (sum structs.Bytes) {
	for _, id := range idsIn(dir) {
		if rec, err := readRecord(filepath.Join(dir, string(id), recordFile)); err == nil {
			sum += rec.Size
		}
	}
	return sum
}

// dirOf returns the folder of the volumes on a disk, which can be used now.
func (v *Volumes) dirOf(disk string) (string, error) {
	if disk == "" {
		return v.dir, nil
	}
	d, is := v.diskNamed(disk)
	if !is {
		return "", structs.Errorf(structs.NotFound, fmt.Sprintf("disk %q", disk), "the node does not have it").Advise("its configuration names disks")
	}
	if err := d.ready(); err != nil {
		return "", structs.Errorf(structs.Unavailable, fmt.Sprintf("disk %q", disk), "%s: %w", d.Path, err)
	}
	return filepath.Join(d.Path, diskFolder), nil
}

// dirs returns the folders that volumes are in.
func (v *Volumes) dirs() []string {
	out := []string{v.dir}
	if all := v.disks.Load(); all != nil {
		for _, d := range *all {
			if d.Raw != nil {
				continue
			}
			out = append(out, filepath.Join(d.Path, diskFolder))
		}
	}
	return out
}

// path returns the path of a volume, or of something in it, wherever it is; in the data folder when it is nowhere.
func (v *Volumes) path(id structs.VolumeID, parts ...string) string {
	dirs := v.dirs()
	dir := dirs[0]
	for _, other := range dirs[1:] {
		if _, err := os.Lstat(filepath.Join(other, string(id))); err == nil {
			dir = other
		}
	}
	return filepath.Join(append([]string{dir, string(id)}, parts...)...)
}

// away reports whether a volume is on a disk that cannot be used now. The caller holds mu.
func (v *Volumes) away(id structs.VolumeID) error {
	if r := v.region[id]; r != nil {
		_, err := v.dirOf(r.Disk)
		return err
	}
	return nil
}
