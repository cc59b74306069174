//go:build linux && system

package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// shelves is a storage of the tests: folders, which its plugin mounts. It is made with the gRPC that real plugins are made with.
type shelves struct {
	*region
	plugin, root string
}

func newShelves(r *region) *shelves {
	r.t.Helper()
	s := &shelves{region: r, plugin: filepath.Join(r.dir, "folders"), root: filepath.Join(r.dir, "storage")}
	build := exec.Command("go", "build", "-C", "../csi", "-o", s.plugin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		r.t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	for _, dir := range []string{s.root, filepath.Join(s.root, "fault")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	r.t.Cleanup(func() { // before the region's folder goes
		for _, at := range s.mounts("") {
			unix.Unmount(at, unix.MNT_DETACH)
		}
		loops, _ := filepath.Glob(filepath.Join(s.root, "volumes", "*", "loop-on-*"))
		for _, at := range loops {
			raw, _ := os.ReadFile(at)
			exec.Command("losetup", "--detach", strings.TrimSpace(string(raw))).Run()
		}
	})
	return s
}

// mounts returns what is mounted below the folder of the region, newest first, where the path has a part.
func (s *shelves) mounts(part string) (out []string) {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if words := strings.Fields(line); len(words) > 4 && strings.HasPrefix(words[4], s.dir+"/") && strings.Contains(words[4], part) {
			out = append([]string{words[4]}, out...)
		}
	}
	return out
}

// job runs the plugin on count nodes.
func (s *shelves) job(count int, more string) string {
	return fmt.Sprintf(`job "folders" {
  group "g" {
    count = %d
    constraint {
      operator = "distinct_hosts"
    }
    task "plugin" {
      user = "root"
      config {
        command   = %q
        args      = ["-root", %q, "-node", "${node.name}"%s]
        isolation = "none"
      }
      csi_plugin {
        id = "folders"
      }
      resources {
        cpu    = 0.05
        memory = "64MiB"
      }
    }
  }
}
`, count, s.plugin, s.root, more)
}

// container runs the plugin as a container that may mount.
func (s *shelves) container() string {
	return fmt.Sprintf(`job "folders" {
  group "g" {
    task "plugin" {
      driver = "docker"
      config {
        image      = "busybox:1.36"
        command    = %q
        args       = ["-root", %q, "-node", "${node.name}"]
        cap_add    = ["sys_admin"]
        volumes    = [%q, %q]
      }
      csi_plugin {
        id = "folders"
      }
    }
  }
}
`, s.plugin, s.root, s.plugin+":"+s.plugin+":ro", s.root+":"+s.root)
}

// fault has a method of the plugin fail; empty: not any more.
func (s *shelves) fault(method, how string) {
	s.t.Helper()
	at := filepath.Join(s.root, "fault", method)
	err := os.WriteFile(at, []byte(how), 0o600)
	if how == "" {
		err = os.Remove(at)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// called counts the calls in the plugin's log that begin like this.
func (s *shelves) called(begin string) (n int) {
	raw, _ := os.ReadFile(filepath.Join(s.root, "log"))
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, begin) {
			n++
		}
	}
	return n
}

// attached lists the nodes that the storage has let have a volume.
func (s *shelves) attached() (out []string) {
	at, _ := filepath.Glob(filepath.Join(s.root, "volumes", "*", "attached", "*"))
	for _, path := range at {
		out = append(out, filepath.Base(path))
	}
	return out
}

// held waits until a method of the plugin hangs, as fault says.
func (s *shelves) held(method string) {
	s.t.Helper()
	await(s.t, method+" hangs", func() error {
		_, err := os.Stat(filepath.Join(s.root, "fault", method+".held"))
		return err
	})
}

// there makes a volume in the storage that the region does not know.
func (s *shelves) there(id string) (data string) {
	s.t.Helper()
	at := filepath.Join(s.root, "volumes", id)
	for _, dir := range []string{"data", "attached"} {
		if err := os.MkdirAll(filepath.Join(at, dir), 0o777); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(at, "data"), 0o777); err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(at, "data")
}

// gone waits until the region has no volume of the name.
func (s *shelves) gone(a *agent, name string) {
	s.t.Helper()
	await(s.t, "volume "+name+" is gone", func() error {
		if out := a.must("volume", "list"); strings.Contains(out, name) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

func (s *shelves) awaitAttached(want string) {
	s.t.Helper()
	await(s.t, "the storage says "+want, func() error {
		if got := fmt.Sprint(s.attached()); got != want {
			return fmt.Errorf("it is attached to %s", got)
		}
		return nil
	})
}

// TestCSI: a volume of a storage plugin that runs as a job goes where its work goes, through kills of agents in the middle of calls, a plugin
// that is not there when it is needed, and the death of a node. Its storage never has two nodes that write, and nothing stays behind.
func TestCSI(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "15s" // for longer than an agent needs to be there again
	s := r.agent("s", "-server", "-bootstrap-expect", "1")
	nodes := map[string]*agent{}
	for _, name := range []string{"a", "b"} {
		nodes[name] = r.client(name)
	}
	p := newShelves(r)
	r.startAll()
	r.nodes(structs.NodeReady, 2)

	// Work waits for a volume, and that for its plugin.
	work := stored(service("work", 1, "echo $PROFFER_INCARNATION >>/data/log; sleep 1000000"), "")
	r.submit(work)
	secrets := r.file("secrets", "key=sesame-open\n")
	s.must("volume", "create", "-plugin", "folders", "-size", "10MiB", "-parameter", "secret=sesame-open", "-secrets", secrets, "data")
	await(t, "it says what is missing", func() error {
		if out := s.must("job", "explain", "work"); !strings.Contains(out, `its controller runs on no node`) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	r.submit(p.job(2, ""))
	first := r.allocs("work", 1)[0]
	p.awaitAttached("[" + first.NodeName + "]")
	if out := s.must("volume", "status", "data"); !strings.Contains(out, "attached since") || !strings.Contains(out, "writes, alone") {
		t.Errorf("%s", out)
	}
	if out := s.must("volume", "status", "-json", "data"); strings.Contains(strings.ReplaceAll(out, `"secret": "sesame-open"`, ""), "sesame-open") {
		t.Errorf("a secret is shown: %s", out)
	}
	written := func(by ...*structs.Allocation) {
		t.Helper()
		want := ""
		for _, x := range by {
			want += fmt.Sprintln(x.Incarnation)
		}
		await(t, "the storage has what the tasks wrote", func() error {
			raw, err := os.ReadFile(filepath.Join(p.root, "volumes", "vol-proffer-"+string(first.Volumes[0].ID), "data", "log"))
			if string(raw) != want {
				return fmt.Errorf("it has %q, want %q: %v", raw, want, err)
			}
			return nil
		})
	}
	written(first)

	// It grows while it is used.
	s.must("volume", "resize", "data", "20MiB")
	await(t, "it has grown on its node", func() error {
		raw, err := os.ReadFile(filepath.Join(p.root, "volumes", "vol-proffer-"+string(first.Volumes[0].ID), "grown-on-"+first.NodeName))
		if err != nil || string(raw) != "20971520" {
			return fmt.Errorf("%q, %v", raw, err)
		}
		return nil
	})

	// Its release hangs, its agent is killed, and goes on afterwards. Another one does its part and fails then.
	here := nodes[first.NodeName]
	p.fault("NodeUnpublishVolume", "hang")
	s.must("job", "stop", "work")
	await(t, "the task has ended", func() error {
		if left := here.tasks(); len(left) != 1 {
			return fmt.Errorf("processes %v", left)
		}
		return nil
	})
	here.kill()
	here.start()
	p.fault("NodeUnstageVolume", "late")
	p.fault("NodeUnpublishVolume", "")
	await(t, "it was unstaged, and nobody heard of it", func() error {
		if p.called("NodeUnstageVolume") == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	p.fault("NodeUnstageVolume", "")
	p.awaitAttached("[]")
	if left := p.mounts("/mounts/"); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}

	// The agent is killed while a volume is staged.
	p.fault("NodeStageVolume", "hang")
	r.submit(work + "# again\n")
	s.proffer("job", "restart", "work")
	var on string
	await(t, "it is attached", func() error {
		if at := p.attached(); len(at) == 1 {
			on = at[0]
			return nil
		}
		return fmt.Errorf("%s", s.must("job", "explain", "work"))
	})
	nodes[on].kill()
	p.fault("NodeStageVolume", "")
	nodes[on].start()
	second := r.allocs("work", 1)[0]
	if second.NodeName != on {
		t.Errorf("it is on %s, and not on %s", second.NodeName, on)
	}
	written(first, second)

	// The node dies. The storage takes the volume back from it before the other node has it.
	nodes[on].crash()
	var third *structs.Allocation
	await(t, "the work is placed again", func() error {
		if third = r.allocs("work", 1)[0]; third.ID == second.ID {
			return fmt.Errorf("it is where it was")
		}
		return nil
	})
	if third.NodeName == on || third.Incarnation <= second.Incarnation {
		t.Errorf("from %s with %d to %s with %d", on, second.Incarnation, third.NodeName, third.Incarnation)
	}
	p.awaitAttached("[" + third.NodeName + "]")

	// The dead node comes back and clears up what it had.
	nodes[on].start()
	r.nodes(structs.NodeReady, 2)
	await(t, "the node has cleared up", func() error {
		if left := p.mounts("/" + on + "/client/csi/mounts/folders/"); len(left) > 0 {
			return fmt.Errorf("mounts are left: %v", left)
		}
		return nil
	})

	// The node that has it is marked gone while it is there: it lets the volume go itself, and the other one has it. Its own disk is lost with it.
	s.must("volume", "create", "-node", third.NodeName, "-size", "10MiB", "own")
	taken := p.called("ControllerUnpublishVolume")
	if out := s.must("node", "purge", "-gone", third.NodeName); !strings.Contains(out, "Lost with it: 1 volume own.") {
		t.Errorf("%s", out)
	}
	var fourth *structs.Allocation
	await(t, "the work is placed once more", func() error {
		if fourth = r.allocs("work", 1)[0]; fourth.ID == third.ID {
			return fmt.Errorf("it is where it was")
		}
		return nil
	})
	if fourth.NodeName == third.NodeName {
		t.Errorf("it is on %s again", third.NodeName)
	}
	await(t, "the storage has what the last one wrote", func() error {
		raw, err := os.ReadFile(filepath.Join(p.root, "volumes", "vol-proffer-"+string(first.Volumes[0].ID), "data", "log"))
		if want := fmt.Sprintln(fourth.Incarnation); !strings.HasSuffix(string(raw), want) {
			return fmt.Errorf("it has %q, want %q: %v", raw, want, err)
		}
		return nil
	})
	p.awaitAttached("[" + fourth.NodeName + "]")
	if n := p.called("ControllerUnpublishVolume"); n == taken {
		t.Error("its storage was not asked to take it back")
	}
	await(t, "nothing is mounted on the node that is gone", func() error {
		if left := p.mounts("/" + third.NodeName + "/client/csi/mounts/folders/"); len(left) > 0 {
			return fmt.Errorf("mounts are left: %v", left)
		}
		return nil
	})
	p.gone(s, "own ") // with the node

	// All is stopped and deleted.
	s.must("job", "stop", "-purge", "work")
	p.awaitAttached("[]")
	s.must("volume", "delete", "-purge", "data")
	await(t, "the volume is gone", func() error {
		left, _ := filepath.Glob(filepath.Join(p.root, "volumes", "*"))
		if out := s.must("volume", "list"); len(left) > 0 || !strings.Contains(out, "There are no volumes.") {
			return fmt.Errorf("%v, %s", left, out)
		}
		return nil
	})
	if raw, _ := os.ReadFile(filepath.Join(p.root, "log")); strings.Contains(string(raw), "FailedPrecondition") {
		t.Errorf("the storage was asked for what must not be:\n%s", raw)
	}
	s.must("job", "stop", "-purge", "folders")
	for name, a := range nodes {
		if raw, _ := os.ReadFile(a.log); strings.Contains(string(raw), "sesame-open") {
			t.Errorf("node %s wrote a secret to its log", name)
		}
	}
	if raw, _ := os.ReadFile(s.log); strings.Contains(string(raw), "sesame-open") {
		t.Error("the server wrote a secret to its log")
	}
	if left := p.mounts("/csi/mounts/"); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
}

// TestCSIContainer: a plugin in a container mounts for tasks outside, a node that drains keeps it until its volumes are gone, and what it
// mounted in is gone with it.
func TestCSIContainer(t *testing.T) {
	e := dockerEngine(t)
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	p := newShelves(r)
	a.inClient = fmt.Sprintf("  docker {\n    endpoint   = %q\n    capabilities = [\"sys_admin\"]\n    host_paths = [%q]\n  }\n", e.Endpoint(), r.dir)
	r.startAll()
	r.submit(p.container())
	r.allocs("folders", 1)
	a.must("volume", "create", "-plugin", "folders", "-size", "10MiB", "data")
	r.submit(stored(service("work", 1, "echo was here >>/data/log; sleep 1000000"), ""))
	work := r.allocs("work", 1)[0]
	at := filepath.Join(p.root, "volumes", "vol-proffer-"+string(work.Volumes[0].ID), "data", "log")
	await(t, "the task has written to the storage", func() error {
		raw, err := os.ReadFile(at)
		if string(raw) != "was here\n" {
			return fmt.Errorf("%q, %v", raw, err)
		}
		return nil
	})

	p.fault("NodeUnpublishVolume", "hang")
	a.must("node", "drain", "-detach", "-deadline", "1s", string(work.Node))
	await(t, "the work is being stopped", func() error {
		if now, _, err := r.api().Allocation(t.Context(), string(work.ID), nil); err != nil || now.Desired != structs.DesiredStop {
			return fmt.Errorf("not yet: %v", err)
		}
		return nil
	})
	if plugin := r.allocOf("folders"); plugin.Desired != structs.DesiredRun {
		t.Errorf("the plugin is stopped before the volumes are gone: %s", plugin.DesiredWhy)
	}
	p.fault("NodeUnpublishVolume", "")
	await(t, "the node is empty", func() error {
		left := p.mounts("/csi/mounts")
		if all := a.tasks(); len(left)+len(all)+containers(t, e, false) > 0 {
			return fmt.Errorf("mounts %v, processes %v", left, all)
		}
		return nil
	})
	p.awaitAttached("[]")
}

// TestCSIRegistered: what is said to be in a storage is asked for before it is used, a group has its volumes made where it goes, and a
// volume whose storage does not answer any more can be forgotten.
func TestCSIRegistered(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	p := newShelves(r)
	r.startAll()
	shelf := p.there("shelf-1")
	// The command waits for some seconds for what the storage says. On a slow machine that is told later, by another command.
	register := func(name, id, access, want string) {
		t.Helper()
		out := a.must("volume", "create", "-plugin", "folders", "-external", id, "-access", access, "-volume-context", "folder="+id, name)
		if strings.Contains(out, "has not said yet") {
			await(t, "the storage says something of "+name, func() error {
				if out = a.must("volume", "status", name); strings.Contains(out, "not yet") && !strings.Contains(out, "plugin \"folders\"") {
					return fmt.Errorf("%s", out)
				}
				return nil
			})
		}
		if !strings.Contains(out, want) || want == "" && (strings.Contains(out, "plugin is asked") || strings.Contains(out, "not yet")) {
			t.Errorf("of %s it says %s", name, out)
		}
	}
	register("early", "shelf-0", "exclusive", "plugin \"folders\": its controller runs on no node")
	r.submit(p.job(1, `, "-zone", "east"`))
	r.allocs("folders", 1)
	await(t, "it is asked for", func() error {
		if out := a.must("volume", "status", "early"); !strings.Contains(out, `plugin "folders" has no volume "shelf-0"`) || !strings.Contains(out, "not yet") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	if out := a.proffer("volume", "delete", "-forget", "early"); out.code != 0 {
		t.Errorf("%s", out)
	}
	p.gone(a, "early")

	register("data", "shelf-1", "exclusive", "")
	r.submit(stored(service("work", 1, "echo was here >/data/log; sleep 1000000"), ""))
	r.allocs("work", 1)
	await(t, "the task has written to the storage", func() error {
		raw, err := os.ReadFile(filepath.Join(shelf, "log"))
		if string(raw) != "was here\n" {
			return fmt.Errorf("%q, %v", raw, err)
		}
		return nil
	})
	narrow := p.there("shelf-2")
	if err := os.WriteFile(filepath.Join(filepath.Dir(narrow), "single"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	register("wide", "shelf-2", "shared", "it is for one node")

	// Two allocations have the plugin make one each, in the place where the node is.
	volume := "size = \"10MiB\"\nper_alloc = true\nplugin = \"folders\"\nparameters {\n  tier = \"fast\"\n}"
	r.submit(strings.ReplaceAll(stored(service("own", 2, "echo $PROFFER_INDEX >/data/log; sleep 1000000"), volume), `"data"`, `"own"`))
	r.allocs("own", 2)
	for _, index := range []string{"0", "1"} {
		v, _, err := r.api().Volume(t.Context(), "own."+index, nil)
		if err != nil {
			t.Fatal(err)
		}
		if v.Job != "own" || !v.CSI.Made || v.CSI.Parameters["tier"] != "fast" || fmt.Sprint(v.CSI.Topology) != "[map[zone:east]]" {
			t.Errorf("%+v, %+v", v.Volume, v.CSI)
		}
		at := filepath.Join(p.root, "volumes", v.CSI.External, "data", "log")
		await(t, "its task has written to it", func() error {
			raw, err := os.ReadFile(at)
			if string(raw) != index+"\n" {
				return fmt.Errorf("%q, %v", raw, err)
			}
			return nil
		})
	}
	a.must("job", "stop", "-purge", "own")
	p.awaitAttached("[a]") // of work

	// A block device is one for the task that asked for it, and is taken off the node with it.
	raw := strings.ReplaceAll(stored(service("raw", 1, "echo was here | dd of=/dev/store conv=notrunc,fsync 2>/dev/null; sleep 1000000"),
		"size = \"1MiB\"\nplugin = \"folders\"\naccess_type = \"block\""), `"data"`, `"raw"`)
	r.submit(strings.Replace(raw, `"/data"`, `"/dev/store"`, 1))
	device := r.allocs("raw", 1)[0].Volumes[0]
	onDisk := filepath.Join(p.root, "volumes", "vol-proffer-"+string(device.ID), "image")
	await(t, "the task has written to its device", func() error {
		raw, err := os.ReadFile(onDisk)
		if err != nil || !strings.HasPrefix(string(raw), "was here\n") {
			return fmt.Errorf("%.20q, %v", raw, err)
		}
		return nil
	})
	if out := a.must("volume", "status", "raw"); !strings.Contains(out, "a block device") {
		t.Errorf("%s", out)
	}
	r.submit(stored(service("files", 1, "sleep 1000000"), `source = "raw"`))
	await(t, "it says that this is no folder", func() error {
		if out := a.must("job", "explain", "files"); !strings.Contains(out, "it has access_type block") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	a.must("job", "stop", "-purge", "files")
	a.must("job", "stop", "-purge", "raw")
	p.awaitAttached("[a]") // of work
	if out, err := exec.Command("losetup", "--associated", onDisk).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
	if left := p.mounts(string(device.ID)); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
	a.must("volume", "delete", "-purge", "raw")
	p.gone(a, "raw")

	// The storage does not remove it. It is forgotten, and stays there.
	p.fault("DeleteVolume", "hang")
	a.must("volume", "delete", "-purge", "own.0")
	p.held("DeleteVolume")
	if out := a.must("volume", "status", "own.0"); !strings.Contains(out, "purging") {
		t.Errorf("%s", out)
	}
	a.must("volume", "delete", "-forget", "own.0")
	p.gone(a, "own.0")
	if left, _ := filepath.Glob(filepath.Join(p.root, "volumes", "vol-proffer-*")); len(left) != 2 {
		t.Errorf("the storage has %v", left)
	}
	p.fault("DeleteVolume", "")
	a.must("volume", "delete", "-purge", "own.1")
	p.gone(a, "own.1")

	// One that is used is not forgotten.
	if out := a.proffer("volume", "delete", "-forget", "data"); out.code == 0 || !strings.Contains(out.errout, "uses it") {
		t.Errorf("%s", out)
	}
	a.must("job", "stop", "-purge", "work")
	p.awaitAttached("[]")
	a.must("volume", "delete", "-purge", "data")
	p.gone(a, "data")
	if _, err := os.Stat(filepath.Join(shelf, "log")); err != nil {
		t.Errorf("what was there before is gone with its record: %v", err)
	}
}

// TestCSILeaders: a leader that dies while the storage is asked leaves the call to the next one, which ends what was begun, once.
func TestCSILeaders(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	for _, name := range []string{"s1", "s2", "s3"} {
		r.server(name, "-bootstrap-expect", "3")
	}
	n := r.client("n")
	p := newShelves(r)
	r.startAll()
	r.submit(p.job(1, ""))
	r.allocs("folders", 1)

	var dead *agent
	next := func(method string) { // while a call of the leader hangs, there is another one
		t.Helper()
		p.held(method)
		if dead != nil {
			dead.start()
		}
		dead = r.leader()
		dead.kill()
		r.leader()
		p.fault(method, "")
	}
	p.fault("CreateVolume", "hang")
	p.fault("ControllerPublishVolume", "hang")
	r.submit(stored(service("work", 1, "echo was here >>/data/log; sleep 1000000"), "size = \"10MiB\"\nplugin = \"folders\""))
	next("CreateVolume")
	next("ControllerPublishVolume")
	work := r.allocs("work", 1)[0]
	await(t, "the task has written to the storage", func() error {
		raw, err := os.ReadFile(filepath.Join(p.root, "volumes", "vol-proffer-"+string(work.Volumes[0].ID), "data", "log"))
		if string(raw) != "was here\n" {
			return fmt.Errorf("%q, %v", raw, err)
		}
		return nil
	})
	p.awaitAttached("[n]")
	p.fault("ControllerUnpublishVolume", "hang")
	r.up()[0].must("job", "stop", "-purge", "work")
	next("ControllerUnpublishVolume")
	p.awaitAttached("[]")
	await(t, "the region knows", func() error {
		v, _, err := r.api().Volume(t.Context(), "data", nil)
		if err == nil && len(v.CSI.Attached) > 0 {
			err = fmt.Errorf("%+v", v.CSI.Attached[work.Node])
		}
		return err
	})
	p.fault("DeleteVolume", "late") // it is removed, and nobody hears of it
	r.up()[0].must("volume", "delete", "-purge", "data")
	await(t, "it is removed", func() error {
		if left, _ := filepath.Glob(filepath.Join(p.root, "volumes", "*")); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})
	dead.start()
	dead = r.leader()
	dead.kill()
	r.leader()
	p.fault("DeleteVolume", "")
	p.gone(r.up()[0], "data")
	if raw, _ := os.ReadFile(filepath.Join(p.root, "log")); strings.Contains(string(raw), "FailedPrecondition") {
		t.Errorf("the storage was asked for what must not be:\n%s", raw)
	}
	if left := p.mounts("/" + n.name + "/client/csi/mounts/folders/"); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
}
