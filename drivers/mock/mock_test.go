package mock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

func spec(id string, config map[string]any) *drivers.Spec {
	return &drivers.Spec{ID: id, Alloc: structs.AllocID(strings.Split(id, "/")[0]), Task: &structs.Task{Name: "main", Config: config}}
}

func start(t *testing.T, d *mock.Driver, id string, config map[string]any) drivers.Task {
	t.Helper()
	task, err := d.Start(t.Context(), spec(id, config))
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func wait(t *testing.T, task drivers.Task) drivers.Exit {
	t.Helper()
	exit, err := task.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return exit
}

// The first start from an image takes longer, and from then on the machine says that it has it.
func TestImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := mock.New(nil)
		if images := d.Fingerprint(t.Context()).Images; len(images) != 0 {
			t.Errorf("at first: %v", images)
		}
		config := map[string]any{"image": "web:1", "image_size": "3GiB", "pull_delay": "1m", "start_delay": "2s"}
		for i, want := range []time.Duration{62 * time.Second, 2 * time.Second} {
			begin := time.Now()
			wait(t, start(t, d, fmt.Sprintf("a/main/%d", i), config))
			if took := time.Since(begin); took != want {
				t.Errorf("start %d took %s, not %s", i, took, want)
			}
		}
		if images := d.Fingerprint(t.Context()).Images; len(images) != 1 || images["docker.io/library/web:1"] != 3<<30 {
			t.Errorf("then: %v", images)
		}
		for _, bad := range []any{-3, "many", "-1GiB"} {
			if err := d.Validate("task", map[string]any{"image": "web:1", "image_size": bad}); structs.KindOf(err) != structs.Invalid {
				t.Errorf("%v: %v", bad, err)
			}
		}
	})
}

func TestScripts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := mock.New(nil)
		begin := time.Now()
		passed := func(want time.Duration) {
			t.Helper()
			if got := time.Since(begin); got != want {
				t.Errorf("%s passed, want %s", got, want)
			}
			begin = time.Now()
		}
		if exit := wait(t, start(t, d, "a/main/1", map[string]any{"exit_code": 3.0})); exit.Code != 3 {
			t.Errorf("%+v", exit)
		}
		passed(0)
		wait(t, start(t, d, "b/main/1", map[string]any{"run_for": "5s", "start_delay": "2s"}))
		passed(7 * time.Second)
		c := map[string]any{"fail_first": int64(1)}
		if first, second := wait(t, start(t, d, "c/main/1", c)), wait(t, start(t, d, "c/main/2", c)); first.Code != 1 || second.Code != 0 {
			t.Errorf("%+v %+v", first, second)
		}
		if exit := wait(t, start(t, d, "d/main/1", map[string]any{"oom": true})); !exit.OOM || exit.Code != 137 {
			t.Errorf("%+v", exit)
		}
		_, err := d.Start(t.Context(), spec("e/main/1", map[string]any{"start_error": "no luck", "start_error_kind": "exhausted"}))
		if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), "no luck") {
			t.Error(err)
		}
		_, err = d.Start(t.Context(), spec("e/main/1", map[string]any{"start_error": syscall.ENOSPC.Error()}))
		if !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = d.Start(ctx, spec("f/main/1", map[string]any{"start_delay": "1h"})); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		passed(time.Second)
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := mock.New(nil)
		for _, c := range []struct {
			config map[string]any
			grace  time.Duration
			signal int
			takes  time.Duration
		}{
			{map[string]any{"run_for": "forever"}, 5 * time.Second, 15, 0},
			{map[string]any{"run_for": "forever", "stop_delay": "2s"}, 5 * time.Second, 15, 2 * time.Second},
			{map[string]any{"run_for": "forever", "stop_delay": "9s"}, 5 * time.Second, 9, 5 * time.Second},
			{map[string]any{"run_for": "forever", "ignore_signals": true}, 5 * time.Second, 9, 5 * time.Second},
			{map[string]any{"run_for": "forever", "ignore_signals": true}, 0, 9, 0},
		} {
			task := start(t, d, "a/main/1", c.config)
			begin := time.Now()
			if err := task.Destroy(t.Context()); structs.KindOf(err) != structs.Conflict {
				t.Errorf("destroyed while it ran: %v", err)
			}
			if err := task.Stop(t.Context(), "SIGTERM", c.grace); err != nil {
				t.Fatal(err)
			}
			if exit := wait(t, task); exit.Signal != c.signal || exit.Code != 128+c.signal || time.Since(begin) != c.takes {
				t.Errorf("%v: %+v after %s", c.config, exit, time.Since(begin))
			}
			if err := errors.Join(task.Destroy(t.Context()), task.Destroy(t.Context())); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := mock.NewMachine(false)
		config := map[string]any{"run_for": "10s", "exit_code": 4}
		task := start(t, mock.New(m), "a/main/1", config)
		handle := task.Handle()
		for name, d := range map[string]*mock.Driver{"same machine": mock.New(m), "from the handle": mock.New(nil)} {
			again, err := d.Recover(t.Context(), spec("a/main/1", config), handle)
			if err != nil {
				t.Fatal(err)
			}
			if exit := wait(t, again); exit.Code != 4 || time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) != 10*time.Second {
				t.Errorf("%s: %+v", name, exit)
			}
		}
		if _, err := mock.New(m).Recover(t.Context(), spec("a/main/1", config), nil); err != nil {
			t.Error(err)
		}
		if _, err := mock.New(m).Recover(t.Context(), spec("b/main/1", config), nil); structs.KindOf(err) != structs.NotFound {
			t.Error(err)
		}
	})
}

func TestMachineSeesViolations(t *testing.T) {
	m := mock.NewMachine(true)
	d := mock.New(m)
	start(t, d, "a/main/1", map[string]any{"run_for": "forever"})
	d.Start(t.Context(), spec("a/main/1", nil))
	start(t, d, "a/main/2", nil)
	if got := strings.Join(m.Violations(), "; "); got != "a/main/1 was started while the machine knew it; a/main/2 was started while a/main/1 ran" {
		t.Error(got)
	}
	if err := d.Sweep(t.Context(), func(string) bool { return false }); err != nil || strings.Join(m.Known(), " ") != "a/main/1" {
		t.Errorf("%v are known, %v", m.Known(), err)
	}
}

func TestOutputAndExec(t *testing.T) {
	d := mock.New(nil)
	s := spec("a/main/1", map[string]any{"run_for": "forever", "stdout": []any{"one", "two"}, "stderr": "bad", "exec_exit_code": 3})
	s.LogDir = t.TempDir()
	task, err := d.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"main.stdout.0": "one\ntwo\n", "main.stderr.0": "bad\n"} {
		if raw, err := os.ReadFile(filepath.Join(s.LogDir, name)); err != nil || string(raw) != want {
			t.Errorf("%s: %q, %v", name, raw, err)
		}
	}
	var out bytes.Buffer
	exit, err := task.Exec(t.Context(), drivers.Command{Args: []string{"a", "b"}, Stdin: strings.NewReader("in "), Stdout: &out})
	if err != nil || exit.Code != 3 || out.String() != "in a b\n" {
		t.Errorf("%+v %q %v", exit, out.String(), err)
	}
}

func TestValidate(t *testing.T) {
	var d *mock.Driver
	if err := d.Validate("config", map[string]any{"run_for": "forever", "exit_code": int64(2), "stdout": []any{"x"}, "oom": false}); err != nil {
		t.Error(err)
	}
	err := d.Validate("config", map[string]any{"runfor": "1s", "exit_code": 300, "stdout": 5, "oom": "yes", "start_delay": "forever", "zzzzzzzzz": 1,
		"start_error_kind": "x", "fail_first": 1.5, "run_for": "-1s"})
	for _, part := range []string{`config.runfor: the mock driver has no such setting (did you mean "run_for"?)`, "config.exit_code: it must be a whole number from 0 to 255, not 300",
		"config.stdout: it must be a list of strings, not 5", `config.oom: it must be true or false, not "yes"`, `config.start_delay: it must be a duration such as "30s", not "forever"`,
		"config.zzzzzzzzz: the mock driver has no such setting (it has", `config.start_error_kind: it must be "internal" or`,
		"config.fail_first: it must be a whole number from 0 to 2147483647, not 1.5", `config.run_for: it must be a duration such as "30s", not "-1s"`} {
		if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}
