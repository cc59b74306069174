package oci

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/proffer/proffer/drivers/oci/pid1"
)

// launcher returns the path of what begins programs in containers (package pid1). It is written once an agent, under another name first:
// what runs has the old one.
func (d *Driver) launcher() (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path := filepath.Join(d.opts.Dir, "launch")
	if d.wrote {
		return path, nil
	}
	if pid1.Program() == nil {
		return "", errors.New("init, and another name for a program, are there for amd64 and arm64 alone")
	}
	err := os.WriteFile(path+".new", pid1.Program(), 0o755)
	if err == nil {
		err = os.Chmod(path+".new", 0o755) // whatever the umask
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	d.wrote = err == nil
	return path, err
}
