// Package taskdir lays out what an allocation has on the disk of its node, and fills it before tasks start: folders,
// environment, rendered templates.
//
//	ROOT/ALLOC/alloc            shared by the tasks of the allocation
//	ROOT/ALLOC/logs             output of its tasks, made with the first of it; tasks cannot write there
//	ROOT/ALLOC/TASK             the task folder
//	ROOT/ALLOC/TASK/local       free for the task
//	ROOT/ALLOC/TASK/secrets     mode 0700, of the task's user; in memory when templates put variables there
//	ROOT/ALLOC/TASK/tmp         scratch
package taskdir

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/remove"
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
	if strings.Contains(name, ":") { // numbers: they need no entry
		return ImageOwner(name), nil
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

// ImageOwner is whose the files of a task are that runs in an image: "uid" or "uid:gid" where the task says so, root's
// otherwise, because names mean what the image says. Name stays as the task has it.
func ImageOwner(name string) Owner {
	uid, gid := drivers.ImageUser(name)
	return Owner{name, uid, gid}
}

// known caches users: looking one up reads /etc/passwd.
var known = struct {
	sync.Mutex
	owners map[string]Owner
}{owners: make(map[string]Owner)}

// CheckTask says whether a task may have a folder of that name.
func CheckTask(name string) error {
	if name == Shared || name == Logs || !structs.ValidName(name) {
		return structs.Errorf(structs.Invalid, "task "+strconv.Quote(name), "the name is taken by a folder that every allocation has").
			Advise("name the task otherwise than %s and %s", Shared, Logs)
	}
	return nil
}

// Create makes the folder of a task and those that it shares with others. It may be repeated.
func (d Dir) Create(name string, owner Owner) error {
	if err := CheckTask(name); err != nil {
		return err
	}
	return drivers.MakeFolders(d.Shared(), d.Task(name), owner.UID, owner.GID)
}

// failure gives an error of the disk its kind.
func failure(object string, err error) error {
	var e *structs.Error
	if errors.As(err, &e) {
		return err
	}
	return drivers.DiskError(object, err)
}

// Remove removes the folder and all that is in it. Links are removed, not followed.
func (d Dir) Remove() error {
	if d.removeEmpty() {
		return nil
	}
	d.forgetSecrets()
	if err := remove.All(string(d)); err != nil {
		return failure(string(d), err)
	}
	return nil
}

// removeEmpty removes folders as Create made them where nothing else is in them, which is so after most short
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
