package server

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/scheduler"
	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// volumesOf says what the persistent volumes are that an allocation with an index uses. Apply checks the same again.
func volumesOf(snap *state.Snapshot, g *structs.Group, role string, index int) (out []placement.Volume) {
	for _, x := range g.Persistent() {
		name := x.VolumeName(index)
		v, is := snap.Volume(name), placement.Volume{Name: name}
		switch {
		case v == nil && x.Size == 0:
			is.Missing = "there is none (make it with volume create, or give the group its size)"
		case v == nil && x.Plugin != "":
			is.Plugin = x.Plugin // which makes it where the work goes
		case v == nil:
			is.Takes, is.Disk = x.Size, x.Disk
		case v.Status != structs.VolumeReady:
			if is.Missing = fmt.Sprintf("it is %s", v.Status); v.CSI != nil && v.CSI.Error != "" {
				is.Missing += ": " + v.CSI.Error
			}
		case !structs.RoleWithin(role, v.Role):
			is.Missing = fmt.Sprintf("it is of role %q", v.Role)
		case v.Access != x.Access:
			is.Missing = fmt.Sprintf("it has access %s, not %s", v.Access, x.Access)
		case x.Block() != (v.CSI.AccessType() == structs.AccessBlock):
			is.Missing = fmt.Sprintf("it has access_type %s", v.CSI.AccessType())
		case v.CSI != nil:
			if is.Missing = heldElsewhere(snap, v, x.ReadOnly); is.Missing == "" {
				is.Plugin, is.Topology = v.CSI.Plugin, v.CSI.Topology
			}
		case v.Node == "":
			is.Takes, is.Disk = v.Size, v.Disk
		default:
			is.Node, is.NodeName, is.Alone = v.Node, v.NodeName, v.Access.Alone(x.ReadOnly)
		}
		out = append(out, is)
	}
	return out
}

// heldElsewhere says why another allocation cannot have a volume of a plugin now; empty: it can.
func heldElsewhere(snap *state.Snapshot, v *structs.Volume, readOnly bool) string {
	if !v.Access.Alone(readOnly) {
		return ""
	}
	for a := range snap.Claimants(v) {
		if held := a.Claim(v.ID); held.Access.Alone(held.ReadOnly) {
			return fmt.Sprintf("allocation %s on node %s has it", structs.Short(a.ID), a.NodeName)
		}
	}
	why := snap.LeftBehind(v)
	if why != "" && v.CSI.Error != "" {
		why += ": " + v.CSI.Error
	}
	return why
}

// firstWaiting returns the lowest index of a group that no allocation holds.
func firstWaiting(snap *state.Snapshot, job *structs.Job, g *structs.Group) (index int) {
	if !g.PerAlloc() {
		return 0
	}
	held := map[int]bool{}
	for a := range snap.AllocsOfGroup(job.Name, g.Name) {
		if a.Holds() {
			held[a.Index] = true
		}
	}
	for held[index] {
		index++
	}
	return index
}

// requestsOf returns the requests for what a job wants of a group: one, or with volumes for each allocation one for all whose
// volumes are anywhere yet, and one for each of the others, which go to different nodes.
func (l *loop) requestsOf(snap *state.Snapshot, j *jobLoop, record *structs.JobRecord, group string, places []scheduler.Placement) (out []*allocator.Request) {
	if j.asks[group] == nil {
		return nil
	}
	g := j.job.Group(group)
	if len(g.Persistent()) == 0 {
		r := requestOf(record, j.job, group, j.asks[group], places)
		return []*allocator.Request{&r}
	}
	byAsk := map[*placement.Ask][]scheduler.Placement{}
	var order []*placement.Ask
	for _, p := range places {
		ask := l.askOf(snap, j, record, g, p.Index)
		if ask == nil {
			continue
		}
		if byAsk[ask] == nil {
			order = append(order, ask)
		}
		byAsk[ask] = append(byAsk[ask], p)
	}
	for _, ask := range order {
		r := requestOf(record, j.job, group, ask, byAsk[ask])
		if g.PerAlloc() && ask.Bound() {
			r.ID += "/" + strconv.Itoa(r.Slots[0].Index)
		}
		out = append(out, &r)
	}
	return out
}

// askOf compiles what an allocation of a group with persistent volumes asks for. It is the same pointer for the same volumes.
func (l *loop) askOf(snap *state.Snapshot, j *jobLoop, record *structs.JobRecord, g *structs.Group, index int) *placement.Ask {
	volumes := volumesOf(snap, g, record.Role, index)
	for i := range volumes {
		if v := &volumes[i]; v.Takes > 0 {
			v.Name = "" // the same for all that are to be made
		}
	}
	key := fmt.Sprintf("%s %+v", g.Name, volumes)
	if ask := j.stored[key]; ask != nil {
		return ask
	}
	ask, err := placement.Compile(placedAs(snap, j.job), g, volumes...)
	if err != nil {
		l.log.Error("a stored job cannot be placed", "job", record.Name, "group", g.Name, "err", err)
		return nil
	}
	if j.stored == nil || len(j.stored) > 10_000 {
		j.stored = map[string]*placement.Ask{}
	}
	j.stored[key] = ask
	return ask
}

// noteStored notes whether a job, whose version is new, has persistent volumes.
func (l *loop) noteStored(name string, j *jobLoop) {
	j.stored = nil
	delete(l.stored, name)
	for _, g := range j.job.Groups {
		if len(g.Persistent()) > 0 {
			l.stored[name] = struct{}{}
		}
	}
}

// drop forgets a job that wants nothing any more.
func (l *loop) drop(name string) {
	delete(l.jobs, name)
	delete(l.stored, name)
}

// takeVolume has the jobs looked at that may use a volume which changed.
func (l *loop) takeVolume(c state.Change) {
	v, _ := c.New.(*structs.Volume)
	if v == nil {
		v = c.Old.(*structs.Volume)
	}
	for name := range l.stored {
		for _, g := range l.jobs[name].job.Groups {
			for _, x := range g.Persistent() {
				if x.Names(v.Name) {
					l.dirty[name] = struct{}{}
				}
			}
		}
	}
}

// purgeMost bounds how many volumes one entry begins to purge.
const purgeMost = 1000

// purge has the data of deleted volumes removed whose time has come, for one term.
func (s *Server) purge(term context.Context) {
	for term.Err() == nil {
		snap, now := s.store.Snapshot(), structs.At(time.Now())
		due, next := purgeable(snap, now)
		if len(due) == 0 {
			ctx, cancel := context.WithTimeout(term, min(next.Std().Sub(now.Std()), releaseEvery))
			s.store.Wait(ctx, snap.Index(), state.OfTable(state.Volumes))
			cancel()
			continue
		}
		if _, _, err := s.raft.Propose(term, "", "server "+s.config.Name, &state.PurgeVolumes{Names: due}); err != nil {
			if term.Err() == nil {
				s.log.Warn("cannot purge volumes", "err", err)
			}
			pause.For(term, collectRest)
			continue
		}
		s.log.Info("the data of deleted volumes is removed", "volumes", len(due))
	}
}

// purgeable returns the volumes whose data is to be removed now, and when the next one may be.
func purgeable(snap *state.Snapshot, now structs.Time) (due []string, next structs.Time) {
	next = now.Add(structs.Duration(releaseEvery))
	for v := range snap.Volumes() {
		switch {
		case v.Status != structs.VolumeDeleted:
		case v.Purge > now:
			next = min(next, v.Purge)
		case len(due) < purgeMost:
			due = append(due, v.Name)
		}
	}
	return due, next
}
