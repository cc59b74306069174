package taskdir

import (
	"os"
	"path"
)

// Payload writes what a dispatch brought into the local folder of a task that wants it. Its errors are those of Write.
func (sc *Scope) Payload() error {
	s := &sc.subject
	if s.Task.DispatchPayload == nil || s.Job.Dispatched == nil || len(s.Job.Dispatched.Payload) == 0 {
		return nil
	}
	name, err := destination(path.Join("local", s.Task.DispatchPayload.File))
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Dir.Task(s.Task.Name))
	if err != nil {
		return failure("dispatch payload", err)
	}
	defer root.Close()
	return misplaced("dispatch payload", sc.place(root, name, s.Job.Dispatched.Payload, 0o644))
}
