//go:build linux && system

package system

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// regions counts the regions of this process: each one has addresses of its own.
var regions atomic.Int32

// region is a region made of real processes on this machine. Everything of it is gone when its test has ended.
type region struct {
	t      *testing.T
	name   string
	dir    string // of the test
	key    string
	token  string // of the HTTP API; empty: none
	lease  string // of nodes; by default none is lost while its agent is killed and started, however slow this machine is
	more   string // further lines of every configuration
	http   int    // port of the API
	number int

	agents  []*agent
	eyes    *agent   // whom the tests ask; nil: the first one that runs
	network *network // nil: the agents have addresses of the loopback device
}

// agent is one `proffer agent`, which may be started and killed more than once.
type agent struct {
	region *region
	name   string
	addr   string
	dir    string // data folder
	log    string // file
	args   []string
	space  string   // network namespace; empty: that of the tests
	binary string   // program; empty: the one that was built
	env    []string // beside that of the tests

	inClient string // further lines of the client block

	client *api.Client   // made by api
	cmd    *exec.Cmd     // nil: it does not run
	done   chan struct{} // closed when the process ended
}

func newRegion(t *testing.T) *region {
	t.Helper()
	number := int(regions.Add(1))
	key := make([]byte, 32)
	rand.Read(key)
	r := &region{t: t, number: number, name: fmt.Sprintf("r%d-%d", os.Getpid(), number), lease: "10m", http: ports.http,
		dir: filepath.Join(root, strings.NewReplacer("/", "-", " ", "-").Replace(t.Name())+"-"+strconv.Itoa(number)),
		key: base64.StdEncoding.EncodeToString(key)}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.end)
	return r
}

// end ends all processes of the region, looks for what the race detector found, and prints the logs if the test failed.
func (r *region) end() {
	for _, a := range r.agents {
		a.kill()
		a.api().Close()
	}
	for {
		mine := r.processes()
		if len(mine) == 0 {
			break
		}
		for _, pid := range mine {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	for _, a := range r.agents {
		a.removeGroups()
		text, _ := os.ReadFile(a.log)
		for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "fatal error: "} {
			if i := bytes.Index(text, []byte(bad)); i >= 0 {
				r.t.Errorf("agent %s: %s", a.name, text[i:min(len(text), i+6000)])
			}
		}
	}
	if !r.t.Failed() {
		os.RemoveAll(r.dir)
		return
	}
	for _, a := range r.agents {
		text, _ := os.ReadFile(a.log)
		cut := ""
		if len(text) > 24_000 {
			cut, text = "[…] ", text[len(text)-24_000:]
		}
		r.t.Logf("log of agent %s:\n%s%s", a.name, cut, text)
	}
}

// removeGroups removes the control groups of the node, which a supervisor that was killed leaves for the next one.
func (a *agent) removeGroups() {
	sum := fnv.New32a()
	sum.Write([]byte(filepath.Join(a.dir, "supervisor")))
	for _, pattern := range []string{"/sys/fs/cgroup/proffer/%08x", "/sys/fs/cgroup/*/proffer/%08x"} {
		tops, _ := filepath.Glob(fmt.Sprintf(pattern, sum.Sum32()))
		for _, top := range tops {
			var groups []string
			filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					groups = append(groups, path)
				}
				return nil
			})
			for _, group := range slices.Backward(groups) {
				os.Remove(group)
			}
		}
	}
}

// processes returns those of the region that are alive: agents and supervisors by their arguments, tasks by their
// environment, and what is below them.
func (r *region) processes() (mine []int) {
	for _, pid := range descendants(os.Getppid()) {
		if pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if bytes.Contains(args, []byte(r.dir+"/")) || bytes.Contains(env, []byte("PROFFER_REGION="+r.name+"\x00")) {
			mine = append(append(mine, pid), descendants(pid)...)
		}
	}
	return mine
}

// server and client describe an agent that is not started yet.
func (r *region) server(name string, args ...string) *agent {
	return r.agent(name, append([]string{"-server"}, args...)...)
}

func (r *region) client(name string, args ...string) *agent {
	return r.agent(name, append([]string{"-client"}, args...)...)
}

func (r *region) agent(name string, args ...string) *agent {
	r.t.Helper()
	a := &agent{region: r, name: name, dir: filepath.Join(r.dir, name), log: filepath.Join(r.dir, name+".log"), args: args}
	place := len(r.agents) + 1
	if r.network != nil {
		a.space, a.addr = r.network.join(place)
	} else {
		a.addr = fmt.Sprintf("127.77.%d.%d", r.number%250+1, place)
	}
	r.agents = append(r.agents, a)
	return a
}

// config is the text of the agent's configuration file.
func (a *agent) config() string {
	r := a.region
	text := fmt.Sprintf("region  = %q\nencrypt = [%q]\nlease   = %q\n", r.name, r.key, r.lease)
	if r.token != "" {
		text += fmt.Sprintf("token = %q\n", r.token)
	}
	if slices.Contains(a.args, "-client") {
		// The disk of the machine may be fuller than nodes like it, which then remove what has ended and take no more work.
		text += "client {\n  isolation_none = true\n  gc {\n    disk_use  = 100\n    disk_full = 100\n  }\n  resources {\n    cpu    = 64\n    memory = \"64GiB\"\n    disk   = \"64GiB\"\n  }\n" + a.inClient + "}\n"
	}
	return text + r.more
}

// command is the command line of the agent.
func (a *agent) command() []string {
	args := []string{"agent", "-config", a.writeConfig(), "-node-name", a.name, "-data-dir", a.dir, "-bind", a.addr,
		"-http-port", strconv.Itoa(a.region.http), "-executor-port", strconv.Itoa(ports.executor), "-cluster-port", strconv.Itoa(ports.cluster)}
	for _, other := range a.region.agents {
		if other != a && len(args) < 40 {
			args = append(args, "-join", other.addr)
		}
	}
	return append(args, a.args...)
}

func (a *agent) writeConfig() string {
	path := a.dir + ".hcl"
	if err := os.WriteFile(path, []byte(a.config()), 0o600); err != nil {
		a.region.t.Fatal(err)
	}
	return path
}

// launch starts the agent's process and returns at once.
func (a *agent) launch() *agent {
	t := a.region.t
	t.Helper()
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintf(log, "---- start\n")
	name, args := binary, a.command()
	if a.binary != "" {
		name = a.binary
	}
	if a.space != "" {
		name, args = "nsenter", append([]string{"--net=/run/netns/" + a.space, name}, args...)
	}
	a.cmd = exec.Command(name, args...)
	a.cmd.Stdout, a.cmd.Stderr, a.cmd.Dir, a.cmd.Env = log, log, a.region.dir, append(os.Environ(), a.env...)
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := start(a.cmd); err != nil {
		t.Fatal(err)
	}
	a.done = make(chan struct{})
	go func() {
		a.cmd.Wait()
		close(a.done)
	}()
	return a
}

// start starts the agent and waits until its API answers.
func (a *agent) start() *agent {
	a.region.t.Helper()
	a.launch()
	a.await()
	return a
}

// await waits until the agent's API answers.
func (a *agent) await() {
	a.region.t.Helper()
	await(a.region.t, "agent "+a.name+" answers", func() error {
		select {
		case <-a.done:
			text, _ := os.ReadFile(a.log)
			a.region.t.Fatalf("agent %s ended: %s", a.name, text)
		default:
		}
		_, err := a.api().Self(a.region.t.Context())
		return err
	})
}

// kill is kill -9 of the agent's process alone.
func (a *agent) kill() {
	if a.cmd != nil {
		a.cmd.Process.Signal(unix.SIGKILL)
		<-a.done
		a.cmd = nil
	}
}

// stop ends the agent in order and returns its exit code.
func (a *agent) stop() int {
	a.signal(unix.SIGTERM)
	<-a.done
	code := a.cmd.ProcessState.ExitCode()
	a.cmd = nil
	return code
}

func (a *agent) signal(s os.Signal) {
	if err := a.cmd.Process.Signal(s); err != nil {
		a.region.t.Fatal(err)
	}
}

// supervisor returns the pid of the node's supervisor; 0: it has none.
func (a *agent) supervisor() int {
	for _, p := range processes() {
		args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
		if bytes.Contains(args, []byte("\x00supervisor\x00")) && bytes.Contains(args, []byte(a.dir+"/supervisor\x00")) {
			return p.pid
		}
	}
	return 0
}

// crash is the end of a node with everything on it: agent, supervisor, tasks.
func (a *agent) crash() {
	a.kill()
	a.killSupervisor()
	for _, pid := range a.tasks() {
		unix.Kill(pid, unix.SIGKILL)
	}
	await(a.region.t, "nothing runs on "+a.name, func() error {
		if left := a.tasks(); len(left) > 0 {
			return fmt.Errorf("processes %v are left", left)
		}
		return nil
	})
}

func (a *agent) killSupervisor() {
	pid := a.supervisor()
	if pid == 0 {
		a.region.t.Fatalf("node %s has no supervisor", a.name)
	}
	unix.Kill(pid, unix.SIGKILL)
	await(a.region.t, "the supervisor is dead", func() error {
		if alive(pid) {
			return fmt.Errorf("process %d lives", pid)
		}
		return nil
	})
}

// tasks returns the processes of the node's tasks.
func (a *agent) tasks() (pids []int) {
	for _, pid := range descendants(os.Getppid()) {
		env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		env = append([]byte{0}, env...)
		if bytes.Contains(env, []byte("\x00PROFFER_REGION="+a.region.name+"\x00")) && bytes.Contains(env, []byte("\x00PROFFER_NODE_NAME="+a.name+"\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (a *agent) url() string {
	return "http://" + net.JoinHostPort(a.addr, strconv.Itoa(a.region.http))
}

func (a *agent) api() *api.Client {
	if a.client == nil {
		c, err := api.New(api.Config{Address: a.url(), Token: a.region.token})
		if err != nil {
			a.region.t.Fatal(err)
		}
		a.client = c
	}
	return a.client
}

// up returns the agents whose process was started and not ended by the test.
func (r *region) up() (list []*agent) {
	for _, a := range r.agents {
		if a.cmd != nil {
			list = append(list, a)
		}
	}
	return list
}

// api is that of an agent that sees the region.
func (r *region) api() *api.Client {
	if r.eyes != nil {
		return r.eyes.api()
	}
	return r.up()[0].api()
}

// startAll starts all agents and waits until the region has a leader and its nodes are ready.
func (r *region) startAll() {
	r.t.Helper()
	for _, a := range r.agents {
		a.launch()
	}
	nodes := 0
	for _, a := range r.agents {
		a.await()
		if slices.Contains(a.args, "-client") {
			nodes++
		}
	}
	r.leader()
	r.nodes(structs.NodeReady, nodes)
}

// leader waits until every living server knows the same living leader, and returns it.
func (r *region) leader() (leader *agent) {
	r.t.Helper()
	await(r.t, "the region has a leader", func() error {
		leader = nil
		for _, a := range r.up() {
			if !slices.Contains(a.args, "-server") {
				continue
			}
			l, err := a.api().Leader(r.t.Context())
			if err != nil {
				return err
			}
			i := slices.IndexFunc(r.agents, func(b *agent) bool { return b.name == l.Name })
			switch {
			case i < 0 || r.agents[i].cmd == nil:
				return fmt.Errorf("%s says that %q leads", a.name, l.Name)
			case leader != nil && leader != r.agents[i]:
				return fmt.Errorf("%s says that %q leads, and another one %q", a.name, l.Name, leader.name)
			}
			leader = r.agents[i]
		}
		if leader == nil {
			return fmt.Errorf("no server is up")
		}
		return nil
	})
	return leader
}

// follower returns a living server that does not lead.
func (r *region) follower() *agent {
	leader := r.leader()
	for _, a := range r.up() {
		if a != leader && slices.Contains(a.args, "-server") {
			return a
		}
	}
	r.t.Fatal("no server follows")
	return nil
}

// nodes waits until so many nodes have a status.
func (r *region) nodes(status structs.NodeStatus, count int) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("%d nodes are %s", count, status), func() error {
		list, _, err := r.api().Nodes(r.t.Context(), nil)
		if err != nil {
			return err
		}
		n, text := 0, ""
		for _, node := range list {
			text += fmt.Sprintf(" %s:%s", node.Name, node.Status)
			if node.Status == status {
				n++
			}
		}
		if n != count {
			return fmt.Errorf("the nodes are%s", text)
		}
		return nil
	})
}

// node returns the record of an agent's node.
func (r *region) node(a *agent) *structs.Node {
	r.t.Helper()
	var found *structs.Node
	await(r.t, "node "+a.name+" is known", func() error {
		list, _, err := r.api().Nodes(r.t.Context(), nil)
		for _, n := range list {
			if n.Name == a.name {
				found = n
			}
		}
		if err == nil && found == nil {
			err = fmt.Errorf("there is no such node")
		}
		return err
	})
	return found
}

// submit submits a job in HCL to any living agent.
func (r *region) submit(text string) {
	r.t.Helper()
	c := r.api()
	job, err := c.ParseJob(r.t.Context(), api.JobText{HCL: []byte(text)})
	if err == nil {
		_, err = c.SubmitJob(r.t.Context(), job, nil)
	}
	if err != nil {
		r.t.Fatalf("submit: %v\n%s", err, text)
	}
}

// allocs returns the job's allocations that shall run, by index, as soon as exactly count of them run.
func (r *region) allocs(job string, count int) (running map[int]*structs.Allocation) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("%d of job %s run", count, job), func() error {
		s, _, err := r.api().JobStatus(r.t.Context(), job, nil)
		if err != nil {
			return err
		}
		running = map[int]*structs.Allocation{}
		var text strings.Builder
		others := 0
		for _, a := range s.Allocations {
			if a.Ended() {
				continue
			}
			fmt.Fprintf(&text, " %s[%d]:%s/%s@%s", structs.Short(a.ID), a.Index, a.Status, a.Desired, a.NodeName)
			if a.Status == structs.AllocRunning && a.Desired == structs.DesiredRun {
				running[a.Index] = a
			} else {
				others++
			}
		}
		if len(running) != count || others > 0 {
			return fmt.Errorf("there are%s", &text)
		}
		return nil
	})
	return running
}

// output is what a command of the command line did.
type output struct {
	code        int
	out, errout string
}

func (o output) String() string {
	return fmt.Sprintf("exit code %d\nstdout: %s\nstderr: %s", o.code, o.out, o.errout)
}

// proffer runs a command with an agent's address and returns what it did.
func (a *agent) proffer(args ...string) output { return a.prepare(args...).run() }

// invocation is a command before, while and after it runs.
type invocation struct {
	t           *testing.T
	cmd         *exec.Cmd
	out, errout syncBuffer
}

func (a *agent) prepare(args ...string) *invocation {
	i := &invocation{t: a.region.t, cmd: exec.Command(binary, args...)}
	i.cmd.Env = append(os.Environ(), "PROFFER_ADDR="+a.url(), "PROFFER_TOKEN="+a.region.token)
	i.cmd.Stdout, i.cmd.Stderr, i.cmd.Dir = &i.out, &i.errout, a.region.dir
	return i
}

func (i *invocation) start() *invocation {
	i.t.Helper()
	if err := start(i.cmd); err != nil {
		i.t.Fatal(err)
	}
	return i
}

func (i *invocation) wait() output {
	i.t.Helper()
	timer := time.AfterFunc(patience, func() { i.cmd.Process.Signal(unix.SIGQUIT) })
	defer timer.Stop()
	i.cmd.Wait()
	return output{i.cmd.ProcessState.ExitCode(), i.out.String(), i.errout.String()}
}

func (i *invocation) run() output {
	i.t.Helper()
	return i.start().wait()
}

// must runs a command that has to end well and returns its stdout.
func (a *agent) must(args ...string) string {
	a.region.t.Helper()
	o := a.proffer(args...)
	if o.code != 0 {
		a.region.t.Fatalf("proffer %s: %s", strings.Join(args, " "), o)
	}
	return o.out
}

// syncBuffer collects output that is looked at while it grows.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
