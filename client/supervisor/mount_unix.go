//go:build unix

package supervisor

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// mount has do mount a folder in a task that runs, or take it away. Nothing is written down of it: what is mounted is in the task, whoever follows
// this process.
func (s *server) mount(t *task, m *drivers.Mount, do func(*task, *drivers.Mount) error) error {
	object := "task " + t.rec.Launch.ID
	if m == nil || !filepath.IsAbs(m.Source) || path.Clean(m.Target) != m.Target || strings.Count(m.Target, "/") < 2 || m.Target[0] != '/' {
		return structs.Errorf(structs.Invalid, object, "what is to be mounted is missing, or no path below a folder of the task")
	}
	t.mounting.Lock()
	defer t.mounting.Unlock()
	s.world.RLock()
	defer s.world.RUnlock()
	if !t.running() || t.proc == nil {
		return structs.Errorf(structs.Conflict, object, "it has ended")
	}
	err := do(t, m)
	if err != nil && !t.running() {
		return structs.Errorf(structs.Conflict, object, "it has ended")
	}
	return err
}

// noMounts is the error of a task without a view of its own.
func noMounts(t *task) error {
	return structs.Errorf(structs.Forbidden, "task "+t.rec.Launch.ID, "nothing can be mounted in a task that sees the files of the host as the host does")
}
