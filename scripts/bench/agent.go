//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

// build makes the program as a release has it, unless one was given.
func (b *bench) build(ctx context.Context) error {
	if b.program != "" {
		path, err := filepath.Abs(b.program)
		b.program = path
		return err
	}
	fmt.Fprintln(b.progress, "building …")
	b.program = filepath.Join(b.dir, "proffer")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

// agent is a running agent, its API, and what it said.
type agent struct {
	*api.Client
	cmd   *exec.Cmd
	dir   string // its data folder
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs an agent and returns when its API answers.
func (b *bench) start(ctx context.Context, dir string, args ...string) (*agent, error) {
	a := &agent{dir: dir, ended: make(chan struct{})}
	a.cmd = exec.Command(b.program, append([]string{"agent"}, args...)...)
	a.cmd.Env = append(os.Environ(), "TMPDIR="+b.dir) // the folder of -dev is below ours
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	address := make(chan string, 1)
	go a.listen(out, address)
	select {
	case at := <-address:
		a.Client, err = api.New(api.Config{Address: strings.TrimRight(at, "/"), Actor: "bench"})
		return a, err
	case <-a.ended:
		return nil, fmt.Errorf("the agent ended:\n%s", a.said())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), a.kill())
	}
}

// listen keeps what the agent says until it ended.
func (a *agent) listen(out interface{ Read([]byte) (int, error) }, address chan<- string) {
	defer close(a.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		a.mu.Lock()
		if a.log.Len() < 1<<20 {
			a.log.WriteString(lines.Text() + "\n")
		}
		a.mu.Unlock()
		if _, at, ok := strings.Cut(lines.Text(), "HTTP API and docs"); ok {
			select {
			case address <- strings.TrimSpace(at):
			default:
			}
		}
	}
}

func (a *agent) said() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.String()
}

// nodeReady waits until the region has a node that takes work.
func (a *agent) nodeReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	q := &api.Query{}
	for {
		nodes, meta, err := a.Nodes(ctx, q)
		if err != nil {
			return fmt.Errorf("waiting for the node: %w\n%s", err, a.said())
		}
		for _, n := range nodes {
			if n.Status == structs.NodeReady {
				return nil
			}
		}
		q.Index = meta.Index
	}
}

// kill ends the agent at once, and nothing else.
func (a *agent) kill() error {
	err := a.cmd.Process.Kill()
	<-a.ended
	a.cmd.Wait()
	return err
}

// stop ends the agent in order.
func (a *agent) stop() error {
	if a.Client != nil {
		a.Close()
	}
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-a.ended
	if err := a.cmd.Wait(); err != nil {
		return fmt.Errorf("the agent: %w\n%s", err, a.said())
	}
	return nil
}

// cost is CPU time: of the agent, and of its supervisor with the tasks that it waited for.
type cost struct{ agent, tasks time.Duration }

func (a *agent) cost() (c cost) {
	c.agent = cpuOf(a.cmd.Process.Pid, true)
	all := processes(a.dir)
	for _, p := range all {
		if !strings.Contains(p.args, " supervisor ") {
			continue
		}
		c.tasks += cpuOf(p.pid, true)
		for _, child := range all { // what starts tasks lives on
			if child.parent == p.pid {
				c.tasks += cpuOf(child.pid, true)
			}
		}
	}
	return c
}

// since says what n things cost from before on, in a note.
func (c cost) since(before cost, n int, what string) string {
	each := func(d time.Duration) float64 { return ms(d) / float64(n) }
	return fmt.Sprintf("%.2f ms CPU a %s: agent %.2f, supervisor and tasks %.2f", each(c.agent-before.agent+c.tasks-before.tasks),
		what, each(c.agent-before.agent), each(c.tasks-before.tasks))
}

// host numbers the loopback addresses that this run uses.
var host int

// address returns a loopback address of its own for each agent.
func address() string {
	host++
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 100+pid>>8%100, pid%256, host)
}

// devAgent returns the agent that measurements share.
func (b *bench) devAgent(ctx context.Context) (*agent, error) {
	if b.dev != nil {
		return b.dev, nil
	}
	a, err := b.startDev(ctx)
	b.dev = a
	return a, err
}

func (b *bench) startDev(ctx context.Context) (*agent, error) {
	at := address()
	ports, err := freePorts(at, 3)
	if err != nil {
		return nil, err
	}
	a, err := b.start(ctx, b.dir, "-dev", "-bind", at, "-http-port", ports[0], "-executor-port", ports[1], "-cluster-port", ports[2], "-log-level", "warn")
	if err != nil {
		return nil, err
	}
	if err := a.nodeReady(ctx); err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

func (b *bench) endDev() error {
	if b.dev == nil {
		return nil
	}
	err := b.dev.stop()
	b.dev = nil
	return err
}

func freePorts(at string, n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", at+":0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}

// key is a new gossip key.
func key() string {
	raw := make([]byte, 32)
	rand.Read(raw)
	return base64.StdEncoding.EncodeToString(raw)
}

// config writes a configuration and returns its path.
func (b *bench) config(name, text string) (string, error) {
	path := filepath.Join(b.dir, name+".hcl")
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// sweep kills what is left of all that was started, and says so.
func (b *bench) sweep() (err error) {
	for _, p := range processes(b.dir) {
		fmt.Fprintf(b.progress, "ending what is left: %d %s\n", p.pid, p.args)
		if e := syscall.Kill(p.pid, syscall.SIGKILL); e != nil && !errors.Is(e, syscall.ESRCH) {
			err = errors.Join(err, fmt.Errorf("process %d is left: %w", p.pid, e))
		}
	}
	return err
}
