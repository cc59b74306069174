package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// lenders launch tasks with volumes of theirs, and executors with volumes of their own. Names of volumes that begin with s are shared.
type lenders struct {
	*executors
	custom bool
}

func newLenders(t *testing.T, custom bool, volumes ...string) lenders {
	e := lenders{newExecutors(t), custom}
	n := *e.store.Snapshot().Node(e.node)
	n.Resources.Disk, n.Resources.CPU = 1<<30, 64000
	e.executors.must(&RegisterNode{Node: &n})
	ops := []*Operation{{Reserve: &structs.Reservation{ID: "r", Role: "eng", Resources: structs.Resources{Disk: 256 * mib}}}}
	for _, name := range volumes {
		ops = append(ops, &Operation{Create: &structs.Volume{Name: name, Persistence: name, Role: "eng", Size: 16 * mib, Access: accessOf(name), ContainerPath: "data"}})
	}
	for _, r := range e.operate(ops...) {
		if r.Refused != "" {
			t.Fatalf("%+v", r)
		}
	}
	return e
}

func accessOf(volume string) structs.VolumeAccess {
	if volume[0] == 's' {
		return structs.AccessShared
	}
	return structs.AccessExclusive
}

// launch launches one task with volumes, and names the executor's own when it is to begin one.
func (e lenders) launch(executor, task string, own []string, volumes ...string) PlaceResult {
	e.t.Helper()
	x := &structs.External{Executor: executor, Custom: e.custom, Info: []byte("info"), Own: structs.Resources{CPU: 500},
		Tasks: []*structs.ExternalTask{{ID: task, Name: "task", Resources: structs.Resources{CPU: 1000}}}}
	def := &structs.Task{Name: "task"}
	group := &structs.Group{Name: "of-" + executor, Tasks: []*structs.Task{def}}
	a := &structs.Allocation{ID: structs.AllocID(executor + "-" + task), Framework: "f", Role: "eng", Node: e.node, Group: group.Name, External: x, OnLost: "replace"}
	for i, name := range append(slices.Clone(own), volumes...) {
		block := fmt.Sprintf("volume-%d", i)
		claim := structs.AllocVolume{Group: block, Name: name, Access: accessOf(name)}
		mount := &structs.VolumeMount{Volume: block, Destination: "/local/" + task + "/" + name}
		if i >= len(own) {
			claim.Task = "task"
		}
		switch {
		case i >= len(own) && e.custom:
			x.Tasks[0].Mounts = append(x.Tasks[0].Mounts, mount)
		default:
			group.Volumes = append(group.Volumes, &structs.GroupVolume{Name: block, Type: structs.PersistentVolume, Source: name})
			def.VolumeMounts = append(def.VolumeMounts, mount)
		}
		a.Volumes = append(a.Volumes, claim)
	}
	return e.operate(&Operation{Launch: &Placement{Job: &structs.Job{Groups: []*structs.Group{group}}, Alloc: a}})[0]
}

func (e lenders) made(what string, r PlaceResult) structs.AllocID {
	e.t.Helper()
	if r.Refused != "" {
		e.t.Fatalf("%s: %+v", what, r)
	}
	return r.ID
}

// ends has tasks end, by the ids that their framework gave them, and the executor when none is left and it is a pod.
func (e lenders) ends(id structs.AllocID, status structs.AllocStatus, tasks ...string) {
	e.t.Helper()
	states := map[string]*structs.TaskState{}
	for _, t := range e.alloc(string(id)).External.Tasks {
		if slices.Contains(tasks, t.ID) {
			states[t.Name] = &structs.TaskState{Status: structs.TaskFinished}
		}
	}
	e.observe(string(id), status, states)
}

// claims draws who has what on the node: VOLUME of EXECUTOR/TASK, and which volumes it holds alone.
func (e lenders) claims() string {
	var out, alone []string
	for a := range e.store.Snapshot().AllocsOnNode(e.node) {
		if a.Ended() {
			continue
		}
		for _, v := range a.Volumes {
			task := ""
			if v.Task != "" {
				task = a.External.Named(v.Task).ID
			}
			out = append(out, fmt.Sprintf("%s:%s/%s", v.Name, a.External.Executor, task))
		}
		alone = append(alone, a.Resources.Sets[structs.VolumeSet]...)
	}
	slices.Sort(out)
	slices.Sort(alone)
	return strings.Join(out, " ") + " alone " + strings.Join(alone, " ")
}

// A volume that a task brought is its own, also of one that joins: it is free when the task ended, while the executor keeps its own.
func TestVolumesOfTasks(t *testing.T) {
	for _, custom := range []bool{false, true} {
		e := newLenders(t, custom, "own", "v", "w", "s")
		id := e.made("the first", e.launch("x", "one", []string{"own"}, "v", "s"))
		e.is("claims", e.claims(), "own:x/ s:x/one v:x/one alone own v")
		if r := e.launch("x", "two", nil, "v"); r.Refused != RefusedVolume {
			t.Errorf("what another task of the executor has: %+v", r)
		}
		if r := e.launch("x", "two", []string{"own"}); r.Refused != RefusedExecutor {
			t.Errorf("volumes of the executor that lives: %+v", r)
		}
		e.made("a shared one", e.launch("x", "two", nil, "s", "w"))
		e.is("claims", e.claims(), "own:x/ s:x/one s:x/two v:x/one w:x/two alone own v w")
		if r := e.operate(&Operation{Destroy: "v"})[0]; r.Refused != RefusedVolume {
			t.Errorf("destroy what a task has: %+v", r)
		}
		e.ends(id, structs.AllocRunning, "one")
		e.is("claims", e.claims(), "own:x/ s:x/two w:x/two alone own w")
		e.made("somebody else has it", e.launch("y", "uno", nil, "v"))
		if r := e.launch("x", "three", nil, "v"); r.Refused != RefusedVolume {
			t.Errorf("what another executor has: %+v", r)
		}
		e.ends("y-uno", structs.AllocComplete, "uno")
		e.made("the same executor has it again", e.launch("x", "three", nil, "v"))
		e.ends(id, structs.AllocRunning, "three")
		for _, task := range []string{"one", "three"} {
			e.acknowledge(string(id), task)
		}
		e.made("it is forgotten", e.launch("x", "four", nil))
		e.is("claims", e.claims(), "own:x/ s:x/two w:x/two alone own w")
		if !custom {
			group := e.store.Snapshot().Version("", e.alloc(string(id)).Version).Job.Groups[0]
			var blocks []string
			for _, b := range group.Volumes {
				blocks = append(blocks, b.Source)
			}
			e.is("blocks", fmt.Sprint(blocks), "[own s w]")
			for _, task := range group.Tasks {
				for _, m := range task.VolumeMounts {
					if !slices.ContainsFunc(group.Volumes, func(b *structs.GroupVolume) bool { return b.Name == m.Volume }) {
						t.Errorf("task %s mounts block %s, and there is none", task.Name, m.Volume)
					}
				}
			}
		}
		if r := e.operate(&Operation{Destroy: "v"})[0]; r.Refused != "" {
			t.Errorf("destroy it while its executor lives: %+v", r)
		}
		if r := e.launch("x", "five", nil, "v"); r.Refused != RefusedVolume {
			t.Errorf("what is destroyed: %+v", r)
		}
		// An executor that ended meanwhile takes its own with it: a launch that relied on them does not begin another one.
		e.ends(id, structs.AllocComplete, "two", "four")
		e.is("claims", e.claims(), " alone ")
		e.made("without volumes of its own it begins anew", e.launch("x", "six", nil, "w"))
		e.is("claims", e.claims(), "w:x/six alone w")
		e.ends("x-six", structs.AllocComplete, "six")
		group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "task"}}, Volumes: []*structs.GroupVolume{{Name: "volume-0", Type: structs.PersistentVolume}}}
		r := e.operate(&Operation{Launch: &Placement{Job: &structs.Job{Groups: []*structs.Group{group}}, Alloc: &structs.Allocation{ID: "late", Framework: "f", Role: "eng",
			Node: e.node, Group: "g", OnLost: "replace", External: &structs.External{Executor: "x", Custom: custom, Tasks: []*structs.ExternalTask{{ID: "t", Name: "task"}}}}}})[0]
		if r.Refused != RefusedEnding {
			t.Errorf("a launch that relies on volumes of an executor that is not there any more: %+v", r)
		}
	}
}

// In the process of a custom executor no two volumes are in one place, or one inside the other.
func TestVolumesOfTasksAreApart(t *testing.T) {
	e := newLenders(t, true, "v", "w")
	id := e.made("the first", e.launch("x", "one", nil, "v"))
	p := &Placement{Job: &structs.Job{Groups: []*structs.Group{{Name: "g", Tasks: []*structs.Task{{Name: "executor"}}}}}}
	for _, at := range []string{"/local/one/v", "/local/one", "/local/one/v/deeper"} {
		p.Alloc = &structs.Allocation{ID: "b", Framework: "f", Role: "eng", Node: e.node, Group: "g", OnLost: "replace",
			External: &structs.External{Executor: "x", Custom: true, Info: []byte("info"), Own: structs.Resources{CPU: 500}, Tasks: []*structs.ExternalTask{
				{ID: "two", Name: "two", Mounts: []*structs.VolumeMount{{Volume: "volume-0", Destination: at}}}}},
			Volumes: []structs.AllocVolume{{Group: "volume-0", Name: "w", Access: structs.AccessExclusive, Task: "two"}}}
		if r := e.operate(&Operation{Launch: p})[0]; r.Refused != RefusedVolume || !strings.Contains(r.Why, `task "one"`) {
			t.Errorf("%s: %+v", at, r)
		}
	}
	e.ends(id, structs.AllocRunning, "one")
	e.made("once it ended", e.operate(&Operation{Launch: p})[0])
	if m := e.alloc(string(id)).External.Task("two").Mounts[0]; m.Volume != e.alloc(string(id)).Volumes[0].Group {
		t.Errorf("it mounts %+v of %+v", m, e.alloc(string(id)).Volumes)
	}
}

// Whatever is launched, ends and is destroyed, each volume is with whom a list of it says, and one that is not shared with one at most.
func TestVolumesOfTasksAgainstAList(t *testing.T) {
	volumes := []string{"o", "v", "w", "s"}
	rapid.Check(t, func(rt *rapid.T) {
		e := newLenders(t, rapid.Bool().Draw(rt, "custom"), volumes...)
		has := map[string]string{}            // VOLUME:EXECUTOR/TASK by itself, and what is destroyed
		lives := map[string]structs.AllocID{} // executors
		tasks := map[string][]string{}        // that run, by executor
		free := func(v string) bool {
			if has[v] != "" {
				return false // destroyed
			}
			for who := range has {
				if strings.HasPrefix(who, v+":") && accessOf(v) != structs.AccessShared {
					return false
				}
			}
			return true
		}
		drop := func(of string) {
			maps.DeleteFunc(has, func(who, _ string) bool { return strings.HasSuffix(who, ":"+of) })
		}
		for i := range rapid.IntRange(5, 40).Draw(rt, "steps") {
			if i == 10 {
				e.fork()
			}
			x := rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "executor")
			v := rapid.SampledFrom(volumes).Draw(rt, "volume")
			switch what := rapid.IntRange(0, 9).Draw(rt, "what"); {
			case what < 5:
				task := fmt.Sprintf("t%d", i)
				brings := rapid.SliceOfNDistinct(rapid.SampledFrom(volumes), 0, 2, rapid.ID[string]).Draw(rt, "brings")
				var own []string
				if lives[x] == "" && rapid.Bool().Draw(rt, "own") && !slices.Contains(brings, v) {
					own = []string{v}
				}
				want := !slices.ContainsFunc(append(slices.Clone(own), brings...), func(v string) bool { return !free(v) })
				r := e.launch(x, task, own, brings...)
				if (r.Refused == "") != want {
					rt.Fatalf("%s/%s with %v and %v, which are to be had: %v: %+v; %v", x, task, own, brings, want, r, has)
				}
				if !want {
					continue
				}
				lives[x], tasks[x] = r.ID, append(tasks[x], task)
				for _, v := range own {
					has[v+":"+x+"/"] = "has"
				}
				for _, v := range brings {
					has[v+":"+x+"/"+task] = "has"
				}
			case what < 8 && len(tasks[x]) > 1:
				task := rapid.SampledFrom(tasks[x]).Draw(rt, "task")
				e.ends(lives[x], structs.AllocRunning, task)
				tasks[x] = slices.DeleteFunc(tasks[x], func(t string) bool { return t == task })
				drop(x + "/" + task)
				if rapid.Bool().Draw(rt, "heard") {
					e.acknowledge(string(lives[x]), task)
				}
			case what < 9 && lives[x] != "":
				e.ends(lives[x], structs.AllocComplete, tasks[x]...)
				for _, task := range append(tasks[x], "") {
					drop(x + "/" + task)
				}
				delete(lives, x)
				delete(tasks, x)
			case what == 9:
				want := has[v] == "" && !slices.ContainsFunc(slices.Collect(maps.Keys(has)), func(who string) bool { return strings.HasPrefix(who, v+":") })
				if r := e.operate(&Operation{Destroy: v})[0]; (r.Refused == "") != want {
					rt.Fatalf("destroy %s, which can be: %v: %+v", v, want, r)
				}
				if want {
					has[v] = "destroyed"
				}
			}
			var list, alone []string
			for who := range has {
				if v, _, held := strings.Cut(who, ":"); held {
					if list = append(list, who); accessOf(v) != structs.AccessShared {
						alone = append(alone, v)
					}
				}
			}
			slices.Sort(list)
			slices.Sort(alone)
			if want := strings.Join(list, " ") + " alone " + strings.Join(alone, " "); e.claims() != want {
				rt.Fatalf("claims are %q, want %q", e.claims(), want)
			}
		}
	})
}
