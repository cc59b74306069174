package runner

import (
	"context"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// DiskLimit is what the allocation may take of the disk, and the project by which the file system counts that; 0: none.
func (a *Alloc) DiskLimit() (limit structs.Bytes, project uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Ended() || a.state.Stop != "" {
		return 0, 0
	}
	if a.state.Given != nil {
		project = a.state.Given.Project
	}
	return a.group.Ask().Disk, project
}

// LogBound is what the node writes for the tasks of the allocation at most, all streams together.
func (a *Alloc) LogBound() (sum structs.Bytes) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		if l := t.def.Logs; l != nil {
			sum += 2 * structs.Bytes(l.MaxFiles) * l.MaxFileSize
		}
	}
	return sum
}

// Written is what its running tasks hold on the host's disk outside of its folder, as far as its project does not count it. What cannot be
// told does not count.
func (a *Alloc) Written(ctx context.Context, sizes drivers.Sizes) (sum structs.Bytes) {
	_, project := a.DiskLimit()
	for _, h := range a.handles() {
		if l, ok := h.(drivers.Layered); ok {
			if size, err := l.Written(ctx, project != 0, sizes); err == nil && size > 0 {
				sum += size
			}
		}
	}
	for _, spec := range a.mounted() {
		if size, err := a.node.Images.WrittenToImages(ctx, spec, project != 0, sizes); err == nil && size > 0 {
			sum += size
		}
	}
	return sum
}

// LimitedDisk is the reason of whoever wrote more than it asked for.
const LimitedDisk = "CONTAINER_LIMITATION_DISK"

// Exceed ends the allocation: it took more of something than it asked for, which is a reason as structs.TaskState has it.
func (a *Alloc) Exceed(reason, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status.Ended() || a.state.Stop != "" {
		return
	}
	a.state.Reason = reason
	a.log.Warn("an allocation is stopped", "why", why)
	for _, t := range a.tasks {
		if t.handle != nil {
			t.event("exceeded", why)
		}
	}
	a.endLocked(why, true, false)
}
