package supervisor

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/proffer/proffer/structs"
)

// Options say where the supervisor of a node is and how to start one.
type Options struct {
	Dir    string        // its folder: socket, table, log. Made when absent, mode 0700
	Binary []string      // program and arguments that run Main; nil: this executable with "supervisor"
	Hide   []string      // host paths that isolated tasks must not see, beside the usual ones and Dir
	Linger time.Duration // how long it stays without tasks and agent; 0: a minute
	Logger *slog.Logger

	HostPaths    []string // what isolated tasks see of the host; nil: what programs usually need
	CgroupParent string   // cgroup of the supervisor's own, relative to the top; empty: proffer

	Ports structs.Range // of the node that are given to allocations: a task in its network binds none but its own. Zero: they are not guarded
}

// defaultParent is Options.CgroupParent unless it is set.
const defaultParent = "proffer"

// settings are those of the Options that a supervisor is started with. One that runs with others is replaced in place.
type settings struct {
	linger          time.Duration
	hide, hostPaths []string
	parent          string
	ports           structs.Range
}

func (o *Options) settings() settings {
	s := settings{o.Linger, o.Hide, o.HostPaths, o.CgroupParent, o.Ports}
	if s.linger <= 0 {
		s.linger = time.Minute
	}
	if s.parent == "" {
		s.parent = defaultParent
	}
	return s
}

// args are the settings as flags of Main; equal settings have equal args.
func (s *settings) args() []string {
	args := []string{"-linger", s.linger.String(), "-cgroup-parent", s.parent}
	if s.ports != (structs.Range{}) {
		args = append(args, "-ports", fmt.Sprintf("%d-%d", s.ports.First, s.ports.Last))
	}
	for _, p := range slices.Sorted(slices.Values(s.hide)) {
		args = append(args, "-hide", p)
	}
	for _, p := range slices.Sorted(slices.Values(s.hostPaths)) {
		args = append(args, "-host-path", p)
	}
	return args
}

// setPorts reads what args wrote.
func (s *settings) setPorts(text string) error {
	if _, err := fmt.Sscanf(text, "%d-%d", &s.ports.First, &s.ports.Last); err != nil {
		return fmt.Errorf("%q is not a range of ports: %w", text, err)
	}
	return nil
}
