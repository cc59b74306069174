//go:build linux && system

package system

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mesosPort is where clients of Mesos look for agents, and some of them nowhere else.
const mesosPort = 5051

// ofItsOwn gives an agent an address at which it can have the port that clients of Mesos look at.
func (a *agent) ofItsOwn() *agent {
	a.addr = fmt.Sprintf("127.79.%d.%d", os.Getpid()/250%250+1, os.Getpid()%250+1)
	a.args = append(a.args, "-executor-port", strconv.Itoa(mesosPort))
	return a
}

// ask sends a call to a node as tools of Mesos do.
func (a *agent) ask(body io.Reader, head ...string) *http.Response {
	a.region.t.Helper()
	answer, err := a.answers(body, head...)
	if err != nil {
		a.region.t.Fatal(err)
	}
	return answer
}

// answers is ask for other goroutines than that of the test.
func (a *agent) answers(body io.Reader, head ...string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(a.region.t.Context(), http.MethodPost, "http://"+net.JoinHostPort(a.addr, strconv.Itoa(mesosPort))+"/api/v1", body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	for _, line := range head {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	return http.DefaultClient.Do(r)
}

// about is a call about a container, with more members.
func about(call, container, more string) io.Reader {
	return strings.NewReader(fmt.Sprintf(`{"type":%q,%q:{"container_id":%s%s}}`, strings.ToUpper(call), call, container, more))
}

// hear reads what a container says until it said something, or to its end.
func hear(t *testing.T, from *http.Response, text string) (said string) {
	t.Helper()
	in := bufio.NewReader(from.Body)
	for text == "" || !strings.Contains(said, text) {
		line, err := in.ReadString('\n')
		if err == io.EOF && text == "" {
			return said
		}
		size, bad := strconv.Atoi(strings.TrimSpace(line))
		raw := make([]byte, size)
		if err == nil && bad == nil {
			_, err = io.ReadFull(in, raw)
		}
		var m struct{ Data struct{ Data []byte } }
		if err != nil || bad != nil || json.Unmarshal(raw, &m) != nil {
			t.Fatalf("%s: it says %q, then %q %q (%v), and not %q", from.Status, said, line, raw, err, text)
		}
		said += string(m.Data.Data)
	}
	return said
}

// typing is a stream of input.
type typing struct {
	to   *io.PipeWriter
	done chan int // the status of the answer
}

func (a *agent) typeFor(container string) *typing {
	body, to := io.Pipe()
	w := &typing{to, make(chan int, 1)}
	go func() {
		r, err := a.answers(body, "Content-Type: application/recordio", "Message-Content-Type: application/json")
		body.Close() // nobody types on in vain
		if err != nil {
			a.region.t.Error(err)
			w.done <- 0
			return
		}
		r.Body.Close()
		w.done <- r.StatusCode
	}()
	w.record(`"type":"CONTAINER_ID","container_id":` + container)
	return w
}

func (w *typing) record(members string) {
	text := `{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{` + members + `}}`
	fmt.Fprintf(w.to, "%d\n%s", len(text), text)
}

func (w *typing) types(text string) {
	raw, _ := json.Marshal([]byte(text))
	w.record(`"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":` + string(raw) + `}}`)
}

// interactive has a client that nobody here wrote type for a task, looks into the task meanwhile, and types on after its agent was killed.
func interactive(t *testing.T, msh string, a *agent) {
	run := func(script ...string) (cmd *exec.Cmd, in io.Writer, out *bufio.Reader) {
		cmd = exec.CommandContext(t.Context(), msh, append([]string{"-master", net.JoinHostPort(a.addr, fmt.Sprint(a.region.http)), "-user", "root",
			"-cpus", "0.1", "-memory", "32", "-silent", "-interactive", "--"}, script...)...)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		pipe, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return cmd, in, bufio.NewReader(pipe)
	}
	until := func(out *bufio.Reader, text string) {
		t.Helper()
		for said := ""; !strings.Contains(said, text); {
			c, err := out.ReadByte()
			if err != nil {
				t.Fatalf("it says %q, and then %v", said, err)
			}
			said += string(c)
		}
	}
	cmd, in, out := run("sh")
	io.WriteString(in, "stty -echo; echo here=$((6*7)) on $(tty)\n")
	until(out, "here=42 on /dev/pts/")
	io.WriteString(in, "exit 0\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("a shell that was left: %v", err)
	}

	cmd, in, out = run("sh", "-c", `stty -echo; read A; echo "got $A"; while read line; do echo "$A and $line"; done`)
	io.WriteString(in, "one\n")
	until(out, "got one")
	var task string
	list, _, err := a.api().Allocations(t.Context(), nil)
	for _, x := range list {
		if !x.Status.Ended() {
			task = fmt.Sprintf(`{"value":%q}`, x.ID)
		}
	}
	if err != nil || task == "" {
		t.Fatalf("no allocation runs: %v", err)
	}

	within := `{"value":"look","parent":` + task + `}`
	session := a.ask(about("launch_nested_container_session", within, `,"command":{"value":"busybox","arguments":["sh","-c","read X; echo $X in $PWD; exit 3"],"shell":false}`),
		"Accept: application/recordio", "Message-Accept: application/json")
	w := a.typeFor(within)
	w.types("hello\n")
	if said := hear(t, session, ""); said != "hello in /local\n" {
		t.Errorf("the session says %q", said)
	}
	if status := <-w.done; status != http.StatusOK {
		t.Errorf("its input is answered %d", status)
	}
	end, _ := io.ReadAll(a.ask(about("wait_nested_container", within, "")).Body)
	if !strings.Contains(string(end), `"exit_status":768`) {
		t.Errorf("it ended %s", end)
	}
	left := a.ask(about("launch_nested_container_session", `{"value":"left","parent":`+task+`}`, fmt.Sprintf(`,"command":{"value":"echo begins; exec sleep 9%d"}`, os.Getpid())))
	hear(t, left, "begins")
	left.Body.Close() // and with it what it began is gone
	end, _ = io.ReadAll(a.ask(about("wait_nested_container", `{"value":"left","parent":`+task+`}`, "")).Body)
	if !strings.Contains(string(end), `"state":"TASK_KILLED"`) {
		t.Errorf("what was left ended %s", end)
	}
	await(t, "a session that was left is gone", func() error {
		for _, p := range processes() {
			if args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid)); string(args) == fmt.Sprintf("sleep\x009%d\x00", os.Getpid()) {
				return fmt.Errorf("process %d goes on", p.pid)
			}
		}
		return nil
	})

	// A container within no other is work of the region, and outlives the agent.
	const alone = `{"value":"plug"}`
	launch := `,"command":{"value":"echo it is up; exec sleep 1000"},"resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":0.1}},{"name":"mem","type":"SCALAR","scalar":{"value":32}}]`
	demand := func(status int, call, more string) {
		t.Helper()
		r := a.ask(about(call, alone, more))
		defer r.Body.Close()
		if text, _ := io.ReadAll(r.Body); r.StatusCode != status {
			t.Errorf("%s: %s %q, and not %d", call, r.Status, text, status)
		}
	}
	demand(http.StatusOK, "launch_container", launch)

	// Containers within the task that are no sessions go on, and how they ended is known, also of one that does so while no agent runs.
	nested := func(name string) string { return fmt.Sprintf(`{"value":%q,"parent":%s}`, name, task) }
	gates, err := filepath.Glob(filepath.Join(a.dir, "client", "alloc*", strings.Split(task, `"`)[3], "*", "local"))
	if err != nil || len(gates) != 1 {
		t.Fatalf("the folder of the task is one of %v, %v", gates, err)
	}
	gate := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(gates[0], name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for name, code := range map[string]int{"later": 6, "meanwhile": 5} {
		script := fmt.Sprintf("echo begins; until [ -e %[1]s ]; do sleep 0.1; done; echo ends; mv %[1]s of-%[1]s; exit %[2]d", name, code)
		r := a.ask(about("launch_nested_container", nested(name), fmt.Sprintf(`,"command":{"value":%q}`, script)))
		if text, _ := io.ReadAll(r.Body); r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %q", name, r.Status, text)
		}
	}

	a.kill() // the client ends with its connection, and the task with its framework, in a minute
	cmd.Wait()
	gate("meanwhile")
	await(t, "a container goes on without the agent", func() error {
		_, err := os.Stat(filepath.Join(gates[0], "of-meanwhile"))
		return err
	})
	a.start()
	gate("later")
	for name, status := range map[string]string{"later": `"exit_status":1536`, "meanwhile": `"exit_status":1280`} {
		if end, _ := io.ReadAll(a.ask(about("wait_nested_container", nested(name), "")).Body); !strings.Contains(string(end), status) {
			t.Errorf("container %s ended %s", name, end)
		}
		if said := hear(t, a.ask(about("attach_container_output", nested(name), "")), ""); said != "begins\nends\n" {
			t.Errorf("container %s says %q", name, said)
		}
		if r := a.ask(about("remove_nested_container", nested(name), "")); r.StatusCode != http.StatusOK {
			t.Errorf("container %s is not removed: %s", name, r.Status)
		}
	}
	screen := a.ask(about("attach_container_output", task, ""))
	hear(t, screen, "got one") // of before
	demand(http.StatusAccepted, "launch_container", launch)
	hear(t, a.ask(about("attach_container_output", alone, "")), "it is up")
	demand(http.StatusConflict, "remove_container", "")
	demand(http.StatusOK, "kill_container", "")
	end, _ = io.ReadAll(a.ask(about("wait_container", alone, "")).Body)
	if !strings.Contains(string(end), `"exit_status":9`) {
		t.Errorf("the container ended %s", end)
	}
	demand(http.StatusOK, "remove_container", "")
	w = a.typeFor(task)
	w.types("two\n")
	hear(t, screen, "one and two")
	if r := a.ask(about("kill_container", task, "")); r.StatusCode != http.StatusOK {
		t.Errorf("it is not killed: %s", r.Status)
	}
	hear(t, screen, "")
	if status := <-w.done; status != http.StatusOK {
		t.Errorf("the input of a task that ended is answered %d", status)
	}
}
