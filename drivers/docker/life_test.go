//go:build linux && system

package docker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

var serial atomic.Int64

// stream is an Output in one file.
type stream struct{ path string }

func (s stream) Write(b []byte) (int, error) {
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Write(b)
}

func (s stream) Offset() (int64, error) {
	info, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (stream) Close() error { return nil }

// spec makes a task that runs a shell script.
func spec(t *testing.T, script string, more map[string]any) *drivers.Spec {
	dir := t.TempDir()
	id := fmt.Sprintf("life-%d-%d", os.Getpid(), serial.Add(1))
	config := map[string]any{"image": "busybox:test", "command": "sh", "args": []any{"-c", script}, "network_mode": "none"}
	for k, v := range more {
		config[k] = v
	}
	s := &drivers.Spec{ID: id + "/main/1", Alloc: structs.AllocID(id), Job: "job", Group: "group", Task: &structs.Task{Name: "main", Config: config},
		AllocDir: filepath.Join(dir, "alloc"), TaskDir: filepath.Join(dir, "main"), LogDir: filepath.Join(dir, "logs"), Memory: 64 << 20}
	s.Output = func(name string) drivers.Output {
		os.MkdirAll(s.LogDir, 0o755)
		return stream{filepath.Join(s.LogDir, name)}
	}
	return s
}

func text(t *testing.T, s *drivers.Spec, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.LogDir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(raw)
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, d *docker.Driver, s *drivers.Spec) drivers.Task {
	t.Helper()
	task, err := d.Start(within(t), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { take(t, task) })
	return task
}

// take ends and removes a container.
func take(t *testing.T, task drivers.Task) {
	if err := task.Stop(within(t), "SIGKILL", 0); err != nil && structs.KindOf(err) != structs.NotFound {
		t.Errorf("stop: %v", err)
	}
	if err := task.Destroy(within(t)); err != nil {
		t.Errorf("destroy: %v", err)
	}
}

func wait(t *testing.T, task drivers.Task) drivers.Exit {
	t.Helper()
	exit, err := task.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited for %s", what)
		}
	}
}

// TestWhatATaskSees: folders, environment, limits and rights are those of its config.
func TestWhatATaskSees(t *testing.T) {
	open := t.TempDir()
	if err := os.WriteFile(filepath.Join(open, "f"), []byte("of the node\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := driver(t, shared, func(o *docker.Options) { o.HostPaths, o.Volumes = []string{open}, true })
	s := spec(t, `
cat /host/f; echo no 2>/dev/null > /host/g || echo "read only"
echo mine > /data/x && cat /local/data/x
[ -w /secrets ] && [ -w /alloc ] && echo "folders are there"
touch /y 2>/dev/null || echo "the root is read only"
df /scratch | tail -n 1 | grep -q 1024 && echo "a small tmpfs"
echo "$FROM_IMAGE $FROM_TASK $PATH"
ulimit -n; hostname; id -u
grep CapEff /proc/self/status | grep -q 0000000000000000 && echo "no rights"
`, map[string]any{"volumes": []any{open + ":/host:ro", "local/data:/data"}, "read_only": true, "cap_drop": []any{"all"}, "hostname": "box",
		"mount": []any{map[string]any{"type": "tmpfs", "target": "/scratch", "size": "1MiB"}}, "ulimit": map[string]any{"nofile": "100:200"},
		"labels": map[string]any{"team": "shop"}, "options": map[string]any{"MemorySwappiness": 0.0}})
	s.Env, s.Task.User = []string{"FROM_TASK=yes"}, "1000:1000"
	task := start(t, d, s)
	if exit := wait(t, task); exit.Code != 0 {
		t.Errorf("exit %+v", exit)
	}
	want := "of the node\nread only\nmine\nfolders are there\nthe root is read only\na small tmpfs\nyes yes /bin\n100\nbox\n1000\nno rights\n"
	if got := text(t, s, "stdout"); got != want {
		t.Errorf("stdout:\n%swant:\n%sstderr:\n%s", got, want, text(t, s, "stderr"))
	}
	r, err := shared.API.ContainerInspect(within(t), string(task.Handle()), client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := &r.Container
	if c.Config.Labels["team"] != "shop" || c.Config.Labels["proffer.job"] != "job" || c.HostConfig.Memory != 64<<20 || *c.HostConfig.PidsLimit != 4096 {
		t.Errorf("labels %v, memory %d, pids %d", c.Config.Labels, c.HostConfig.Memory, *c.HostConfig.PidsLimit)
	}
}

// TestImagesAreTold: a node says what images its engine has, for placement.
func TestImagesAreTold(t *testing.T) {
	f := healthy(t, driver(t, shared, nil))
	name := structs.ImageName("busybox:test")
	if size := structs.BoundImages(f.Images)[name]; size < 1<<20 {
		t.Errorf("%s has %s; all: %v", name, size, f.Images)
	}
}

// TestFoldersBelongToTheUser: to one that only the image knows too, whether the task names it or the image does.
func TestFoldersBelongToTheUser(t *testing.T) {
	d := driver(t, shared, nil)
	conf, err := dockertest.Busybox().ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	conf = conf.DeepCopy()
	conf.Config.User = "app"
	img, err := mutate.ConfigFile(dockertest.Busybox(), conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Load("busybox:app", img); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ user, image, want string }{
		{"", "busybox:test", "0"}, {"app", "busybox:test", "1234"}, {"", "busybox:app", "1234"}, {"77:77", "busybox:app", "77"}, {"root", "busybox:app", "0"},
	} {
		s := spec(t, "id -u && touch /local/x /secrets/x /alloc/x", map[string]any{"image": c.image})
		s.Task.User = c.user
		for dir := s.TaskDir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) { // others have to get through
			os.Chmod(dir, 0o755)
		}
		exit := wait(t, start(t, d, s))
		if got := text(t, s, "stdout"); exit.Code != 0 || got != c.want+"\n" {
			t.Errorf("user %q of %s: exit code %d, %q, %q", c.user, c.image, exit.Code, got, text(t, s, "stderr"))
		}
	}
}

// TestOutputIsNeitherLostNorDoubled: an agent that dies at any moment of the copying goes on where the files end.
func TestOutputIsNeitherLostNorDoubled(t *testing.T) {
	const lines = 20000
	s := spec(t, fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "line $i of the task"; [ $((i %% 100)) -gt 0 ] || echo "err $i" >&2; done`, lines), nil)
	d := driver(t, shared, nil)
	task := start(t, d, s)
	agents := 0
	for ; ; agents++ {
		d.Close() // as abrupt as it gets: copying stops between two entries
		now, err := stream{filepath.Join(s.LogDir, "stdout")}.Offset()
		if err != nil {
			t.Fatal(err)
		}
		d = driver(t, shared, nil)
		if task, err = d.Recover(within(t), s, task.Handle()); err != nil {
			t.Fatal(err)
		}
		if agents >= 10 {
			break
		}
		await(t, "more output", func() bool {
			size, _ := stream{filepath.Join(s.LogDir, "stdout")}.Offset()
			return size > now
		})
	}
	wait(t, task)
	var out, errs bytes.Buffer
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(&out, "line %d of the task\n", i)
		if i%100 == 0 {
			fmt.Fprintf(&errs, "err %d\n", i)
		}
	}
	if got := text(t, s, "stdout"); got != out.String() {
		t.Errorf("stdout has %d bytes, want %d; it differs after %q", len(got), out.Len(), common(got, out.String()))
	}
	if got := text(t, s, "stderr"); got != errs.String() {
		t.Errorf("stderr has %d bytes, want %d; it differs after %q", len(got), errs.Len(), common(got, errs.String()))
	}
}

// common is the end of what two texts begin with.
func common(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[max(0, n-60):n]
}

// TestBinaryAndLongOutput: what a task writes comes as it was written, also without line ends.
func TestBinaryAndLongOutput(t *testing.T) {
	s := spec(t, `dd if=/dev/zero bs=1024 count=300 2>/dev/null; printf 'end without a line end'`, nil)
	wait(t, start(t, driver(t, shared, nil), s))
	if got, want := text(t, s, "stdout"), strings.Repeat("\x00", 300<<10)+"end without a line end"; got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestNothingOfItsOwnIsLeft: containers whose task nobody knows go, also those that run; others stay.
func TestNothingOfItsOwnIsLeft(t *testing.T) {
	d := driver(t, shared, func(o *docker.Options) { o.Owner, o.KeepEvery = "sweeper", 10*time.Millisecond })
	other := driver(t, shared, func(o *docker.Options) { o.Owner = "another" })
	known, unknown, foreign := spec(t, "sleep 1000", nil), spec(t, "sleep 1000", nil), spec(t, "sleep 1000", nil)
	start(t, d, known)
	start(t, d, unknown)
	start(t, other, foreign)
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan struct{})
	go func() {
		d.Keep(ctx, func(id string) bool { return id == known.ID })
		close(done)
	}()
	await(t, "the unknown one to go", func() bool {
		_, err := other.Recover(within(t), unknown, nil)
		return structs.KindOf(err) == structs.NotFound
	})
	cancel()
	<-done
	for _, s := range []*drivers.Spec{known, foreign} {
		task, err := other.Recover(within(t), s, nil)
		if err == nil {
			_, err = task.Stats(within(t))
		}
		if err != nil {
			t.Errorf("%s: %v", s.ID, err)
		}
	}
}

// TestAStartThatWasCutOff: an agent that died between making a container and starting it leaves nothing.
func TestAStartThatWasCutOff(t *testing.T) {
	d := driver(t, shared, nil)
	s := spec(t, "sleep 1000", nil)
	made, err := shared.API.ContainerCreate(within(t), client.ContainerCreateOptions{Image: "busybox:test", Name: "proffer-" + strings.ReplaceAll(s.ID, "/", "-")})
	if err != nil {
		t.Fatal(err)
	}
	// One of that name without the label is not ours.
	if _, err := d.Recover(within(t), s, nil); structs.KindOf(err) != structs.NotFound {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := d.Start(within(t), s); structs.KindOf(err) != structs.Conflict {
		t.Errorf("a start beside a stranger: %v", err)
	}
	if _, err := shared.API.ContainerRemove(within(t), made.ID, client.ContainerRemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	task := start(t, d, s)
	take(t, task)
	start(t, d, s)
}

// TestTheEngineFails: killed, hung and restarted under running tasks, it leaves none stuck and loses no end. Only what a task writes
// when the engine is gone, and ends before it is back, the engine itself may lose.
func TestTheEngineFails(t *testing.T) {
	t.Parallel()
	e, err := dockertest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.End(); err != nil {
			t.Error(err)
		}
	})
	const soon = 10 * time.Second // is what a call waits for an engine that hangs. One that works and is slow answers sooner.
	d := driver(t, e, func(o *docker.Options) { o.CallTimeout = soon })
	gate := func(name string) string {
		return fmt.Sprintf("echo begun; until [ -e /local/%s ]; do sleep 0.05; done; echo ended; exit 3", name)
	}
	runs, ends := spec(t, "echo begun; sleep 100000", nil), spec(t, gate("go"), nil)
	running, ending := start(t, d, runs), start(t, d, ends)
	type answer struct {
		exit drivers.Exit
		err  error
	}
	ended := make(chan answer, 1)
	go func() {
		exit, err := ending.Wait(within(t))
		ended <- answer{exit, err}
	}()
	await(t, "output", func() bool { return text(t, ends, "stdout") == "begun\n" })

	// Hung: calls end, the node says so, and a start that may have happened is Unknown until it can be looked for.
	e.Signal(unix.SIGSTOP)
	late := spec(t, "sleep 100000", nil)
	var calls sync.WaitGroup
	calls.Go(func() {
		if f := d.Fingerprint(within(t)); f.Healthy || !strings.Contains(f.Why, "does not answer") {
			t.Errorf("a hanging engine: %+v", f)
		}
	})
	calls.Go(func() {
		if _, err := running.Stats(within(t)); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("stats: %v", err)
		}
	})
	calls.Go(func() {
		if err := running.Stop(within(t), "SIGTERM", time.Second); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("stop: %v", err)
		}
	})
	calls.Go(func() {
		if _, err := d.Start(within(t), late); structs.KindOf(err) != structs.Unavailable && structs.KindOf(err) != structs.Unknown {
			t.Errorf("start: %v", err)
		}
	})
	calls.Wait()
	e.Signal(unix.SIGCONT)
	await(t, "health", func() bool { return d.Fingerprint(within(t)).Healthy })
	if task, err := d.Recover(within(t), late, nil); err == nil {
		take(t, task)
	} else if structs.KindOf(err) != structs.NotFound {
		t.Errorf("after the start: %v", err)
	}

	// Killed: what ran runs on (live-restore), and what ended meanwhile has its exit code.
	e.Kill()
	if f := d.Fingerprint(within(t)); f.Healthy {
		t.Error("an engine that is gone is healthy")
	}
	if _, err := d.Start(within(t), spec(t, "true", nil)); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("start without an engine: %v", err)
	}
	if err := os.WriteFile(filepath.Join(ends.TaskDir, "local/go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.Run(); err != nil {
		t.Fatal(err)
	}
	got := <-ended
	if got.err != nil || got.exit.Code != 3 {
		t.Errorf("what ended while the engine was away: %+v", got)
	}
	if out := text(t, ends, "stdout"); out != "begun\nended\n" && out != "begun\n" {
		t.Errorf("output %q", out)
	}
	if _, err := running.Stats(within(t)); err != nil {
		t.Errorf("what ran does not: %v", err)
	}
	if err := running.Stop(within(t), "SIGTERM", 100*time.Millisecond); err != nil {
		t.Errorf("stop: %v", err)
	}
	if exit := wait(t, running); exit.Signal != 9 {
		t.Errorf("exit %+v", exit)
	}
}
