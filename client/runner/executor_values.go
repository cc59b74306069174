package runner

import (
	"slices"

	"github.com/proffer/proffer/client/session"
)

// Values of secrets that come with tasks of a custom executor. Its process is told them with the task, as its framework wrote them. They are
// sealed in what is recorded of the task; the region opens them when the node asks, which keeps them in memory until the task is given away.

// askValues has the node ask for the values of the tasks that the executor was not given yet, and for no others. The caller holds mu.
func (e *Executor) askValues() {
	if e.alloc.node.Items == nil {
		return
	}
	var refs []session.Ref
	for _, g := range e.guests {
		if g.rec.Start > 0 || g.rec.Done || e.over {
			continue
		}
		for _, s := range g.x.Secrets {
			refs = append(refs, session.SecretRef(e.alloc.id, s.Name))
		}
	}
	if !slices.Equal(refs, e.asked) {
		e.alloc.node.Items.Hold(e, e.asked, refs)
		e.asked = refs
	}
}

// Changed says that the region answered.
func (e *Executor) Changed(item *session.Item) {
	e.alloc.mu.Lock()
	defer e.alloc.mu.Unlock()
	for _, g := range e.guests {
		for _, s := range g.x.Secrets {
			if item.Ref == session.SecretRef(e.alloc.id, s.Name) && item.Missing != "" && g.rec.Start == 0 && !g.rec.Done {
				g.rec.State.Why, g.changed = "a secret that came with it is awaited: "+item.Missing, true
				e.alloc.report()
			}
		}
	}
	e.stream.poke()
}

// opened reports whether the values and the volumes that a task brings are there, and with those of what is launched together with it. The
// caller holds mu.
func (e *Executor) opened(g *guest) bool {
	for _, o := range e.guests {
		together := o == g || g.x.Together && o.x.Together && o.x.Launch == g.x.Launch && o.rec.Start == 0 && !o.rec.Done
		if together && (len(e.values(o)) != len(o.x.Secrets) || !o.lent && e.alloc.brings(o.x.Name)) {
			return false
		}
	}
	return true
}

// values are those of a task's secrets, in their order, as far as they are there.
func (e *Executor) values(g *guest) (out []string) {
	for _, s := range g.x.Secrets {
		item := e.alloc.node.item(session.SecretRef(e.alloc.id, s.Name))
		if item == nil || item.Missing != "" {
			break
		}
		out = append(out, item.Values[""])
	}
	return out
}
