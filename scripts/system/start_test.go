//go:build linux && system

package system

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// refuses starts an agent that must end by itself, and checks its words.
func (a *agent) refuses(what string, words ...string) {
	t := a.region.t
	t.Helper()
	os.Remove(a.log)
	a.launch()
	<-a.done
	code := a.cmd.ProcessState.ExitCode()
	a.cmd = nil
	text, _ := os.ReadFile(a.log)
	for _, word := range words {
		if !strings.Contains(string(text), word) {
			t.Errorf("%s: %q is not said:\n%s", what, word, text)
		}
	}
	if code != 1 {
		t.Errorf("%s: exit code %d", what, code)
	}
}

// TestRefusesToStart: an agent that cannot work says why and what to do, and damages nothing.
func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	a.must("job", "run", r.file("web.hcl", service("web", 1, "exec sleep 1000000")))
	task := a.tasks()

	// Another agent with the same ports, and one with the same folder.
	b := r.agent("b", "-client")
	b.addr = a.addr
	b.refuses("a taken port", "HTTP port", strconv.Itoa(ports.http), "address already in use", "-http-port")
	b.addr = a.addr + "0" // 127.77.x.10
	b.dir = a.dir
	b.args = []string{"-server", "-client"}
	b.refuses("a taken folder", "another process uses it", "data_dir")

	if code := a.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	name := r.name
	r.name = "elsewhere"
	a.refuses("the folder of another region as a server", name, "elsewhere")
	a.args = []string{"-client"}
	a.refuses("the folder of another region as a client", name, "elsewhere")
	r.name, a.args = name, []string{"-server", "-client", "-bootstrap-expect", "1"}

	r.more = "clinet {}\n"
	a.refuses("an unknown key", a.dir+".hcl:", `did you mean "client"`)
	r.more = "http_address = \"0.0.0.0\"\n"
	a.refuses("an open API without a token", "http_address", "token")
	r.more = ""
	r.token = "short"
	a.refuses("a short token", "token")
	r.token = ""
	key := r.key
	r.key = "bm90IDMyIGJ5dGVz"
	a.refuses("a wrong key", "encrypt", "32 bytes")
	r.key = key
	a.args = append(a.args, "-join", "300.1.2.3:x")
	a.refuses("a wrong address", "join")
	a.args = a.args[:4]

	// None of that has done any harm.
	a.start()
	r.allocs("web", 1)
	if now := a.tasks(); !slices.Equal(now, task) {
		t.Errorf("processes %v before, %v now", task, now)
	}
}

// TestToken: beyond loopback, and wherever one is set, every request carries the token.
func TestToken(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.token = "a-token-of-this-test"
	r.more = "http_address = \"0.0.0.0\"\n"
	r.http = anotherPort(t) // the other regions have theirs at other addresses
	a := single(r)
	for token, want := range map[string]int{"": 401, "Bearer wrong-token-of-test": 401, "Bearer " + r.token: 200} {
		q, _ := http.NewRequestWithContext(t.Context(), "GET", a.url()+"/v1/jobs", nil)
		if token != "" {
			q.Header.Set("Authorization", token)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || strings.Contains(string(text), r.token) {
			t.Errorf("with %q: %d %s", token, resp.StatusCode, text)
		}
	}
	i := a.prepare("node", "status")
	i.cmd.Env = append(i.cmd.Env, "PROFFER_TOKEN=")
	i.run().has(t, "without a token", 6, "", "PROFFER_TOKEN")
	a.proffer("node", "status").has(t, "with the token", 0, "ready", "")
	a.proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
	text, _ := os.ReadFile(a.log)
	if strings.Contains(string(text), r.token) || strings.Contains(string(text), r.key) {
		t.Error("the log has a secret")
	}
}

// TestKey: who does not have the gossip key gets nowhere.
func TestKey(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	b := r.client("b")
	key := r.key
	r.key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	b.start()
	await(t, "the refused agent says why", func() error {
		text, err := os.ReadFile(b.log)
		if err == nil && !strings.Contains(string(text), "key") {
			err = fmt.Errorf("it said %s", text)
		}
		return err
	})
	if out := a.must("server", "members"); strings.Contains(out, b.addr) {
		t.Errorf("it is a member:\n%s", out)
	}
	r.nodes(structs.NodeReady, 1)
	b.stop()
	r.key = key
	b.start()
	r.nodes(structs.NodeReady, 2)

	// Strangers on the cluster port do no harm.
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x00", "\x01\x02\x03", strings.Repeat("\xff", 1<<20)} {
		conn, err := net.Dial("tcp", net.JoinHostPort(a.addr, strconv.Itoa(ports.cluster)))
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(text))
		conn.Close()
	}
	a.proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
}

// TestReload: SIGHUP takes over what can be and says what cannot.
func TestReload(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	said := func(words ...string) {
		t.Helper()
		await(t, fmt.Sprintf("the agent says %q", words), func() error {
			text, err := os.ReadFile(a.log)
			for _, word := range words {
				if !strings.Contains(string(text), word) {
					err = fmt.Errorf("%q is missing", word)
				}
			}
			return err
		})
	}
	r.more = "log_level = \"debug\"\n"
	a.inClient = "  meta {\n    rack = \"r7\"\n  }\n"
	a.writeConfig()
	a.signal(unix.SIGHUP)
	said("configuration read again", "client.meta.rack", "log_level")
	await(t, "the region knows the node's new meta", func() error {
		if rack := r.node(a).Meta["rack"]; rack != "r7" {
			return fmt.Errorf("rack = %q", rack)
		}
		return nil
	})
	a.proffer("run", "--", "true").has(t, "run", 0, "", "")
	said("level=DEBUG")
	// What no longer fits on a smaller node goes, the newest first, and the rest is left alone.
	w := r.witness()
	for _, job := range []string{"first", "second", "third"} {
		r.submit(w.job("service", job, 1, forever, ""))
		r.allocs(job, 1)
	}
	first, second := w.pids("first", 1), w.pids("second", 1)
	a.inClient = "  reserved {\n    cpu = 63.9\n  }\n"
	a.writeConfig()
	a.signal(unix.SIGHUP)
	await(t, "the third waits for room", func() error {
		status, _, err := a.api().JobStatus(t.Context(), "third", nil)
		if err == nil && (status.Groups[0].Waiting != 1 || status.Groups[0].Running != 0) {
			err = fmt.Errorf("%+v", status.Groups[0])
		}
		return err
	})
	w.kept("first", first)
	w.kept("second", second)
	a.inClient = ""
	a.writeConfig()
	a.signal(unix.SIGHUP)
	r.allocs("third", 1)
	w.pids("third", 1)
	w.kept("second", second)
	r.more = "datacenter = \"dc9\"\n"
	a.writeConfig()
	a.signal(unix.SIGHUP)
	said("changed settings need a restart of the agent", "datacenter")
	r.more = "nonsense = 1\n"
	a.writeConfig()
	a.signal(unix.SIGHUP)
	said("nothing was reloaded", "nonsense")
	a.proffer("run", "--", "echo", "well").has(t, "run", 0, "well\n", "")
}

// TestFullDisk: a node whose disk is full says so, stays up, and works again when there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	s := r.server("s", "-bootstrap-expect", "1")
	c := r.client("c")
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", c.dir, "tmpfs", 0, "size=24m,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(c.dir, unix.MNT_DETACH) })
	r.startAll()
	w := r.witness()
	r.submit(w.job("service", "web", 2, forever, ""))
	r.allocs("web", 2)
	pids := w.pids("web", 2)

	filler, err := os.Create(filepath.Join(c.dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	zeros := make([]byte, 4096)
	for err == nil {
		_, err = filler.Write(zeros)
	}
	r.submit(strings.Replace(service("more", 1, "exec sleep 1000000"), "group", "type = \"batch\"\n  group", 1))
	await(t, "the region knows that the disk is full", func() error {
		status := s.must("job", "status", "more")
		text, _ := os.ReadFile(c.log)
		for _, said := range []string{status, string(text)} {
			if strings.Contains(said, "no space left") {
				return nil
			}
		}
		return fmt.Errorf("%s", status)
	})
	w.kept("web", pids)
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	filler.Close()
	s.proffer("run", "-place-timeout", "0", "--", "echo", "well").has(t, "run with room again", 0, "well\n", "")
	w.kept("web", pids)

	// An artifact that does not fit waits, leaves nothing meanwhile, and its task starts once there is room.
	large := make([]byte, 4<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(large) }))
	defer server.Close()
	var disk unix.Statfs_t
	room := func() int64 {
		t.Helper()
		if err := unix.Statfs(c.dir, &disk); err != nil {
			t.Fatal(err)
		}
		return int64(disk.Bavail) * disk.Bsize
	}
	if err := os.WriteFile(filler.Name(), make([]byte, room()-2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r.submit(strings.Replace(service("large", 1, "wc -c </local/large; exec sleep 1000000"), "      config", `      artifact {
        source = "`+server.URL+`/large"
      }
      config`, 1))
	await(t, "the region knows what does not fit, and where", func() error {
		status := s.must("job", "status", "large")
		if !strings.Contains(status, "/large: write "+c.dir) || !strings.Contains(status, "no space left on device") || !strings.Contains(status, "of 24MiB are free there") {
			return fmt.Errorf("%s", status)
		}
		return nil
	})
	await(t, "what arrived was given back", func() error {
		if parts, _ := os.ReadDir(filepath.Join(c.dir, "fetched/parts")); len(parts) > 0 {
			return fmt.Errorf("%v", parts)
		}
		return nil
	})
	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	one := r.allocs("large", 1)[0]
	await(t, "the task has all of it", func() error {
		if out := s.must("alloc", "logs", string(one.ID)); out != "4194304\n" {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	w.kept("web", pids)
	c.kill()
	c.start()
	r.nodes(structs.NodeReady, 1)
	r.allocs("web", 2)
	w.kept("web", pids)
}
