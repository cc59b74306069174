package consensus

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/gofrs/flock"

	"github.com/proffer/proffer/server/consensus/disk"
	"github.com/proffer/proffer/server/consensus/snapshots"
	"github.com/proffer/proffer/server/consensus/wal"
	"github.com/proffer/proffer/structs"
)

// folderFormat is the version of a server's data folder. Version 1 was never released.
const folderFormat = 2

const (
	identityName    = "server.json"
	identityNewName = "server.json.new"
)

// Folder is a server's data folder, held by this process alone.
type Folder struct {
	Path  string
	ID    string // of the server, made with the folder
	disks Disks
	lock  *flock.Flock // nil on Disks
}

// Disks are the folders of a server: its own, with its identity, and those of its log and its snapshots.
type Disks struct{ Root, Log, Snapshots disk.Disk }

// identity is the file that says whose folder it is.
type identity struct {
	Format int    `json:"format"`
	Region string `json:"region"`
	ID     string `json:"id"`
}

// OpenFolder makes or opens a server's data folder and locks it until Close. It is a conflict when another process holds
// it or when it belongs to another region, and Invalid when a newer version made it.
func OpenFolder(path, region string) (*Folder, error) {
	object := "data folder " + path
	failed := func(why string, err error) (*Folder, error) {
		return nil, structs.Errorf(structs.Invalid, object, why+": %w", err)
	}
	root, err := disk.Open(path)
	if err != nil {
		return failed("cannot be made", err)
	}
	lock := flock.New(filepath.Join(path, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return failed("cannot be locked", err)
	}
	if !held {
		return nil, structs.Errorf(structs.Conflict, object, "another process uses it").
			Advise("stop the other agent or give this one a data_dir of its own")
	}
	d := Disks{Root: root}
	if d.Log, err = disk.Open(filepath.Join(path, "log")); err == nil {
		d.Snapshots, err = disk.Open(filepath.Join(path, "snapshots"))
	}
	if err != nil {
		lock.Close()
		return failed("cannot be made", err)
	}
	f, err := openDisks(path, region, d)
	if err != nil {
		lock.Close()
		return nil, err
	}
	f.lock = lock
	return f, nil
}

// OpenDisks is OpenFolder on disks of the caller, who makes sure that nobody else uses them.
func OpenDisks(region string, d Disks) (*Folder, error) { return openDisks("", region, d) }

func openDisks(path, region string, d Disks) (*Folder, error) {
	f := &Folder{Path: path, disks: d}
	return f, f.identify("data folder "+path, region)
}

// identify reads whose folder it is, or makes it this region's when it is empty.
func (f *Folder) identify(object, region string) error {
	if err := f.disks.Root.Sync(); err != nil { // a process before us may have failed to
		return structs.Errorf(structs.Invalid, object, "cannot be synced: %w", err)
	}
	raw, err := f.readIdentity()
	if errors.Is(err, fs.ErrNotExist) {
		return f.begin(object, region)
	}
	if err != nil {
		return structs.Errorf(structs.Invalid, object, "cannot be read: %w", err)
	}
	var have identity
	if err := json.Unmarshal(raw, &have); err != nil || have.ID == "" {
		return structs.Errorf(structs.Invalid, object, "%s is damaged: %v", identityName, err).
			Advise("restore it from a backup; it has the server's id")
	}
	switch {
	case have.Format > folderFormat:
		return structs.Errorf(structs.Invalid, object, "it has format %d and this version knows %d", have.Format, folderFormat).
			Advise("use the version that made it, or a newer one")
	case have.Format < folderFormat:
		return structs.Errorf(structs.Invalid, object, "it has format %d, which was never released; this version knows %d", have.Format, folderFormat).
			Advise("use another data_dir, or remove this one and let the server join again")
	case have.Region != region:
		return structs.Errorf(structs.Conflict, object, "it is the data folder of another region (%q, not %q)", have.Region, region).
			Advise("set region = %q or use another data_dir", have.Region)
	}
	f.ID = have.ID
	return nil
}

func (f *Folder) readIdentity() ([]byte, error) {
	file, err := f.disks.Root.Open(identityName)
	if err != nil {
		return nil, err
	}
	size, err := file.Size()
	if err != nil || size > 4096 {
		return nil, errors.Join(err, file.Close(), errors.New("it has no sensible size"))
	}
	raw := make([]byte, size)
	if size > 0 {
		_, err = file.ReadAt(raw, 0)
	}
	return raw, errors.Join(err, file.Close())
}

// begin makes a new server of an empty folder. With a log or snapshots in it, it is one that lost its identity, and a new
// one would be a stranger to the region with the votes and the memory of a member.
func (f *Folder) begin(object, region string) error {
	failed := func(err error) error { return structs.Errorf(structs.Invalid, object, "cannot be written: %w", err) }
	for _, d := range []disk.Disk{f.disks.Log, f.disks.Snapshots} {
		if names, err := d.Names(); err != nil || len(names) > 0 {
			return errors.Join(err, structs.Errorf(structs.Invalid, object, "it has state and no %s, which has the server's id", identityName).
				Advise("restore the file from a backup, or remove the folder and let the server join again"))
		}
	}
	f.ID = structs.NewID()
	raw, err := json.Marshal(identity{Format: folderFormat, Region: region, ID: f.ID})
	if err != nil {
		return err
	}
	root := f.disks.Root
	names, err := root.Names()
	if err == nil && slices.Contains(names, identityNewName) {
		err = root.Remove(identityNewName) // a crash left it
	}
	if err != nil {
		return failed(err)
	}
	file, err := root.Create(identityNewName)
	if err != nil {
		return failed(err)
	}
	_, err = file.WriteAt(append(raw, '\n'), 0)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return failed(errors.Join(err, root.Remove(identityNewName)))
	}
	if err := root.Rename(identityNewName, identityName); err != nil {
		return failed(err)
	}
	if err := root.Sync(); err != nil {
		return failed(err)
	}
	return nil
}

// OpenStores opens the log and the snapshots in the folder. The caller closes the log. The disk in o is the folder's.
func (f *Folder) OpenStores(o wal.Options) (*wal.Log, *snapshots.Store, error) {
	o.Disk = f.disks.Log
	logs, err := wal.Open(filepath.Join(f.Path, "log"), o)
	if err != nil {
		return nil, nil, err
	}
	snaps, err := snapshots.Open(f.disks.Snapshots, filepath.Join(f.Path, "snapshots"), o.Logger)
	if err != nil {
		return nil, nil, errors.Join(err, logs.Close())
	}
	return logs, snaps, nil
}

// Close lets the folder go.
func (f *Folder) Close() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}
