package exec

import (
	"os"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// identity is who a task runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32
}

// users resolves names, and remembers them while /etc/passwd and /etc/group stay as they are.
type users struct {
	mu     sync.Mutex
	passwd time.Time
	group  time.Time
	known  map[string]identity
}

// find resolves "name", "uid" or "uid:gid". Empty is this process's own user.
func (u *users) find(object, name string) (identity, error) {
	if name == "" || !hostHasIDs() {
		self := identity{uid: uint32(max(os.Geteuid(), 0)), gid: uint32(max(os.Getegid(), 0))}
		if name == "" {
			return self, nil
		}
		me, err := user.Current()
		if err == nil && (name == me.Username || name == me.Uid) {
			return self, nil
		}
		return identity{}, structs.Errorf(structs.Forbidden, object, "only root can run tasks as user %q", name).
			Advise("leave user out, or run the agent as root")
	}
	passwd, group := modified("/etc/passwd"), modified("/etc/group")
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.known == nil || !passwd.Equal(u.passwd) || !group.Equal(u.group) {
		u.known, u.passwd, u.group = map[string]identity{}, passwd, group
	}
	if id, ok := u.known[name]; ok {
		return id, nil
	}
	id, err := lookUp(name)
	if err != nil {
		return identity{}, structs.Errorf(structs.Invalid, object, "user %q: %w", name, err).
			Advise("name a user of the node, or write uid:gid")
	}
	if len(u.known) >= 1024 {
		clear(u.known)
	}
	u.known[name] = id
	return id, nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func lookUp(name string) (identity, error) {
	if uid, gid, ok := strings.Cut(name, ":"); ok {
		a, err := strconv.ParseUint(uid, 10, 31)
		if err != nil {
			return identity{}, err
		}
		b, err := strconv.ParseUint(gid, 10, 31)
		return identity{uid: uint32(a), gid: uint32(b)}, err
	}
	who, err := user.Lookup(name)
	if err != nil {
		n, perr := strconv.ParseUint(name, 10, 31)
		if perr != nil {
			return identity{}, err
		}
		if who, err = user.LookupId(name); err != nil { // a number needs no entry
			return identity{uid: uint32(n), gid: uint32(n)}, nil
		}
	}
	uid, err := strconv.ParseUint(who.Uid, 10, 32)
	if err != nil {
		return identity{}, err
	}
	gid, err := strconv.ParseUint(who.Gid, 10, 32)
	if err != nil {
		return identity{}, err
	}
	id := identity{uid: uint32(uid), gid: uint32(gid)}
	names, err := who.GroupIds()
	if err != nil {
		return identity{}, err
	}
	for _, g := range names {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			id.groups = append(id.groups, uint32(n))
		}
	}
	return id, nil
}
