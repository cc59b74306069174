package containers

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/client/logs"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// node has an allocation "one" with a task "t", on a terminal, an allocation "two" with the tasks "a" and "b", of which "b" has ended,
// and an allocation "held" with a task "h", whose commands end with whoever began them.
type node struct {
	mu    sync.Mutex
	typed bytes.Buffer // on the terminal of t
	sizes []drivers.Size
	gone  chan struct{} // of t
	ran   [][]string
	how   []string // likewise, with what it is called and its variables
	ended []string // commands whose context ended
	owns  map[string]*own

	region  *jobs
	signals []string // "ALLOC SIGNAL"
}

func (n *node) Tasks(alloc structs.AllocID) ([]string, error) {
	switch alloc {
	case "one":
		return []string{"t"}, nil
	case "two":
		return []string{"a", "b"}, nil
	case "held":
		return []string{"h"}, nil
	}
	for _, k := range n.Known(0) {
		if k.Alloc.ID == alloc {
			return k.Tasks, nil
		}
	}
	return nil, structs.Errorf(structs.NotFound, "allocation", "there is none")
}

func (n *node) Running(alloc structs.AllocID, task string) error {
	over := task == "b"
	for _, k := range n.Known(0) {
		over = over || k.Alloc.ID == alloc && k.Ended != 0
	}
	if over {
		return structs.Errorf(structs.Conflict, "task", "it does not run (finished)")
	}
	return nil
}

func (n *node) Gone(structs.AllocID, string) (<-chan struct{}, error) { return n.gone, nil }

func (n *node) Await(ctx context.Context, _ structs.AllocID, task string) (structs.TaskState, error) {
	if task == "b" {
		return structs.TaskState{Status: structs.TaskFailed, Started: 1, ExitCode: 137, Signal: 9, Why: "signal 9 ended it"}, nil
	}
	select {
	case <-n.gone:
		return structs.TaskState{Status: structs.TaskFinished, Started: 1}, nil
	case <-ctx.Done():
		return structs.TaskState{}, ctx.Err()
	}
}

func (n *node) Signal(_ context.Context, alloc structs.AllocID, task, signal string) error {
	n.mu.Lock()
	n.signals = append(n.signals, string(alloc)+" "+signal)
	n.mu.Unlock()
	if task == "b" {
		return structs.Errorf(structs.Conflict, "task", "it does not run")
	}
	close(n.gone)
	return nil
}

func (n *node) Terminal(_ context.Context, _ structs.AllocID, task string) (drivers.Terminal, error) {
	if task != "t" {
		return nil, structs.Errorf(structs.Conflict, "task", "it has no terminal")
	}
	return screen{n}, nil
}

// screen is the terminal of t.
type screen struct{ n *node }

func (s screen) Write(p []byte) (int, error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	return s.n.typed.Write(p)
}

func (s screen) Resize(size drivers.Size) error {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.sizes = append(s.n.sizes, size)
	return nil
}

func (screen) Close() error { return nil }

// Logs writes what t says, and ends with it.
func (n *node) Logs(ctx context.Context, req client.LogRequest, w io.Writer) (int64, error) {
	if req.Task == "b" {
		return 0, nil
	}
	if req.Stream == "stdout" {
		io.WriteString(w, "$ ")
	}
	select {
	case <-n.gone:
		return 2, nil
	case <-ctx.Done():
		return 2, ctx.Err()
	}
}

// Exec runs programs of its own: cat, yes, many, sleep, size, fail, stubborn and broken.
func (n *node) Exec(ctx context.Context, _ structs.AllocID, _ string, cmd drivers.Command) (drivers.Exit, error) {
	n.mu.Lock()
	n.note(cmd.Args, cmd.Arg0, cmd.Env)
	n.mu.Unlock()
	type end struct {
		exit drivers.Exit
		err  error
	}
	done := make(chan end, 1)
	go func() {
		var exit drivers.Exit
		var err error
		defer func() { done <- end{exit, err} }()
		switch cmd.Args[0] {
		case "cat":
			if cmd.Stdin != nil {
				io.Copy(cmd.Stdout, cmd.Stdin)
			}
		case "yes":
			for line := bytes.Repeat([]byte("y\n"), 1<<10); err == nil; {
				_, err = cmd.Stdout.Write(line)
			}
		case "many":
			for i := range 4 * maxWaiting / maxPiece {
				cmd.Stdout.Write(bytes.Repeat([]byte{byte('a' + i)}, maxPiece))
			}
			<-ctx.Done()
		case "sleep":
			<-ctx.Done()
		case "size":
			for size := range 2 {
				s := <-cmd.Resize
				fmt.Fprintln(cmd.Stdout, s.Rows, s.Cols, size)
			}
		case "fail":
			io.WriteString(cmd.Stderr, "no\n")
			exit.Code = 3
		case "broken":
			err = structs.Errorf(structs.Unavailable, "exec", "the engine does not answer")
		}
	}()
	select {
	case e := <-done:
		return e.exit, e.err
	case <-ctx.Done():
		n.mu.Lock()
		n.ended = append(n.ended, cmd.Args[0])
		n.mu.Unlock()
		return drivers.Exit{}, ctx.Err()
	}
}

// own is a command that the node keeps by itself: what the machine of this test knows of it, whatever becomes of agents.
type own struct {
	client.Detached
	out    bytes.Buffer
	signal chan int // ends it
	done   chan struct{}
}

// Detach runs programs as Exec does, of those that end by themselves or by a signal. A task "h" holds all its commands.
func (n *node) Detach(_ context.Context, alloc structs.AllocID, task, label string, d *drivers.Detach) error {
	switch {
	case task == "h":
		return structs.Errorf(structs.Invalid, "task", "%w", client.ErrHeld)
	case d.Args[0] == "broken":
		return structs.Errorf(structs.Unavailable, "exec", "the engine does not answer")
	case d.Args[0] == "missing":
		return &drivers.NoProgram{Code: 127, Err: structs.Errorf(structs.Invalid, "exec", "there is no such program")}
	}
	o := &own{signal: make(chan int, 1), done: make(chan struct{})}
	o.Alloc, o.Name, o.Task, o.Label, o.Terminal, o.Begun = alloc, d.Name, task, label, d.Terminal != nil, structs.At(time.Now())
	n.mu.Lock()
	n.note(d.Args, d.Arg0, d.Env)
	n.owns[d.Name] = o
	switch d.Args[0] {
	case "many":
		for i := range 4 * maxWaiting / maxPiece {
			o.out.Write(bytes.Repeat([]byte{byte('a' + i)}, maxPiece))
		}
	case "fail":
		o.out.WriteString("no\n")
		n.endOwn(o, drivers.Exit{Code: 3})
	case "true":
		n.endOwn(o, drivers.Exit{})
	}
	n.mu.Unlock()
	return nil
}

// note notes what ran, and how. The caller holds mu.
func (n *node) note(args []string, arg0 *string, env []string) {
	called := ""
	if arg0 != nil {
		called = *arg0
	}
	n.ran, n.how = append(n.ran, args), append(n.how, fmt.Sprintf("%q called %q %q", env, called, args))
}

// endOwn ends one. The caller holds mu.
func (n *node) endOwn(o *own, exit drivers.Exit) {
	if o.Exit == nil {
		o.Exit = &exit
		close(o.done)
	}
}

func (n *node) Detached() (all []client.Detached) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.owns {
		all = append(all, o.Detached)
	}
	return all
}

func (n *node) AwaitDetached(ctx context.Context, _ structs.AllocID, name string) (client.Detached, error) {
	n.mu.Lock()
	o := n.owns[name]
	n.mu.Unlock()
	if o == nil {
		return client.Detached{}, structs.Errorf(structs.NotFound, "command", "there is none")
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		return client.Detached{}, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return o.Detached, nil
}

func (n *node) SignalDetached(_ context.Context, _ structs.AllocID, name, signal string, kill bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.owns[name]
	if o == nil || o.Exit != nil {
		return structs.Errorf(structs.Conflict, "command", "it has ended")
	}
	o.Killed = o.Killed || kill
	switch signal {
	case "99":
		return structs.Errorf(structs.Invalid, "signal", "there is no such signal")
	case "SIGKILL":
		n.endOwn(o, drivers.Exit{Code: 137, Signal: 9})
	default:
		number, _ := strconv.Atoi(signal)
		n.endOwn(o, drivers.Exit{Code: 128 + number, Signal: number})
	}
	return nil
}

func (n *node) ForgetDetached(_ context.Context, _ structs.AllocID, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.owns, name)
	return nil
}

func (n *node) DetachedLogs(ctx context.Context, d client.Detached, stream logs.Stream, tail int64, ended <-chan struct{}, w io.Writer) error {
	if stream == logs.Stderr {
		return nil
	}
	n.mu.Lock()
	o := n.owns[d.Name]
	all := o.out.Bytes()
	n.mu.Unlock()
	if _, err := w.Write(all[max(0, len(all)-int(tail)):]); err != nil {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *node) DetachedTerminal(context.Context, structs.AllocID, string) (drivers.Terminal, error) {
	return screen{n}, nil
}

// port serves the calls of a node in memory.
type port struct {
	t    *testing.T
	node *node
	all  *Containers
	http *http.Client
	as   wire.Encoding
}

// serve runs a test once for each encoding.
func serve(t *testing.T, test func(*port)) {
	for _, as := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		synctest.Test(t, func(t *testing.T) {
			n := &node{gone: make(chan struct{}), region: newJobs(), owns: map[string]*own{}}
			p := &port{t: t, node: n, as: as}
			p.begin()
			l := &pipes{take: make(chan net.Conn), closed: make(chan struct{})}
			server := &http.Server{Handler: p}
			served := make(chan struct{})
			go func() { server.Serve(l); close(served) }()
			transport := &http.Transport{DialContext: l.dial, DisableCompression: true}
			p.http = &http.Client{Transport: transport}
			test(p)
			p.all.Close()
			transport.CloseIdleConnections()
			server.Close()
			<-served
			time.Sleep(time.Second) // a connection that was refused in the middle of its body closes half a second later
			synctest.Wait()
			for key, x := range p.all.all {
				if x.own == nil && !x.over() {
					t.Errorf("%s runs", key)
				}
			}
			if len(p.all.typing) > 0 {
				t.Errorf("somebody types for %v", p.all.typing)
			}
		})
	}
}

// begin makes the containers anew, as an agent does that begins.
func (p *port) begin() { p.all = New(p.node, p.node.ask, slog.New(slog.DiscardHandler)) }

func (p *port) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if Streamed(r) {
		mesos.Answer(w, r, p.all.Input(w, r))
		return
	}
	call := &wire.AgentCall{}
	err := mesos.ReadCall(w, r, call)
	if err == nil {
		_, err = p.all.Call(w, r, call, mesos.Caller{Actor: "alice"})
	}
	mesos.Answer(w, r, err)
}

// pipes is a listener in memory.
type pipes struct {
	take   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.take <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.take:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func id(parts ...string) (out wire.ContainerID) {
	for i, part := range parts {
		if i == 0 {
			out = wire.ContainerID{Value: part}
		} else {
			above := out
			out = wire.ContainerID{Value: part, Parent: &above}
		}
	}
	return out
}

func run(args ...string) *wire.CommandInfo {
	return &wire.CommandInfo{Value: &args[0], Arguments: args, Shell: new(false)}
}

// send sends a call, and more lines of a head.
func (p *port) send(kind wire.AgentCallType, call wire.AgentCall, head ...string) *http.Response {
	p.t.Helper()
	call.Type = &kind
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://node/api/v1", bytes.NewReader(p.as.Marshal(&call)))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", p.as.ContentType())
	r.Header.Set("Accept", p.as.ContentType())
	for _, line := range head {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	answer, err := p.http.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

// want sends a call and checks the status of the answer. It returns the body.
func (p *port) want(status int, kind wire.AgentCallType, call wire.AgentCall, head ...string) []byte {
	p.t.Helper()
	r := p.send(kind, call, head...)
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != status {
		p.t.Errorf("%v: %s %q, %v, and not %d", kind, r.Status, raw, err, status)
	}
	return raw
}

// end waits for a container and returns how it ended.
func (p *port) end(c wire.ContainerID) (out wire.ContainerEnd) {
	p.t.Helper()
	answer := &wire.AgentResponse{}
	err := p.as.Unmarshal(p.want(200, wire.AgentWaitNestedContainer, wire.AgentCall{WaitNested: &wire.NamedContainer{ContainerID: c}}), answer)
	if err != nil || answer.WaitNested == nil || *answer.Type != wire.AgentAnswerWaitNestedContainer {
		p.t.Fatalf("%+v: %v", answer, err)
	}
	return *answer.WaitNested
}

// session launches a container and follows what it says.
func (p *port) session(c wire.ContainerID, cmd *wire.CommandInfo, tty *wire.TTYInfo) *listener {
	p.t.Helper()
	launch := &wire.LaunchContainer{ContainerID: c, Command: cmd}
	if tty != nil {
		launch.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, TTY: tty}
	}
	return p.listen(p.send(wire.AgentLaunchNestedContainerSession, wire.AgentCall{LaunchSession: launch}))
}

// listener reads an output.
type listener struct {
	p    *port
	from *http.Response
	body *bufio.Reader
}

func (p *port) listen(r *http.Response) *listener {
	p.t.Helper()
	if r.StatusCode != 200 {
		raw, _ := io.ReadAll(r.Body)
		p.t.Fatalf("%s %s", r.Status, raw)
	}
	return &listener{p, r, bufio.NewReader(r.Body)}
}

// next returns the next record.
func (l *listener) next() (*wire.ProcessIO, error) {
	raw, err := wire.ReadRecord(l.body)
	if err != nil {
		return nil, err
	}
	out := &wire.ProcessIO{}
	return out, l.p.as.Unmarshal(raw, out)
}

// hears reads up to what is wanted of a stream, of which nothing else comes before.
func (l *listener) hears(stream wire.ProcessDataType, want string) {
	l.p.t.Helper()
	got := ""
	for len(got) < len(want) {
		m, err := l.next()
		if err != nil || m.Data == nil || *m.Data.Type != stream {
			l.p.t.Fatalf("%q, then %+v %v, and not %q", got, m, err, want)
		}
		got += string(m.Data.Data)
	}
	if got != want {
		l.p.t.Fatalf("it says %q and not %q", got, want)
	}
}

// ends checks that there is no more.
func (l *listener) ends() {
	l.p.t.Helper()
	if m, err := l.next(); !errors.Is(err, io.EOF) {
		l.p.t.Errorf("there is more: %+v %v", m, err)
	}
	l.from.Body.Close()
}

// typewriter is a stream of input.
type typewriter struct {
	p      *port
	to     *io.PipeWriter
	answer chan *http.Response
}

// attach begins a stream of input for a container.
func (p *port) attach(c wire.ContainerID) *typewriter {
	w := p.stream()
	w.record(&wire.AttachContainerInput{Type: new(wire.AttachInputContainer), ContainerID: &c})
	return w
}

// stream begins a stream of input, with more lines in its head.
func (p *port) stream(head ...string) *typewriter {
	p.t.Helper()
	body, to := io.Pipe()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "http://node/api/v1", body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", mesos.RecordIO)
	r.Header.Set("Message-Content-Type", p.as.ContentType())
	for _, line := range head {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := &typewriter{p, to, make(chan *http.Response, 1)}
	go func() {
		answer, err := p.http.Do(r)
		body.CloseWithError(io.ErrClosedPipe)
		if err != nil {
			answer = &http.Response{Status: err.Error(), Body: http.NoBody}
		}
		w.answer <- answer
	}()
	return w
}

func (w *typewriter) record(in *wire.AttachContainerInput) {
	raw := w.p.as.Marshal(&wire.AgentCall{Type: new(wire.AgentAttachContainerInput), AttachInput: in})
	w.to.Write(wire.AppendRecord(nil, raw)) // an error: it is answered already
}

func (w *typewriter) process(io *wire.ProcessIO) {
	w.record(&wire.AttachContainerInput{Type: new(wire.AttachInputProcess), ProcessIO: io})
}

// types types; nothing is the end.
func (w *typewriter) types(s string) {
	w.process(&wire.ProcessIO{Type: new(wire.ProcessIOData), Data: &wire.ProcessData{Type: new(wire.DataStdin), Data: []byte(s)}})
}

func (w *typewriter) resizes(rows, columns uint32) {
	w.process(&wire.ProcessIO{Type: new(wire.ProcessIOControl), Control: &wire.ProcessControl{Type: new(wire.ControlTTY),
		TTY: &wire.TTYInfo{WindowSize: &wire.WindowSize{Rows: rows, Columns: columns}}}})
}

func (w *typewriter) beats(nanoseconds int64) {
	w.process(&wire.ProcessIO{Type: new(wire.ProcessIOControl), Control: &wire.ProcessControl{Type: new(wire.ControlHeartbeat),
		Heartbeat: &wire.ProcessHeartbeat{Interval: &wire.DurationInfo{Nanoseconds: nanoseconds}}}})
}

// answered waits for the answer and checks its status.
func (w *typewriter) answered(status int) {
	w.p.t.Helper()
	r := <-w.answer
	raw, _ := io.ReadAll(r.Body)
	if r.StatusCode != status {
		w.p.t.Errorf("the input is answered %s %q, and not %d", r.Status, raw, status)
	}
	w.to.Close()
}

// ends lets the stream of input end.
func (w *typewriter) ends(status int) {
	w.p.t.Helper()
	w.to.Close()
	w.answered(status)
}

func (p *port) gaveUp(program string) bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	return slices.Contains(p.node.ended, program)
}
