package runner

import (
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// output opens the streams of a task for a driver that has the output go through it.
func (a *Alloc) output(t *structs.Task) func(stream string) drivers.Output {
	return func(stream string) drivers.Output {
		var limits logs.Limits
		if l := t.Logs; l != nil {
			limits = logs.Limits{MaxFiles: l.MaxFiles, MaxFileSize: l.MaxFileSize, MaxAge: l.MaxAge.Std()}
		}
		return logs.NewWriter(a.dir.Logs(), t.Name, logs.Stream(stream), limits)
	}
}
