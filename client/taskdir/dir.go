// Package taskdir lays out what an allocation has on the disk of its node, and fills it before tasks start: folders,
// environment, rendered templates.
//
//	ROOT/ALLOC/alloc            shared by the tasks of the allocation
//	ROOT/ALLOC/logs             output of its tasks, made with the first of it; tasks cannot write there
//	ROOT/ALLOC/TASK             the task folder
//	ROOT/ALLOC/TASK/local       free for the task
//	ROOT/ALLOC/TASK/secrets     mode 0700, of the task's user
//	ROOT/ALLOC/TASK/tmp         scratch
package taskdir

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"github.com/proffer/proffer/structs"
)

// Names below an allocation's folder that no task can have.
const (
	Shared = "alloc"
	Logs   = "logs"
)

// Dir is the folder of one allocation.
type Dir string

// At returns the folder of an allocation below root. It need not exist.
func At(root string, id structs.AllocID) Dir { return Dir(filepath.Join(root, string(id))) }

func (d Dir) Shared() string          { return filepath.Join(string(d), Shared) }
func (d Dir) Logs() string            { return filepath.Join(string(d), Logs) }
func (d Dir) Task(name string) string { return filepath.Join(string(d), name) }

// Owner is who a task's files belong to. The zero Owner is the agent's user.
type Owner struct {
	Name     string
	UID, GID int
}

// OwnerOf resolves the user of a task: the one that it names, nobody when it names none and the agent is root, the agent's
// otherwise. Only root can give files away; for others Name is kept and the files stay the agent's.
func OwnerOf(name string) (Owner, error) {
	root := os.Geteuid() == 0
	if name == "" {
		if !root {
			return Owner{}, nil
		}
		name = "nobody"
	}
	known.Lock()
	defer known.Unlock()
	if o, ok := known.owners[name]; ok {
		return o, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return Owner{}, structs.Errorf(structs.Invalid, "user "+strconv.Quote(name), "the node has no such user").
			Advise("add the user on the node, or set user in the task")
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err1 != nil || err2 != nil {
		return Owner{Name: name}, nil // a system without numbers
	}
	o := Owner{name, uid, gid}
	if len(known.owners) < 1000 {
		known.owners[name] = o
	}
	return o, nil
}

// known caches users: looking one up reads /etc/passwd.
var known = struct {
	sync.Mutex
	owners map[string]Owner
}{owners: make(map[string]Owner)}

// give makes o the owner, where the agent may.
func (o Owner) give(path string) error {
	if o.UID == 0 || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, o.UID, o.GID)
}

// Create makes the folders that tasks share, without that of their output. It may be repeated. A folder costs more than
// most of what else a short task needs, so there is none that may stay unused.
func (d Dir) Create() error {
	for _, f := range []struct {
		path string
		mode fs.FileMode
	}{{string(d), 0o755}, {d.Shared(), 0o777 | fs.ModeSticky}} {
		if err := mkdir(f.path, f.mode); err != nil {
			return failure(string(d), err)
		}
	}
	return nil
}

// CreateTask makes the folder of a task. It may be repeated.
func (d Dir) CreateTask(name string, owner Owner) error {
	if name == Shared || name == Logs || !structs.ValidName(name) {
		return structs.Errorf(structs.Invalid, "task "+strconv.Quote(name), "the name is taken by a folder that every allocation has").
			Advise("name the task otherwise than %s and %s", Shared, Logs)
	}
	path := d.Task(name)
	for _, f := range []struct {
		path string
		mode fs.FileMode
	}{{path, 0o755}, {filepath.Join(path, "local"), 0o755}, {filepath.Join(path, "secrets"), 0o700}, {filepath.Join(path, "tmp"), 0o700}} {
		err := mkdir(f.path, f.mode)
		if err == nil {
			err = owner.give(f.path)
		}
		if err != nil {
			return failure(path, err)
		}
	}
	return nil
}

// mkdir makes one folder with exactly that mode, whatever the umask; one that is there stays as it is.
func mkdir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode.Perm())
	if errors.Is(err, fs.ErrExist) {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
		}
		return nil
	}
	if err == nil && (mode.Perm()&0o022 != 0 || mode&fs.ModeSticky != 0) {
		err = os.Chmod(path, mode)
	}
	return err
}

// failure gives an error of the disk its kind.
func failure(object string, err error) error {
	var e *structs.Error
	if errors.As(err, &e) {
		return err
	}
	kind, do := structs.Unavailable, ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind, do = structs.Exhausted, "free space on the disk of the node's data folder"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		kind, do = structs.Exhausted, "raise the limit of open files of the agent"
	}
	wrapped := structs.Errorf(kind, object, "%w", err)
	wrapped.Do = do
	return wrapped
}

// Remove removes the folder and all that is in it. Links are removed, not followed.
func (d Dir) Remove() error {
	if d.removeEmpty() {
		return nil
	}
	if err := os.RemoveAll(string(d)); err != nil {
		return failure(string(d), err)
	}
	return nil
}

// removeEmpty removes folders as Create and CreateTask made them where nothing else is in them, which is so after most short
// work: that is a third of the calls to the system that a walk takes. It reports whether the folder is gone.
func (d Dir) removeEmpty() bool {
	f, err := os.Open(string(d))
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	names, err := f.Readdirnames(16)
	f.Close()
	if err != nil {
		return false
	}
	for _, name := range names {
		path := d.Task(name)
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			return false
		}
		if name != Shared && name != Logs {
			for _, sub := range []string{"local", "secrets", "tmp"} {
				syscall.Rmdir(path + "/" + sub)
			}
		}
		syscall.Rmdir(path)
	}
	return syscall.Rmdir(string(d)) == nil
}
