package volumes

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/client/csi"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func open(t *testing.T, dir string, host map[string]HostVolume) *Volumes {
	t.Helper()
	v, err := Open(dir, host, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func need(alloc string, incarnation uint64, volumes ...structs.AllocVolume) *runner.Need {
	g := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t"}}}
	for _, x := range volumes {
		g.Volumes = append(g.Volumes, &structs.GroupVolume{Name: x.Group, Type: structs.PersistentVolume, Source: x.Name, Access: x.Access, ReadOnly: x.ReadOnly})
		g.Tasks[0].VolumeMounts = append(g.Tasks[0].VolumeMounts, &structs.VolumeMount{Volume: x.Group, Destination: "/" + x.Group})
	}
	return &runner.Need{Alloc: &structs.Allocation{ID: structs.AllocID(alloc), Incarnation: incarnation, Volumes: volumes}, Group: g}
}

func data(access structs.VolumeAccess, readOnly bool) structs.AllocVolume {
	return structs.AllocVolume{Group: "data", Name: "data", ID: "0a01", Size: 1 << 20, Access: access, ReadOnly: readOnly}
}

func provide(t *testing.T, v *Volumes, n *runner.Need) ([]drivers.Mount, error) {
	t.Helper()
	given := &store.Given{}
	err := v.Provide(t.Context(), n, given)
	return given.Mounts["t"], err
}

// What a task of an executor brings is its own: others of its allocation have it after it, or with it when it is shared, and the allocation takes all with it.
func TestVolumesOfTasks(t *testing.T) {
	v := open(t, filepath.Join(t.TempDir(), "volumes"), nil)
	of := func(task string, access structs.VolumeAccess) (*runner.Need, []*structs.VolumeMount) {
		x := data(access, false)
		x.Task = task
		n := need("aa", 1, x)
		n.Alloc.External = &structs.External{Executor: "x"}
		return n, n.Group.Tasks[0].VolumeMounts
	}
	lend := func(task string, access structs.VolumeAccess) (int, error) {
		n, mounts := of(task, access)
		if all, err := provide(t, v, n); err != nil || len(all) > 0 {
			t.Errorf("the allocation has %v of it, %v", all, err)
		}
		given := &store.Given{}
		err := v.Lend(t.Context(), n, task, mounts, given)
		return len(given.Mounts[task]), err
	}
	claimed := func(want string) {
		t.Helper()
		if got := fmt.Sprint(v.holders("0a01")); got != want {
			t.Errorf("it is claimed by %s, want %s", got, want)
		}
	}
	for range 2 {
		if n, err := lend("one", structs.AccessExclusive); n != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if _, err := lend("two", structs.AccessExclusive); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("a second task has it: %v", err)
	}
	if _, err := provide(t, v, need("bb", 2, data(structs.AccessExclusive, false))); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("another allocation has it: %v", err)
	}
	claimed("[aa@one]")
	for range 2 {
		if err := v.Return(t.Context(), "aa", "one"); err != nil {
			t.Error(err)
		}
	}
	claimed("[]")
	for _, task := range []string{"two", "three"} {
		if _, err := lend(task, structs.AccessShared); err != nil {
			t.Error(err)
		}
	}
	claimed("[aa@three aa@two]")
	if held := v.Held(); len(held) != 1 || len(held[0].Writers) != 1 || held[0].Writers[0] != "aa" {
		t.Errorf("held are %+v", held)
	}
	if err := v.Release(t.Context(), "aa"); err != nil {
		t.Error(err)
	}
	claimed("[]")
	if _, err := lend("../up", structs.AccessShared); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a task whose name is none: %v", err)
	}
	if _, err := lend("four", structs.AccessShared); err != nil {
		t.Error(err)
	}
	v.known = func(structs.AllocID) bool { return false }
	if _, err := v.claims("0a01"); err != nil {
		t.Error(err)
	}
	claimed("[]")
}

// A volume has one that writes, also for an agent that was killed and forgot; its data stays until the region wants it gone.
func TestOneWriter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "volumes")
	v := open(t, dir, nil)
	mounts, err := provide(t, v, need("aa", 1, data(structs.AccessExclusive, false)))
	if err != nil || len(mounts) != 1 || mounts[0].Target != "/data" || mounts[0].ReadOnly {
		t.Fatalf("%v, %+v", err, mounts)
	}
	twice := &store.Given{}
	twice.Mount("t", drivers.Mount{Source: "/from/another", Target: "/provider"})
	for range 2 { // one attempt after another, and what others gave
		if err := v.Provide(t.Context(), need("aa", 1, data(structs.AccessExclusive, false)), twice); err != nil || len(twice.Mounts["t"]) != 2 {
			t.Errorf("asked again: %+v, %v", twice.Mounts, err)
		}
	}
	if err := os.WriteFile(filepath.Join(mounts[0].Source, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := provide(t, v, need("bb", 2, data(structs.AccessExclusive, true))); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("beside another: %v", err)
	}
	v = open(t, dir, nil)
	if _, err := provide(t, v, need("bb", 2, data(structs.AccessExclusive, false))); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("beside another, after a restart: %v", err)
	}
	if v.Disk() != 1<<20 {
		t.Errorf("the volumes take %s", v.Disk())
	}
	v.known = func(id structs.AllocID) bool { return id == "bb" }
	if mounts, err = provide(t, v, need("bb", 2, data(structs.AccessExclusive, false))); err != nil {
		t.Fatalf("after one that nobody knows: %v", err)
	}
	if raw, err := os.ReadFile(filepath.Join(mounts[0].Source, "file")); string(raw) != "x" {
		t.Errorf("the data is gone: %v", err)
	}

	// It is deleted, and then released.
	var told []structs.VolumeID
	v.Told = func(ids []structs.VolumeID) { told = append(told, ids...) }
	v.Take([]*structs.Volume{{Name: "data", ID: "0a01", Size: 1 << 20, Status: structs.VolumePurging}}, false)
	v.removePurged()
	if len(told) > 0 {
		t.Fatal("the data of a volume in use was removed")
	}
	if _, err := provide(t, v, need("bb", 3, data(structs.AccessExclusive, false))); structs.KindOf(err) != structs.NotFound {
		t.Errorf("a deleted volume: %v", err)
	}
	for range 2 {
		if err := v.Release(t.Context(), "bb"); err != nil {
			t.Fatal(err)
		}
	}
	v.removePurged()
	if entries, _ := os.ReadDir(dir); len(told) != 1 || told[0] != "0a01" || len(entries) > 0 {
		t.Errorf("told %v, left %v", told, entries)
	}
	v.Take([]*structs.Volume{{Name: "data", ID: "0a01", Size: 1 << 20, Status: structs.VolumePurging}}, false) // the answer was lost
	if v.removePurged(); len(told) != 2 {
		t.Errorf("told %v", told)
	}
}

// The folder of the volumes is closed to others, and the one that it is in is not.
func TestOthersPassBy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "client")
	open(t, filepath.Join(dir, "volumes"), nil)
	for path, want := range map[string]os.FileMode{dir: 0o711, filepath.Join(dir, "volumes"): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestManyReaders(t *testing.T) {
	v := open(t, filepath.Join(t.TempDir(), "volumes"), nil)
	for i, x := range []struct {
		claim structs.AllocVolume
		ok    bool
	}{{data(structs.AccessSingleWriter, false), true}, {data(structs.AccessSingleWriter, true), true}, {data(structs.AccessSingleWriter, false), false}} {
		mounts, err := provide(t, v, need([]string{"aa", "bb", "cc"}[i], uint64(i+1), x.claim))
		if (err == nil) != x.ok {
			t.Errorf("%d: %v", i, err)
		}
		if err == nil && mounts[0].ReadOnly != x.claim.ReadOnly {
			t.Errorf("%d: %+v", i, mounts)
		}
	}
}

func TestHostVolumes(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	v := open(t, filepath.Join(dir, "volumes"), map[string]HostVolume{"rw": {link, false, ""}, "ro": {dir, true, ""}, "gone": {dir + "/gone", false, ""}})
	if host := v.Host(); len(host) != 2 || host["rw"].ReadOnly || !host["ro"].ReadOnly {
		t.Errorf("%+v", host)
	}
	ask := func(source string, readOnly bool) ([]drivers.Mount, error) {
		n := need("aa", 1)
		n.Group.Volumes = []*structs.GroupVolume{{Name: "x", Type: structs.HostVolume, Source: source, ReadOnly: readOnly}}
		n.Group.Tasks[0].VolumeMounts = []*structs.VolumeMount{{Volume: "x", Destination: "/x"}}
		return provide(t, v, n)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := ask("rw", false); err != nil || m[0].Source != real || m[0].ReadOnly {
		t.Errorf("%v, %+v", err, m)
	}
	if m, err := ask("ro", true); err != nil || !m[0].ReadOnly {
		t.Errorf("%v, %+v", err, m)
	}
	if _, err := ask("ro", false); structs.KindOf(err) != structs.NotFound {
		t.Errorf("for writing: %v", err)
	}
	spread := func(source string, readOnly bool, x structs.Propagation) error {
		n := need("aa", 1)
		n.Group.Volumes = []*structs.GroupVolume{{Name: "x", Type: structs.HostVolume, Source: source, ReadOnly: readOnly}}
		n.Group.Tasks[0].VolumeMounts = []*structs.VolumeMount{{Volume: "x", Destination: "/x", Propagation: x}}
		_, err := provide(t, v, n)
		return err
	}
	if err := spread("rw", false, structs.PropagationBidirectional); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("bidirectional: %v", err)
	}
	if err := spread("ro", true, structs.PropagationHostToTask); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("host-to-task of what is for reading: %v", err)
	}
	if err := spread("ro", true, structs.PropagationPrivate); err != nil {
		t.Errorf("private: %v", err)
	}
	if _, err := ask("none", false); structs.KindOf(err) != structs.NotFound {
		t.Errorf("unknown: %v", err)
	}
	if _, err := ask("gone", false); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("missing: %v", err)
	}
}

// What was given is read back from the node's records as it was, for each task.
func TestWhatWasGivenIsRecorded(t *testing.T) {
	n := need("aa", 1, data(structs.AccessShared, false))
	n.Group.Tasks = append(n.Group.Tasks, &structs.Task{Name: "u"}, &structs.Task{Name: "v", VolumeMounts: []*structs.VolumeMount{
		{Volume: "data", Destination: "/a", ReadOnly: true}, {Volume: "data", Destination: "/b"}}})
	given := &store.Given{}
	if err := open(t, filepath.Join(t.TempDir(), "volumes"), nil).Provide(t.Context(), n, given); err != nil {
		t.Fatal(err)
	}
	if len(given.Mounts["t"]) != 1 || len(given.Mounts["v"]) != 2 || given.Mounts["t"][0].ReadOnly || !given.Mounts["v"][0].ReadOnly || given.Mounts["v"][1].ReadOnly {
		t.Errorf("%+v", given.Mounts)
	}
}

// What the region said of a volume of a plugin is forgotten when it is attached to the node no more.
func TestTakenBack(t *testing.T) {
	v, err := Open(filepath.Join(t.TempDir(), "volumes"), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	x := structs.Volume{Name: "v", ID: "v", CSI: &structs.CSIVolume{Plugin: "p", Secrets: structs.Secrets{"k": "hidden"},
		Attached: map[structs.NodeID]*structs.Attachment{"n": {State: structs.Attached}}}}
	v.Take([]*structs.Volume{&x}, false)
	if v.region["v"] == nil {
		t.Error("it is not noted")
	}
	v.Take([]*structs.Volume{{Name: "v", ID: "v", CSI: &structs.CSIVolume{Plugin: "p"}}}, false)
	if len(v.region) > 0 {
		t.Errorf("%+v", v.region)
	}
}

// plugged is storage with a volume of a plugin, which was staged for the claims.
func plugged(t *testing.T, claims ...string) (v *Volumes, stage string) {
	t.Helper()
	dir := t.TempDir()
	v = open(t, filepath.Join(dir, "volumes"), nil)
	var err error
	if v.Plugins, err = csi.Open(filepath.Join(dir, "csi"), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	stage = filepath.Join(dir, "csi", "mounts", "p", "0a01", "stage")
	if err := os.MkdirAll(stage, 0o700); err != nil {
		t.Fatal(err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.enter(&structs.Volume{Name: "v", ID: "0a01", CSI: &structs.CSIVolume{Plugin: "p", External: "e"}}); err != nil {
		t.Fatal(err)
	}
	for _, alloc := range claims {
		if err := v.note("v", structs.AllocID(alloc), "0a01", claim{}); err != nil {
			t.Fatal(err)
		}
	}
	return v, stage
}

// Who takes a volume back a second time, because the allocation ended while it was found to be unknown, leaves it to those that have it.
func TestTakenBackTwice(t *testing.T) {
	v, stage := plugged(t, "aa", "bb")
	for range 2 {
		if err := v.unplugOne(t.Context(), "0a01", "aa"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(stage); err != nil {
		t.Errorf("it is not staged any more for the other one: %v", err)
	}
	if entries, _ := os.ReadDir(v.path("0a01", claimsFolder)); len(entries) != 1 || entries[0].Name() != "bb" {
		t.Errorf("claims: %v", entries)
	}
}

// An agent that was killed before it noted who has a volume of a plugin, or after it took the last claim away, leaves no folder for ever.
func TestNothingHasIt(t *testing.T) {
	v, _ := plugged(t)
	v.known = func(structs.AllocID) bool { return true }
	v.tidy(t.Context())
	if ids := v.ids(); len(ids) > 0 {
		t.Errorf("left: %v", ids)
	}
	v, _ = plugged(t, "bb")
	v.known = func(structs.AllocID) bool { return true }
	v.tidy(t.Context())
	if ids := v.ids(); len(ids) != 1 {
		t.Errorf("one that is used went: %v", ids)
	}
}
