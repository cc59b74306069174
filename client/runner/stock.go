package runner

import (
	"maps"
	"slices"
	"sync"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Stock is what a node gives to one task at a time: whole cores, and devices. The region counts them and the node says which: a task
// gets its own before its first start and keeps them through restarts, its own and those of the agent, until its end is recorded. What
// it has is in its recorded state, and so the records of the node's tasks are all that there is to know. Its methods may be called from
// any goroutine. The zero Stock has nothing.
type Stock struct {
	mu      sync.Mutex
	cores   []int // in the order in which they are given
	devices []Device
	why     string // why it gives nothing; empty: it does
	unsure  string // why the devices are not known now; empty: they are
	byCore  map[int]string
	byID    map[string]string // of devices; values are who has it

	pinning sync.Mutex    // held while drivers hear of cores: the last that they hear is how it is
	moved   chan struct{} // has a value after cores were given back
}

// Device is one that a node has. Those of one Resource are alike.
type Device struct {
	structs.AssignedDevice
	Nodes []drivers.Device
}

// NewStock makes one of the cores that a task may have, neighbours together.
func NewStock(cores []int) *Stock {
	return &Stock{cores: cores, byCore: map[int]string{}, byID: map[string]string{}, moved: make(chan struct{}, 1)}
}

// Offer says which devices there are now, or with unsure, why that is not known. Tasks keep what they have.
func (s *Stock) Offer(devices []Device, unsure string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsure = unsure; unsure == "" {
		s.devices = devices
	}
}

// Close makes it give nothing more.
func (s *Stock) Close(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.why = why
}

// Keep notes what a recorded task has.
func (s *Stock) Keep(who string, state *structs.TaskState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range state.Cores {
		s.byCore[n] = who
	}
	for _, d := range state.Devices {
		s.byID[d.ID] = who
	}
}

// Take gives a task what it asks for, in state, and keeps what it has; a device that is gone is replaced. Unavailable or
// Exhausted: there is not enough now, and nothing was changed.
func (s *Stock) Take(who string, r *structs.TaskResources, state *structs.TaskState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cores, err := s.takeCores(r.Cores, state.Cores)
	if err != nil {
		return err
	}
	var devices []structs.AssignedDevice
	for _, name := range slices.Sorted(maps.Keys(r.Custom)) {
		some, err := s.takeDevices(name, int(r.Custom[name]/1000), state.Devices)
		if err != nil {
			return err
		}
		devices = append(devices, some...)
	}
	s.release(who)
	for _, n := range cores {
		s.byCore[n] = who
	}
	for _, d := range devices {
		s.byID[d.ID] = who
	}
	state.Cores, state.Devices = cores, devices
	return nil
}

func (s *Stock) takeCores(n int, had []int) ([]int, error) {
	if len(had) == n {
		return had, nil
	}
	if s.why != "" {
		return nil, structs.Errorf(structs.Unavailable, "cores", "%s", s.why)
	}
	var free []int
	for _, c := range s.cores {
		if s.byCore[c] == "" {
			free = append(free, c)
		}
	}
	if len(free) < n {
		return nil, structs.Errorf(structs.Exhausted, "cores", "%d of %d are free, %d are asked for", len(free), len(s.cores), n)
	}
	free = free[:n]
	slices.Sort(free)
	return free, nil
}

// takeDevices looks for n devices of a resource. One that no device is of is a number that the operator counts, and nothing else.
func (s *Stock) takeDevices(name string, n int, had []structs.AssignedDevice) (out []structs.AssignedDevice, err error) {
	all, free := 0, []structs.AssignedDevice{}
	for _, d := range s.devices {
		if d.Resource != name {
			continue
		}
		all++
		switch {
		case slices.ContainsFunc(had, func(h structs.AssignedDevice) bool { return h.ID == d.ID }):
			out = append(out, d.AssignedDevice)
		case s.byID[d.ID] == "":
			free = append(free, d.AssignedDevice)
		}
	}
	lost := slices.ContainsFunc(had, func(h structs.AssignedDevice) bool { return h.Resource == name })
	switch {
	case n == 0 || len(out) >= n:
		return out[:min(n, len(out))], nil
	case s.unsure != "" && (structs.IsGPU(name) || lost):
		return nil, structs.Errorf(structs.Unavailable, name, "the node cannot tell which there are: %s", s.unsure)
	case all == 0 && !lost:
		return nil, nil
	case s.why != "":
		return nil, structs.Errorf(structs.Unavailable, name, "%s", s.why)
	case len(out)+len(free) < n:
		return nil, structs.Errorf(structs.Exhausted, name, "%d of %d are free, %d are asked for", len(out)+len(free), all, n)
	}
	return append(out, free[:n-len(out)]...), nil
}

// Release takes back what a task has.
func (s *Stock) Release(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(who)
}

func (s *Stock) release(who string) {
	cores := len(s.byCore)
	maps.DeleteFunc(s.byCore, func(_ int, has string) bool { return has == who })
	if len(s.byCore) < cores {
		select {
		case s.moved <- struct{}{}:
		default:
		}
	}
	maps.DeleteFunc(s.byID, func(_, has string) bool { return has == who })
}

// Nodes returns the device nodes of what a task has. The ones that several devices share are there once.
func (s *Stock) Nodes(has []structs.AssignedDevice) (out []drivers.Device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.devices {
		if !slices.ContainsFunc(has, func(h structs.AssignedDevice) bool { return h.ID == d.ID }) {
			continue
		}
		for _, n := range d.Nodes {
			if !slices.ContainsFunc(out, func(o drivers.Device) bool { return o.Path == n.Path }) {
				out = append(out, n)
			}
		}
	}
	return out
}
