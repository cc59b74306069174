package server

import (
	"strings"

	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// placedAs returns the job with the placement that it does not say itself: that of its role, or of the nearest role above
// that says one. A stored job is not changed.
func placedAs(snap *state.Snapshot, job *structs.Job) *structs.Job {
	if job.Placement != "" {
		return job
	}
	copied := *job
	copied.Placement = structs.Pack
	name := job.Role
	if name == "" {
		name = structs.DefaultRole
	}
	for name != "" {
		if r := snap.Role(name); r != nil && r.Placement != "" {
			copied.Placement = r.Placement
			break
		}
		name = name[:max(0, strings.LastIndexByte(name, '/'))]
	}
	return &copied
}

// takePlacement looks again at every job when the placement of a role changed. The caller holds mu.
func (l *loop) takePlacement(c state.Change) {
	placement := func(v any) string {
		if r, _ := v.(*structs.Role); r != nil {
			return r.Placement
		}
		return ""
	}
	if placement(c.Old) != placement(c.New) {
		for name := range l.jobs {
			l.dirty[name] = struct{}{}
		}
	}
}
