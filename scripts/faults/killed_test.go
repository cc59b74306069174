//go:build linux && system

package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/client/namespaces"
	"github.com/proffer/proffer/client/supervisor"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// patience bounds what must happen; it says nothing about how long it takes.
const patience = 5 * time.Minute

// machine is a node's folder, its supervisor, and what a start of the driver needs.
type machine struct {
	t   *testing.T
	ctx context.Context
	dir string
	setup
	sup    *supervisor.Client
	before map[string]bool
	hub    *httptest.Server
	wired  []string // what its network has without allocations
	fenced bool
	boots  int // how often it was switched off
}

// setup is what allocations have.
type setup struct {
	driver  string
	network string // mode
	image   string
	engine  *dockertest.Engine
	rules   *string // of CNI plugins that stay; nil: they are not compared
}

func newMachine(t *testing.T, with setup) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "pf") // not t.TempDir: tasks of other users go through
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	if err := os.Mkdir(filepath.Join(dir, "shared"), 0o777); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	m := &machine{t: t, ctx: ctx, dir: dir, setup: with}
	t.Cleanup(func() {
		if err := m.unplug(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := first(conflist(dir), m.boot()); err != nil {
		t.Fatal(err)
	}
	if m.wired, err = m.links(); err != nil {
		t.Fatal(err)
	}
	m.before = m.census()
	options, err := supervisorOptions(dir)
	if err != nil {
		t.Fatal(err)
	}
	if m.sup, err = supervisor.Connect(ctx, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		m.ctx = ctx
		f, err := m.sup.Features(ctx)
		if err := first(err, m.sup.Release(ctx), m.sup.Close()); err != nil {
			t.Fatal(err)
		}
		m.await("the supervisor to end", m.left)
		if groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + f.CgroupBase); len(groups) > 0 {
			t.Errorf("there is %s", groups[0])
		}
	})
	return m
}

func (m *machine) await(what string, so func() error) {
	m.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := so()
		if err == nil {
			return
		}
		if m.ctx.Err() == nil {
			last = err
		}
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			m.t.Fatalf("waited for %s: %v", what, last)
		}
	}
}

// census lists what belongs to this machine on the host: mounts, processes, cgroups, containers.
func (m *machine) census() map[string]bool {
	out := map[string]bool{}
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, m.dir) {
			out["mount "+line] = true
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		raw, _ := os.ReadFile(p)
		if p != fmt.Sprintf("/proc/%d/cmdline", os.Getpid()) && bytes.Contains(raw, []byte(m.dir)) {
			out["process "+p+" "+string(bytes.ReplaceAll(raw, []byte{0}, []byte(" ")))] = true
		}
	}
	if m.engine != nil {
		list, err := m.engine.API.ContainerList(m.ctx, client.ContainerListOptions{All: true})
		if err != nil {
			m.t.Fatal(err)
		}
		for _, c := range list.Items {
			out["container "+c.ID] = true
		}
	}
	return out
}

// left is what is on the host and was not there before.
func (m *machine) left() error {
	for what := range m.census() {
		if !m.before[what] {
			return fmt.Errorf("there is %s", what)
		}
	}
	return nil
}

// clean is what must hold once the allocation has ended and its driver has swept: beside the supervisor there is nothing.
func (m *machine) clean() error {
	tasks, err := m.sup.List(m.ctx)
	if err != nil {
		return err
	}
	if len(tasks) > 0 {
		return fmt.Errorf("the supervisor has %d tasks, such as %+v", len(tasks), tasks[0])
	}
	f, err := m.sup.Features(m.ctx)
	if err != nil {
		return err
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + f.CgroupBase + "/*/cgroup.procs")
	for _, g := range groups {
		if name := filepath.Base(filepath.Dir(g)); name != "supervisor" && name != "shared" { // those are the supervisor's
			return fmt.Errorf("there is the cgroup %s", g)
		}
	}
	for _, pattern := range []string{"containers/*/*", "images/holds/*", "images/tmp/*", "images/parts/*"} {
		if found, _ := filepath.Glob(filepath.Join(m.dir, pattern)); len(found) > 0 {
			return fmt.Errorf("there is %s", found[0])
		}
	}
	if err := m.connected(); err != nil {
		return err
	}
	for what := range m.census() {
		if !m.before[what] && !strings.Contains(what, "/supervisor ") && !strings.Contains(what, "proffer-stage") &&
			!strings.Contains(what, "/supervisor/") {
			return fmt.Errorf("there is %s", what)
		}
	}
	return nil
}

// job is a service whose task marks each of its starts.
func (m *machine) job() *structs.Job {
	script := `echo start >> /kept/marks; echo start >> ${PROFFER_ALLOC_DIR}/marks; echo "$$ of ` + m.dir + `"; trap 'exit 0' TERM; while :; do sleep 0.05; done`
	config := map[string]any{"command": "/bin/sh", "args": []any{"-c", script}}
	switch m.driver {
	case "docker":
		config["image"] = m.image
		config["mount"] = []any{map[string]any{"type": "bind", "source": "local/data", "target": "/data"}}
	case "oci":
		config["image"] = m.image
		config["mount"] = []any{map[string]any{"source": filepath.Join(m.dir, "shared"), "target": "/shared"}}
	}
	g := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "main", Driver: m.driver, Config: config}}}
	m.given(g)
	return &structs.Job{Name: "j", Type: structs.ServiceJob, Groups: []*structs.Group{g}}
}

// starts is how many starts of the task made their mark.
func (m *machine) starts() int {
	marks, _ := os.ReadFile(filepath.Join(m.dir, "client/allocs", allocID, "alloc/marks"))
	return strings.Count(string(marks), "start")
}

// child is an agent that runs.
type child struct {
	m     *machine
	cmd   *osexec.Cmd
	in    io.WriteCloser
	trap  *trap
	said  chan *structs.AllocUpdate // closed when it ended
	log   text
	ended chan error
}

// text is what a process writes.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}

// agent starts one that is killed before its nth change; 0: never.
func (m *machine) agent(at int64, stop bool) *child {
	m.t.Helper()
	o := orders{Dir: m.dir, Driver: m.driver, Boot: fmt.Sprint("boot-", m.boots), Job: m.job(), Stop: stop}
	if m.engine != nil {
		o.Endpoint = m.engine.Endpoint()
	}
	raw, err := json.Marshal(o)
	if err != nil {
		m.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	c := &child{m: m, cmd: osexec.Command(self), said: make(chan *structs.AllocUpdate, 1000), ended: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), agentEnv+"="+string(raw))
	c.cmd.Stderr = &c.log
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := namespaces.Inside(m.netns(), c.cmd.Start); err != nil {
		m.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var fd int
	if !lines.Scan() {
		m.t.Fatalf("the agent does not begin: %s", &c.log)
	}
	if _, err := fmt.Sscan(strings.TrimPrefix(lines.Text(), "ready "), &fd); err != nil {
		m.t.Fatal(lines.Text())
	}
	if c.trap, err = takeTrap(c.cmd.Process.Pid, fd, at); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.cmd.Process.Kill() }) // of a test that failed
	go c.trap.watch()
	go func() {
		defer close(c.said)
		for lines.Scan() {
			u := new(structs.AllocUpdate)
			if json.Unmarshal(lines.Bytes(), u) == nil {
				c.said <- u
			}
		}
		c.ended <- c.cmd.Wait()
	}()
	c.tell("begin")
	return c
}

func (c *child) tell(what string) { io.WriteString(c.in, what+"\n") }

// live takes the allocation to its end. False: the agent was killed before it. It is told to stop once it runs, and the start of that
// number has made its mark.
func (c *child) live(start int, stopping *bool) (whole bool) {
	c.m.t.Helper()
	for {
		select {
		case u, ok := <-c.said:
			switch {
			case !ok:
				return false
			case u.Status == structs.AllocFailed:
				c.m.t.Fatalf("it failed: %s\n%s", u.Why, &c.log)
			case u.Status == structs.AllocComplete:
				return true
			case u.Status == structs.AllocRunning && !*stopping:
				if *stopping = c.marked(start); *stopping {
					c.tell("stop")
				}
			}
		case <-c.m.ctx.Done():
			c.cmd.Process.Kill()
			<-c.trap.done
			c.m.t.Fatalf("it does not end\n%s", &c.log)
		}
	}
}

// marked waits until so many starts made their marks. False: the agent was killed before it, and nobody may start it.
func (c *child) marked(starts int) (marked bool) {
	c.m.await("the task to begin", func() error {
		select {
		case <-c.trap.done:
		default:
			if c.m.starts() < starts {
				return fmt.Errorf("it has not\n%s", &c.log)
			}
		}
		marked = c.m.starts() >= starts
		return nil
	})
	return marked
}

// leave ends the agent in order, once nothing is left of the allocation. False: it was killed before it ended.
func (c *child) leave() (whole bool) {
	c.m.t.Helper()
	c.m.await("nothing to be left", func() error {
		select {
		case <-c.trap.done:
			return nil // another one has to see to it
		default:
		}
		if err := c.m.clean(); err != nil {
			return fmt.Errorf("%w\n%s", err, &c.log)
		}
		return nil
	})
	c.tell("leave")
	c.in.Close()
	for range c.said {
	}
	err := <-c.ended
	<-c.trap.done
	if whole = c.trap.at == 0 || c.trap.seen.Load() < c.trap.at; err != nil && whole {
		c.m.t.Fatalf("%v\n%s", err, &c.log)
	}
	return whole
}

// kill runs a life whose agent is killed before its nth change, and another agent that goes on. It says whether there was an nth
// change.
func (m *machine) kill(n int64) (killed bool, changes int64) {
	m.t.Helper()
	m.fenced = m.driver != "docker" // which cannot keep it
	stopping := false
	c := m.agent(n, false)
	if !c.live(1, &stopping) {
		if err := <-c.ended; err == nil || c.trap.seen.Load() < n {
			m.t.Fatalf("the agent ended by itself: %v\n%s", err, &c.log)
		}
		killed = true
		c = m.agent(0, stopping)
		if !c.live(1, &stopping) {
			m.t.Fatalf("the second agent ended: %v\n%s", <-c.ended, &c.log)
		}
	}
	changes = c.trap.seen.Load()
	if !c.leave() {
		killed, stopping = true, true
		c = m.agent(0, true)
		if !c.live(1, &stopping) || !c.leave() {
			m.t.Fatalf("the last agent ended\n%s", &c.log)
		}
	}
	if starts := m.starts(); starts > 2 || starts == 0 || !killed && starts != 1 || m.written() < starts || m.written() > 2 {
		m.t.Errorf("killed before change %d: the task was started %d times, and the volume has %d\n%s", n, starts, m.written(), &c.log)
	}
	return killed, max(changes, c.trap.seen.Load())
}

// switchOff does to the machine what a loss of power does: everything but the disk is gone.
func (m *machine) switchOff(c *child) {
	m.t.Helper()
	c.cmd.Process.Kill()
	for range c.said {
	}
	<-c.ended
	pid, err := m.sup.PID(m.ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	f, err := m.sup.Features(m.ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	m.sup.Close()
	if m.engine != nil {
		m.await("all containers to end", func() error { // the engine may not know yet that one runs
			list, err := m.engine.API.ContainerList(m.ctx, client.ContainerListOptions{All: true})
			if err != nil {
				m.t.Fatal(err)
			}
			for _, c := range list.Items {
				if c.State != container.StateExited {
					_, err = m.engine.API.ContainerKill(m.ctx, c.ID, client.ContainerKillOptions{Signal: "9"})
					return fmt.Errorf("%s is %s: %v", c.ID, c.State, err)
				}
			}
			return nil
		})
	}
	unix.Kill(pid, unix.SIGKILL)
	m.await("all processes to end", func() error {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + f.CgroupBase + "/*")
		for _, g := range groups {
			raw, _ := os.ReadFile(g + "/cgroup.procs")
			for _, line := range strings.Fields(string(raw)) {
				if pid, err := strconv.Atoi(line); err == nil {
					unix.Kill(pid, unix.SIGKILL)
				}
			}
			if err := os.Remove(g); err != nil && os.IsExist(err) || errors.Is(err, unix.EBUSY) {
				return err
			}
		}
		return nil
	})
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + f.CgroupBase)
	for _, g := range groups {
		os.Remove(g)
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], m.dir+"/") {
			unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	for _, name := range []string{"table", "slots", "supervisor.sock"} { // what a supervisor drops that finds another boot
		os.Remove(filepath.Join(m.dir, "supervisor", name))
	}
	m.boots++
	if err := first(m.unplug(), m.boot()); err != nil {
		m.t.Fatal(err)
	}
	with, err := supervisorOptions(m.dir)
	if err == nil {
		m.sup, err = supervisor.Connect(m.ctx, with)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// each runs a test with each driver that runs tasks, and with each kind of network.
func each(t *testing.T, f func(t *testing.T, with setup)) {
	t.Run("exec", func(t *testing.T) { f(t, setup{driver: "exec", network: structs.NetworkBridge}) })
	t.Run("oci", func(t *testing.T) {
		f(t, setup{driver: "oci", network: structs.NetworkCNI + "test", image: hubAddress + "/busybox:1", rules: new(string)})
	})
	t.Run("docker", func(t *testing.T) {
		e, err := dockertest.Start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := e.End(); err != nil {
				t.Error(err)
			}
		})
		f(t, setup{driver: "docker", network: structs.NetworkBridge, image: "busybox:test", engine: e})
	})
}

// TestKilled: the agent is killed with -9 before any change of the world that the start and the stop of a task make, and another one
// goes on: the task ends as it was wanted, and nothing of it is left. Then the machine is switched off while it runs: the task is
// started again, and of the old one nothing is left either.
func TestKilled(t *testing.T) { killed(t, 5) }

// killed kills an agent before so many of the changes of a life; 0: before each of them.
func killed(t *testing.T, tries int) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	each(t, func(t *testing.T, with setup) {
		_, all := newMachine(t, with).kill(0)
		t.Logf("a life makes %d changes", all)
		points := random.Perm(int(all))
		if tries > 0 {
			points = points[:min(tries, len(points))]
		}
		slices.Sort(points)
		tried, deaths := 0, 0
		for _, n := range points {
			t.Run(fmt.Sprint(n+1), func(t *testing.T) {
				tried++
				if killed, _ := newMachine(t, with).kill(int64(n) + 1); killed {
					deaths++
				}
			})
		}
		if deaths < tried/2 {
			t.Errorf("only %d of %d agents were killed", deaths, tried)
		}
		t.Run("power", func(t *testing.T) {
			m := newMachine(t, with)
			c := m.agent(0, false)
			c.marked(1)
			m.switchOff(c)
			c = m.agent(0, false)
			stopping := false
			if !c.live(2, &stopping) {
				t.Fatalf("the second agent ended: %v\n%s", <-c.ended, &c.log)
			}
			c.leave()
			if starts := m.starts(); starts != 2 || m.written() < 2 {
				t.Errorf("the task was started %d times, and the volume has %d", starts, m.written())
			}
		})
	})
}
