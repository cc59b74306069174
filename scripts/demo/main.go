// Command demo shows what ./proffer does, in the words of somebody who uses it: it starts an agent with everything in
// it on free loopback ports, runs a service and a batch job, asks where they are and why, reads their output, and stops
// it all. It ends with 0 when each step did what it should.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func main() {
	if err := demo(); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
	fmt.Println("\nThat was all of it: nothing runs any more. `make dev` leaves an agent up; its docs are at http://127.0.0.1:5050/docs/.")
}

// service is the text of the example, with what the demo expects in its output.
var (
	service = "website/examples/service.hcl"
	batch   = "website/examples/batch.hcl"
)

func demo() error {
	agent, err := start()
	if err != nil {
		return err
	}
	if err = agent.ready(); err == nil {
		err = tour(agent)
	}
	if stopErr := agent.stop(); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	if err != nil {
		return fmt.Errorf("%w\nThe agent said:\n%s", err, agent.log.Bytes())
	}
	return nil
}

// tour is the demonstration itself: a command, and what its output must have.
func tour(a *agent) error {
	for _, step := range []struct {
		say  string
		args string
		want []string
	}{
		{"The agent is a server and a client at once:", "node status", []string{"ready"}},
		{"A service is submitted. The command shows its progress and ends when it is healthy:", "job run " + service, []string{`"hello"`}},
		{"It runs three times:", "job status hello", []string{"running"}},
		{"Why is it where it is?", "job explain hello", []string{"3 of 3 placed", "packing="}},
		{"What does it say? (Until Ctrl-C.)", "alloc logs -f -job hello", []string{"is well"}},
		{"A batch job is submitted. The command ends when all of its work is done:", "job run " + batch, []string{`"sums"`}},
		{"Its work is complete, and its output can still be read:", "job status sums", []string{"complete"}},
		{"", "alloc logs -job sums", []string{"500500"}},
		{"The service is stopped:", "job stop hello", nil},
		{"", "job status", []string{"hello", "sums"}},
	} {
		out, err := a.command(step.say, strings.Join(step.want, " "), strings.Fields(step.args)...)
		if err != nil {
			return err
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				return fmt.Errorf("proffer %s: the output should have %q", step.args, want)
			}
		}
	}
	return nil
}

// agent is a running `proffer agent -dev`.
type agent struct {
	program string
	cmd     *exec.Cmd
	name    string // of the node, found nowhere else
	address string // of the HTTP API
	log     bytes.Buffer
	read    chan struct{} // closed when log has all that it said
	signals chan os.Signal
}

// start runs the agent until it has said where it listens.
func start() (*agent, error) {
	program, err := filepath.Abs("proffer")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	a := &agent{program: program, name: fmt.Sprintf("demo-%d-%d", os.Getpid(), time.Now().UnixNano()), read: make(chan struct{}), signals: make(chan os.Signal, 1)}
	args := []string{"agent", "-dev", "-node-name", a.name, "-http-port", ports[0], "-executor-port", ports[1], "-cluster-port", ports[2]}
	fmt.Printf("$ ./proffer %s &\n", strings.Join(args, " "))
	a.cmd = exec.Command(program, args...)
	out, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	// An interrupt of the demo is for the demo: it stops the agent in its own order.
	signal.Notify(a.signals, os.Interrupt, syscall.SIGTERM)
	separate(a.cmd)
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go a.listen(out, found)
	select {
	case a.address = <-found:
	case <-a.signals:
	case <-a.read:
	}
	if a.address == "" {
		err := a.stop()
		return nil, errors.Join(fmt.Errorf("the agent did not start:\n%s", a.log.Bytes()), err)
	}
	return a, nil
}

// ready waits until the node of the agent can take work.
func (a *agent) ready() error {
	client, err := api.New(api.Config{Address: a.address})
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	go func() { // an interrupt, or the end of the agent, ends the wait
		select {
		case s := <-a.signals:
			a.signals <- s
		case <-a.read:
		case <-ctx.Done():
		}
		cancel()
	}()
	query := &api.Query{}
	for {
		nodes, meta, err := client.Nodes(ctx, query)
		if err != nil && structs.KindOf(err) != structs.Unavailable {
			return fmt.Errorf("waiting for the node: %w", err)
		}
		for _, n := range nodes {
			if n.Status == structs.NodeReady {
				return nil
			}
		}
		if meta != nil {
			query.Index = meta.Index // the next answer comes when there is something new
		}
	}
}

// listen keeps what the agent says, and sends the address of its API when it says that.
func (a *agent) listen(out io.Reader, found chan<- string) {
	defer close(a.read)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		a.log.WriteString(lines.Text() + "\n")
		if _, rest, ok := strings.Cut(lines.Text(), "HTTP API and docs"); ok {
			select {
			case found <- strings.TrimRight(strings.TrimSpace(rest), "/"):
			default:
			}
		}
	}
}

// command runs a command of the CLI, shows it as it is typed, and returns what it printed. One that follows (-f) is
// interrupted when it has printed until.
func (a *agent) command(say, until string, args ...string) (string, error) {
	select {
	case <-a.signals:
		return "", errors.New("interrupted")
	default:
	}
	if say != "" {
		fmt.Printf("\n# %s", say)
	}
	fmt.Printf("\n$ ./proffer %s\n", strings.Join(args, " "))
	var out bytes.Buffer
	cmd := exec.Command(a.program, args...)
	cmd.Env = append(os.Environ(), "PROFFER_ADDR="+a.address)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", err
	}
	follows := slices.Contains(args, "-f")
	lines, interrupted := bufio.NewScanner(pipe), false
	for lines.Scan() {
		fmt.Println(lines.Text())
		out.WriteString(lines.Text() + "\n")
		if follows && !interrupted && strings.Contains(out.String(), until) {
			interrupted = cmd.Process.Signal(os.Interrupt) == nil
		}
	}
	if err := cmd.Wait(); err != nil && !interrupted {
		return "", fmt.Errorf("proffer %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// stop ends the agent, and makes sure that nothing of it is left.
func (a *agent) stop() error {
	fmt.Printf("\n$ kill %d\n", a.cmd.Process.Pid)
	if err := a.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-a.read
	if err := a.cmd.Wait(); err != nil {
		return fmt.Errorf("the agent: %w", err)
	}
	return a.leftOver()
}

// leftOver looks for tasks that outlived the agent, where there is a /proc to look in.
func (a *agent) leftOver() error {
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return err
	}
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte("PROFFER_NODE_NAME="+a.name)) {
			return fmt.Errorf("%s: a task is still there after the agent stopped", filepath.Dir(path))
		}
	}
	return nil
}

// freePorts returns ports that nobody listens on now.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports, nil
}
