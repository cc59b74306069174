//go:build unix

package supervisor

import (
	"sync"

	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers/exec"
)

// task is a task that the supervisor knows.
type task struct {
	rec *record // guarded by server.mu once started is closed
	out *logs.Writer
	err *logs.Writer

	started chan struct{} // closed when the start succeeded or failed
	proc    *process      // set before started is closed, nil when the start failed
	ended   chan struct{} // closed when rec.Exit is set
	cleaned chan struct{} // closed when nothing is left on the host
	fenced  bool          // killed because the lease ended; guarded by server.mu
	killed  bool          // by us, after its grace; guarded by server.mu

	limiting sync.Mutex // held while its limits change
	mounting sync.Mutex // held while something is mounted in it, or taken away
}

func newTask(rec *record) *task {
	l := rec.Launch
	limits := logs.Limits{MaxFiles: l.LogFiles, MaxFileSize: l.LogFileSize, MaxAge: l.LogAge}
	return &task{
		rec:     rec,
		out:     logs.NewWriter(l.LogDir, l.LogName, logs.Stdout, limits),
		err:     logs.NewWriter(l.LogDir, l.LogName, logs.Stderr, limits),
		started: make(chan struct{}), ended: make(chan struct{}), cleaned: make(chan struct{}),
	}
}

// running reports whether the task has not ended. A task whose start is under way is running.
func (t *task) running() bool {
	select {
	case <-t.ended:
		return false
	default:
		return true
	}
}

func (r *record) status() *exec.Status {
	return &exec.Status{ID: r.Launch.ID, PID: r.PID, Started: r.Started, Ended: r.Ended, Exit: r.Exit}
}
