package consensus

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/proffer/proffer/structs"
)

// folderFormat is the version of a server's data folder.
const folderFormat = 1

// Folder is a server's data folder, held by this process alone.
type Folder struct {
	Path string
	ID   string // of the server, made with the folder
	lock *flock.Flock
}

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
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "cannot be made: %w", err)
	}
	lock := flock.New(filepath.Join(path, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "cannot be locked: %w", err)
	}
	if !held {
		return nil, structs.Errorf(structs.Conflict, object, "another process uses it").
			Advise("stop the other agent or give this one a data_dir of its own")
	}
	f := &Folder{Path: path, lock: lock}
	if err := f.identify(object, region); err != nil {
		lock.Close()
		return nil, err
	}
	return f, nil
}

func (f *Folder) identify(object, region string) error {
	name := filepath.Join(f.Path, "server.json")
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		f.ID = structs.NewID()
		return f.write(object, name, identity{Format: folderFormat, Region: region, ID: f.ID})
	}
	if err != nil {
		return structs.Errorf(structs.Invalid, object, "cannot be read: %w", err)
	}
	var have identity
	if err := json.Unmarshal(raw, &have); err != nil || have.ID == "" {
		return structs.Errorf(structs.Invalid, object, "%s is damaged: %v", name, err).
			Advise("restore it from a backup; it has the server's id")
	}
	switch {
	case have.Format > folderFormat:
		return structs.Errorf(structs.Invalid, object, "it has format %d and this version knows %d", have.Format, folderFormat).
			Advise("use the version that made it, or a newer one")
	case have.Region != region:
		return structs.Errorf(structs.Conflict, object, "it is the data folder of another region (%q, not %q)", have.Region, region).
			Advise("set region = %q or use another data_dir", have.Region)
	}
	f.ID = have.ID
	return nil
}

// write stores the identity so that a crash leaves either nothing or all of it.
func (f *Folder) write(object, name string, id identity) error {
	raw, err := json.Marshal(id)
	if err != nil {
		return err
	}
	failed := func(err error) error { return structs.Errorf(structs.Invalid, object, "cannot be written: %w", err) }
	tmp, err := os.CreateTemp(f.Path, "server-*")
	if err != nil {
		return failed(err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(raw, '\n'))
	if err := joinErrors(err, tmp.Sync(), tmp.Close()); err != nil {
		return failed(err)
	}
	if err := os.Rename(tmp.Name(), name); err != nil {
		return failed(err)
	}
	if dir, err := os.Open(f.Path); err == nil {
		dir.Sync() // not every system can
		dir.Close()
	}
	return nil
}

// Close lets the folder go.
func (f *Folder) Close() error { return f.lock.Close() }
