package mock

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Machine is where mock tasks run: what a supervisor is to real ones. It outlives the drivers made on it, so that a test can
// end an agent and start another one. It also watches: a start number that is used twice, or two tasks of one allocation and
// name at the same time, is remembered as a violation.
type Machine struct {
	mu         sync.Mutex
	tasks      map[string]*process // by Spec.ID
	keep       bool                // remember every start
	starts     []string
	seen       map[string]bool
	violations []string
	count      int
	images     map[string]structs.Bytes // by full name
}

// NewMachine returns a machine without tasks. With witness it remembers every start, for tests.
func NewMachine(witness bool) *Machine {
	return &Machine{tasks: make(map[string]*process), keep: witness, seen: make(map[string]bool), images: make(map[string]structs.Bytes)}
}

// process is one task on the machine. Only the owner of machine.mu changes it.
type process struct {
	machine *Machine
	id      string
	config  *Config
	number  uint64
	started time.Time

	ends  time.Time     // when it will end by itself; zero: never
	exit  drivers.Exit  // with which
	moved chan struct{} // closed and replaced when ends or exit change

	limits drivers.Limits
	uses   structs.Bytes // of memory

	logs     string              // folder of its output; empty: none
	detached map[string]*process // commands in it, by name
}

// Starts returns the ids of all starts so far, in order.
func (m *Machine) Starts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.starts)
}

// Count returns how many starts there were.
func (m *Machine) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// Running returns the ids of the tasks that run now, sorted.
func (m *Machine) Running() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, p := range m.tasks {
		if !p.ended(time.Now()) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Known returns the ids of the tasks that were not destroyed, sorted.
func (m *Machine) Known() (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.tasks {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Images returns the images that the machine has, by full name, with their sizes; 0: not known.
func (m *Machine) Images() map[string]structs.Bytes {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.images)
}

func (m *Machine) has(image string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, has := m.images[structs.ImageName(image)]
	return has
}

// Pull gives the machine an image, as the first start from it does. It has as many as structs.MaxImages: beyond that none comes.
func (m *Machine) Pull(image string, size structs.Bytes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.images) < structs.MaxImages {
		m.images[structs.ImageName(image)] = size
	}
}

// Remove takes an image away.
func (m *Machine) Remove(image string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.images, structs.ImageName(image))
}

// Violations returns what must never happen and did.
func (m *Machine) Violations() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.violations)
}

// Reboot ends and forgets all tasks, as a machine does that lost its power.
func (m *Machine) Reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.tasks {
		p.end(time.Now(), drivers.Exit{Code: -1, Why: "the machine restarted"})
	}
	clear(m.tasks)
}

// End makes a running task end now.
func (m *Machine) End(id string, exit drivers.Exit) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.tasks[id]
	if p == nil || p.ended(time.Now()) {
		return false
	}
	p.end(time.Now(), exit)
	return true
}

// Limits returns what a task may use; false: the machine does not know it.
func (m *Machine) Limits(id string) (drivers.Limits, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.tasks[id]
	if p == nil {
		return drivers.Limits{}, false
	}
	return p.limits, true
}

// Use has a task that the machine knows use so much memory.
func (m *Machine) Use(id string, memory structs.Bytes) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tasks[id].uses = memory
}

// start adds a task.
func (m *Machine) start(spec *drivers.Spec, c *Config, at time.Time) (*process, error) {
	id := spec.ID
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[id] != nil {
		m.violations = append(m.violations, id+" was started while the machine knew it")
		return nil, structs.Errorf(structs.Conflict, "task "+id, "it was started before")
	}
	if m.keep {
		if m.seen[id] {
			m.violations = append(m.violations, id+" was started twice")
		}
		prefix := fmt.Sprintf("%s/%s/", spec.Alloc, spec.Task.Name)
		for other, p := range m.tasks {
			if len(other) > len(prefix) && other[:len(prefix)] == prefix && !p.ended(time.Now()) {
				m.violations = append(m.violations, id+" was started while "+other+" ran")
			}
		}
		m.seen[id] = true
		m.starts = append(m.starts, id)
	}
	m.count++
	p := newProcess(m, id, c, startNumber(id), at, spec.Limits())
	p.logs = spec.LogDir
	m.tasks[id] = p
	return p, nil
}

func newProcess(m *Machine, id string, c *Config, number uint64, at time.Time, limits drivers.Limits) *process {
	p := &process{machine: m, id: id, config: c, number: number, started: at, limits: limits, uses: 1 << 20, moved: make(chan struct{})}
	p.exit = drivers.Exit{Code: c.ExitCode}
	if number <= uint64(c.FailFirst) {
		p.exit = drivers.Exit{Code: 1}
	}
	if c.OOM {
		p.exit = drivers.Exit{Code: 137, Signal: 9, OOM: true}
	}
	if c.RunFor >= 0 {
		p.ends = at.Add(c.RunFor)
	}
	return p
}

func (p *process) ended(now time.Time) bool { return !p.ends.IsZero() && !now.Before(p.ends) }

// end changes when and how p ends. The caller holds machine.mu.
func (p *process) end(at time.Time, exit drivers.Exit) {
	for _, c := range p.detached {
		if !c.ended(at) {
			c.end(at, drivers.Exit{Code: 137, Signal: 9})
		}
	}
	p.ends, p.exit = at, exit
	close(p.moved)
	p.moved = make(chan struct{})
}
