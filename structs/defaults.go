package structs

import (
	"cmp"
	"time"
)

// Canonicalize sets every default, as the doc tags name them, and writes the priority in its one form. It may be repeated.
// Whoever holds a stored job clones it first.
func (j *Job) Canonicalize() {
	setDefault(&j.Type, ServiceJob)
	setDefault(&j.Role, DefaultRole)
	if p, err := ParsePriority(j.Priority); err == nil && j.Priority != "" { // its role says it otherwise
		j.Priority = p.String()
	}
	canonicalizeRules(j.Constraints, j.Affinities, j.Spreads)
	setBlock(&j.Update)
	setDefault(&j.Update.MaxParallel, 1)
	setDefault(&j.Update.MinHealthyTime, Duration(time.Second))
	setDefault(&j.Update.HealthyTimeout, Duration(5*time.Minute))
	if j.Parameterized != nil {
		setDefault(&j.Parameterized.Payload, PayloadOptional)
	}
	for _, g := range j.Groups {
		if g != nil {
			g.canonicalize(j.Type)
		}
	}
}

func (g *Group) canonicalize(jobType string) {
	setPointer(&g.Count, 1)
	canonicalizeRules(g.Constraints, g.Affinities, g.Spreads)

	setBlock(&g.Restart)
	attempts := 2
	if jobType == BatchJob {
		attempts = 3
	}
	setPointer(&g.Restart.Attempts, attempts)
	setDefault(&g.Restart.Interval, Duration(30*time.Minute))
	setDefault(&g.Restart.Delay, Duration(time.Second))
	setDefault(&g.Restart.Mode, RestartFail)

	setBlock(&g.Reschedule)
	r := g.Reschedule
	setPointer(&r.Unlimited, jobType != BatchJob && r.Attempts == nil)
	attempts = 1
	if *r.Unlimited {
		attempts = 0
	}
	setPointer(&r.Attempts, attempts)
	setDefault(&r.Interval, Duration(24*time.Hour))
	setDefault(&r.Delay, Duration(5*time.Second))
	setDefault(&r.MaxDelay, Duration(time.Hour))

	if g.Network != nil {
		g.Network.Canonicalize()
	}
	for _, v := range g.Volumes {
		if v != nil {
			v.canonicalize()
		}
	}
	if g.Fenced() {
		setDefault(&g.OnLost, OnLostFence)
	}
	setDefault(&g.OnLost, "replace")
	for _, t := range g.Tasks {
		if t != nil {
			t.canonicalize()
		}
	}
}

// Restart modes.
const (
	RestartFail  = "fail"
	RestartDelay = "delay"
)

func (t *Task) canonicalize() {
	setDefault(&t.Driver, "exec")
	setDefault(&t.KillTimeout, Duration(5*time.Second))
	setDefault(&t.KillSignal, "SIGTERM")
	setBlock(&t.Logs)
	setDefault(&t.Logs.MaxFiles, 10)
	setDefault(&t.Logs.MaxFileSize, 10<<20)
	setBlock(&t.Resources)
	setDefault(&t.Resources.CPU, Milli(t.Resources.Cores)*1000)
	setDefault(&t.Resources.CPU, 100)
	setDefault(&t.Resources.Memory, 128<<20)
	for _, a := range t.Artifacts {
		if a != nil {
			setDefault(&a.Destination, "local")
			setDefault(&a.Mode, "0644")
		}
	}
	if t.CSIPlugin != nil {
		t.CSIPlugin.canonicalize()
	}
	for _, f := range t.Tmpfs {
		if f != nil {
			setDefault(&f.Size, 64<<20)
		}
	}
	for _, f := range t.Templates {
		if f != nil {
			f.canonicalize()
		}
	}
	for _, list := range [][]*Check{t.Ready, t.Live} {
		for _, c := range list {
			if c != nil {
				c.canonicalize()
			}
		}
	}
}

func canonicalizeRules(constraints []*Constraint, affinities []*Affinity, spreads []*Spread) {
	for _, c := range constraints {
		if c != nil {
			setDefault(&c.Operator, "=")
			if c.RelaxAfter > 0 || c.HardenAfter > 0 {
				setDefault(&c.Weight, 50)
			}
		}
	}
	for _, a := range affinities {
		if a != nil {
			setDefault(&a.Operator, "=")
			setDefault(&a.Weight, 50)
		}
	}
	for _, s := range spreads {
		if s != nil {
			setDefault(&s.Weight, 50)
		}
	}
}

// Canonicalize sets every default.
func (r *Role) Canonicalize() {
	setDefault(&r.Weight, 1000)
	setDefault(&r.State, RoleOpen)
	setDefault(&r.DefaultPriority, "batch")
	setDefault(&r.MaxPriority, "batch+100")
	for _, s := range []*string{&r.DefaultPriority, &r.MaxPriority} {
		if p, err := ParsePriority(*s); err == nil {
			*s = p.String()
		}
	}
}

func setDefault[T comparable](v *T, to T) { *v = cmp.Or(*v, to) }

func setPointer[T any](v **T, to T) {
	if *v == nil {
		*v = &to
	}
}

func setBlock[T any](v **T) {
	if *v == nil {
		*v = new(T)
	}
}
