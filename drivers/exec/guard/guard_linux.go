//go:build linux && (amd64 || arm64)

package guard

import (
	"net/netip"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Bounds: guarded tasks, and what is noted of ports: for each and each protocol its address, its allocation, and beyond the range that
// somebody has it. An empty map takes 16 bytes for each.
const (
	maxTasks = 8 << 10
	maxPorts = 32 << 10
)

// Guard is that of one folder. Its methods may be called from any goroutine.
type Guard struct {
	in            structs.Range
	owners, ports int // maps: the id of a task's group to the number of its allocation; key to such a number

	mu     sync.Mutex
	last   uint64
	tasks  map[string]task
	allocs map[string]*alloc
	noted  map[key][]uint64 // who has what; the last one counts. More than one is a fault of whoever gave it, or one is on its way out
}

type task struct {
	alloc string
	group uint64 // id of its group; 0: it is not guarded
}

type alloc struct {
	number uint64
	tasks  int
	keys   map[key]bool
}

// Task is one of an allocation.
type Task struct {
	Name  string // of its own
	Alloc string
	Ports []structs.AssignedPort // of the allocation
	Group uint64                 // ID of its group; 0: it binds what it likes, in a network of its own
}

// ID is that of a group, by its folder, as the program sees it.
func ID(dir string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return st.Ino, nil // Linux 5.5 and newer
}

// Open guards the groups in a folder of cgroup version 2. tasks are those that are there, in the order in which they were started. In the
// place of what an earlier Guard of the folder attached comes this one, at once; after an error that stays.
func Open(dir string, in structs.Range, tasks []Task) (_ *Guard, err error) {
	g := &Guard{in: in, owners: -1, ports: -1, tasks: map[string]task{}, allocs: map[string]*alloc{}, noted: map[key][]uint64{}}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	if g.owners, err = newMap(8, maxTasks); err != nil {
		return nil, err
	}
	if g.ports, err = newMap(keySize, maxPorts); err != nil {
		return nil, err
	}
	for _, t := range tasks {
		if err := g.Take(t); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(fd)
	hooks := []uint32{unix.BPF_CGROUP_INET4_BIND, unix.BPF_CGROUP_INET6_BIND}
	var progs []int
	defer func() {
		for _, prog := range progs {
			unix.Close(prog)
		}
	}()
	for i, hook := range hooks {
		prog, err := load(hook, program(i == 1, g.owners, g.ports, in))
		if err != nil {
			return nil, err
		}
		progs = append(progs, prog)
	}
	for i, hook := range hooks {
		if err := attach(fd, hook, progs[i]); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// Close lets go of the maps. What is attached holds, with all that was taken.
func (g *Guard) Close() {
	for _, fd := range []int{g.owners, g.ports} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	g.owners, g.ports = -1, -1
}

// Take adds a task, before its program runs: its allocation has these ports from now on, and no others.
func (g *Guard) Take(t Task) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allocs[t.Alloc]
	if a == nil {
		g.last++
		a = &alloc{number: g.last, keys: map[key]bool{}}
		g.allocs[t.Alloc] = a
	}
	a.tasks++
	g.tasks[t.Name] = task{t.Alloc, t.Group}
	err := g.give(a, t.Ports)
	if err == nil && t.Group != 0 {
		err = put(g.owners, t.Group, a.number)
	}
	if err != nil {
		g.leave(t.Name)
		return structs.Errorf(structs.Exhausted, "task "+t.Name, "keep its ports for it: %w", err)
	}
	return nil
}

// Give says which ports an allocation has from now on. One without tasks has none.
func (g *Guard) Give(name string, ports []structs.AssignedPort) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allocs[name]
	if a == nil {
		return nil
	}
	if err := g.give(a, ports); err != nil {
		return structs.Errorf(structs.Exhausted, "allocation "+name, "keep its ports for it: %w", err)
	}
	return nil
}

// Leave removes a task whose processes have ended; the ports go with the last one of its allocation. An unknown one is no error.
func (g *Guard) Leave(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(name)
}

func (g *Guard) leave(name string) {
	t, ok := g.tasks[name]
	if !ok {
		return
	}
	delete(g.tasks, name)
	if t.group != 0 {
		drop(g.owners, t.group) // ids are not used again: what stays does no harm
	}
	a := g.allocs[t.alloc]
	if a.tasks--; a.tasks > 0 {
		return
	}
	delete(g.allocs, t.alloc)
	for k := range a.keys {
		g.forget(k, a.number)
	}
}

// give notes what is new first: a port that stays is never nobody's.
func (g *Guard) give(a *alloc, ports []structs.AssignedPort) error {
	want := g.keys(a.number, ports)
	for k := range want {
		if a.keys[k] {
			continue
		}
		if err := put(g.ports, k, a.number); err != nil {
			return err
		}
		g.noted[k] = append(g.noted[k], a.number)
		a.keys[k] = true
	}
	for k := range a.keys {
		if !want[k] {
			g.forget(k, a.number)
			delete(a.keys, k)
		}
	}
	return nil
}

func (g *Guard) forget(k key, number uint64) {
	rest := slices.DeleteFunc(g.noted[k], func(n uint64) bool { return n == number })
	if len(rest) == 0 {
		delete(g.noted, k)
		drop(g.ports, k)
		return
	}
	g.noted[k] = rest
	put(g.ports, k, rest[len(rest)-1]) // it is there: nothing is taken for it
}

// keys are what is noted of the ports of an allocation.
func (g *Guard) keys(number uint64, ports []structs.AssignedPort) map[key]bool {
	all := make(map[key]bool, 4*len(ports))
	for _, p := range ports {
		for protocol, name := range map[uint32]string{unix.IPPROTO_TCP: structs.TCP, unix.IPPROTO_UDP: structs.UDP} {
			if p.Protocol != "" && p.Protocol != name {
				continue
			}
			if at, err := netip.ParseAddr(p.Host); err == nil && !at.IsUnspecified() {
				all[keyOf(at.As16(), p.Port, protocol)] = true
			}
			all[keyOf(ownerKey(number), p.Port, protocol)] = true
			if int64(p.Port) < g.in.First || int64(p.Port) > g.in.Last { // in it, whoever does not have one is refused anyway
				all[keyOf([16]byte{}, p.Port, protocol)] = true
			}
		}
	}
	return all
}
