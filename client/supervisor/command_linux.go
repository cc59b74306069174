//go:build linux && (amd64 || arm64)

package supervisor

import (
	"path/filepath"
	"slices"

	"github.com/proffer/proffer/drivers/exec/cgroup"
	"github.com/proffer/proffer/structs"
)

// commandGroup makes the control group of a command; nil: it has none. A task without namespaces needs none for its commands: the stage of
// such a command is the parent of all that leaves the others.
func (h *host) commandGroup(t *task, name string) (*cgroup.Group, error) {
	l := t.rec.Launch
	if name == "" || h.cgroup == nil || t.rec.Cgroup == "" || !l.Full && l.Container == "" {
		return nil, nil
	}
	if name != filepath.Base(name) || name[0] == '.' {
		return nil, structs.Errorf(structs.Invalid, "exec", "%q is no name of a control group", name)
	}
	g, err := h.group(t.rec).Command(name)
	if err != nil {
		return nil, structs.Errorf(structs.Unavailable, "exec", "make a control group for it: %w", err)
	}
	return g, nil
}

// commandOf is the control group of a detached command; nil: it has none.
func (h *host) commandOf(rec *record) *cgroup.Group {
	if rec.Command == "" || h.cgroup == nil {
		return nil
	}
	if t := h.s.taskOf(rec); t != nil && t.rec.Cgroup != "" {
		return h.group(t.rec).OfCommand(rec.Command)
	}
	return nil
}

// endCommand ends what is left of a command that has ended: nothing, when its caller gave it up. Otherwise what it left running goes on,
// and its group goes when that has ended.
func (h *host) endCommand(t *task, command *process, givenUp bool) {
	if err := t.proc.commandEnded(command.group, givenUp); err != nil {
		h.s.log.Warn("a command that was given up does not end as a whole", "task", t.rec.Launch.ID, "err", err)
	}
}

// commandEnded is told of each group of a command in a task.
func (p *process) commandEnded(g *cgroup.Group, kill bool) (err error) {
	if g == nil {
		return nil
	}
	if kill {
		err = g.Kill()
	}
	p.leaving.Lock()
	defer p.leaving.Unlock()
	p.left = slices.DeleteFunc(append(p.left, g), (*cgroup.Group).TryRemove)
	return err
}
