package exec

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestValidate(t *testing.T) {
	d := (*Driver)(nil)
	for name, c := range map[string]struct {
		config map[string]any
		want   []string // parts of the message; nil: it is valid
	}{
		"complete": {map[string]any{"command": "sh", "args": []any{"-c", "true"}, "isolation": "full", "network": "none",
			"cap_add": []any{"CAP_NET_RAW", "chown"}, "rlimits": map[string]any{"nofile": 1024.0, "core": "unlimited"}, "pids": 10}, nil},
		"least":        {map[string]any{"command": "/bin/true"}, nil},
		"another name": {map[string]any{"command": "/bin/busybox", "arg0": "ls"}, nil},
		"no name":      {map[string]any{"command": "sh", "arg0": []any{"ls"}}, []string{"job.arg0: it must be a string"}},
		"nothing":      {nil, []string{"job.command: it is missing"}},
		"typing error": {map[string]any{"comand": "sh"}, []string{`job.comand: the exec driver has no such setting (did you mean "command"?)`, "job.command: it is missing"}},
		"strange key":  {map[string]any{"command": "sh", "zzzzzz": 1}, []string{"it has arg0, args, cap_add, command"}},
		"wrong types": {map[string]any{"command": 5, "args": "x", "network": true, "cap_add": []any{1}, "pids": "many", "rlimits": []any{}},
			[]string{"job.command: it must be a string, not 5", `job.args: it must be a list of strings, not "x"`,
				`job.network: it must be a string, not true`, "job.cap_add[0]: it must be a string, not 1", "job.pids: it must be a whole number from 2",
				"job.rlimits: it must be a map"}},
		"a profile":       {map[string]any{"command": "sh", "seccomp": "web-1.2"}, nil},
		"profile by path": {map[string]any{"command": "sh", "seccomp": "../web"}, []string{`job.seccomp: it must be "default", "unconfined" or the name of a profile`}},
		"isolation":       {map[string]any{"command": "sh", "isolation": "ful"}, []string{`it must be "full" or "none", not "ful" (did you mean "full"?)`}},
		"capability":      {map[string]any{"command": "sh", "cap_add": []any{"net_raww"}}, []string{`did you mean "net_raw"?`}},
		"sys_admin":       {map[string]any{"command": "sh", "cap_add": []any{"CAP_SYS_ADMIN"}}, []string{`capability "CAP_SYS_ADMIN" may not be added`}},
		"rlimit":          {map[string]any{"command": "sh", "rlimits": map[string]any{"nofiles": 1, "core": -1, "stack": 1.5}}, []string{`did you mean "nofile"?`, "rlimits.core", "rlimits.stack"}},
		"none with caps":  {map[string]any{"command": "sh", "isolation": "none", "cap_add": []any{"chown"}}, []string{`it needs isolation = "full"`}},
		"none without":    {map[string]any{"command": "sh", "isolation": "none", "network": "host"}, nil},
		"zero byte":       {map[string]any{"command": "sh\x00", "args": []any{"a\x00"}}, []string{"job.command", "job.args[0]"}},
		"namespaces":      {map[string]any{"command": "sh", "pid_mode": "alloc", "ipc_mode": "private", "shm_size": "1MiB"}, nil},
		"others'":         {map[string]any{"command": "sh", "pid_mode": "container:x", "ipc_mode": "${meta.x}"}, []string{"job.pid_mode", "job.ipc_mode: it cannot have references"}},
		"memory of two":   {map[string]any{"command": "sh", "ipc_mode": "host", "shm_size": "1MiB"}, []string{"job.shm_size"}},
		"none to share":   {map[string]any{"command": "sh", "isolation": "none", "pid_mode": "host", "shm_size": "1MiB"}, []string{"job.pid_mode", "job.shm_size"}},
		"absurd pids":     {map[string]any{"command": "sh", "pids": 1e300}, []string{"job.pids"}},
		"one pid":         {map[string]any{"command": "sh", "pids": 1}, []string{"job.pids"}},
		"too many args":   {map[string]any{"command": "sh", "args": slices.Repeat([]any{"x"}, 4097)}, []string{"job.args: 4097 entries are more than 4096"}},
		"strings as args": {map[string]any{"command": "sh", "args": []string{"x"}}, nil},
	} {
		err := d.Validate("job", c.config)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil && structs.KindOf(err) != structs.Invalid {
			t.Errorf("%s: kind %s", name, structs.KindOf(err))
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v\nlacks %q", name, err, want)
			}
		}
	}
}

func TestSignals(t *testing.T) {
	for name, want := range map[string]int{"": 15, "SIGTERM": 15, "term": 15, "KILL": 9, "SIGINT": 2, "34": 34} {
		if n, err := localSignal(name); n != want || err != nil {
			t.Errorf("%q = %d, %v; want %d", name, n, err, want)
		}
	}
	for _, name := range []string{"SIGTREM", "0", "-1", "65", "x"} {
		if _, err := localSignal(name); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := localSignal("SIGTREM"); !strings.Contains(err.Error(), "did you mean SIGTERM?") {
		t.Error(err)
	}
}

// fake is a supervisor that records launches.
type fake struct {
	Supervisor
	features Features
	launched []*Launch
	stats    []*drivers.Stats
}

func (f *fake) Features(context.Context) (*Features, error) { return &f.features, nil }
func (f *fake) Start(_ context.Context, l *Launch) (*Status, error) {
	f.launched = append(f.launched, l)
	return &Status{ID: l.ID}, nil
}
func (f *fake) Stats(context.Context, string) (*drivers.Stats, error) {
	if len(f.stats) == 0 {
		return nil, errors.New("no more")
	}
	s := f.stats[0]
	f.stats = f.stats[1:]
	return s, nil
}

func testSpec(t *testing.T, config map[string]any) *drivers.Spec {
	dir := t.TempDir()
	config["command"] = "sh"
	return &drivers.Spec{ID: "a/web/1", Task: &structs.Task{Name: "web", Config: config, Logs: &structs.Logs{MaxFiles: 3}}, Memory: 10, MemoryMax: 20,
		AllocDir: filepath.Join(dir, "alloc"), TaskDir: filepath.Join(dir, "web"), LogDir: filepath.Join(dir, "logs"), Fence: &drivers.Fence{}}
}

func TestALaunchHasWhatTheSpecSays(t *testing.T) {
	sup := &fake{features: Features{Full: true}}
	d := New(sup, Options{})
	spec := testSpec(t, map[string]any{"args": []any{"x"}, "network": "none"})
	if _, err := d.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	l := sup.launched[0]
	if l.ID != spec.ID || l.Program != "sh" || !slices.Equal(l.Args, []string{"x"}) || !l.Full || !l.Network || l.Memory != 20 ||
		!l.Fenced || l.LogName != "web" || l.LogFiles != 3 || l.Pids != defaultPids || l.UID != uint32(os.Geteuid()) {
		t.Errorf("launch = %+v", l)
	}
	for _, dir := range []string{"local", "secrets", "tmp"} {
		if info, err := os.Stat(filepath.Join(spec.TaskDir, dir)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestTheNodeDecidesOnIsolation(t *testing.T) {
	for _, c := range []struct {
		asked string
		opts  Options
		can   bool
		full  bool
		kind  structs.Kind
	}{
		{"", Options{}, true, true, ""},
		{"", Options{}, false, true, ""}, // the supervisor refuses it, with its reason
		{"", Options{DefaultNone: true}, false, false, ""},
		{"", Options{DefaultNone: true}, true, true, ""},
		{"full", Options{DefaultNone: true}, false, true, ""},
		{"none", Options{}, true, false, structs.Forbidden},
		{"none", Options{AllowNone: true}, true, false, ""},
	} {
		sup := &fake{features: Features{Full: c.can}}
		config := map[string]any{}
		if c.asked != "" {
			config["isolation"] = c.asked
		}
		_, err := New(sup, c.opts).Start(t.Context(), testSpec(t, config))
		if structs.KindOf(err) != c.kind {
			t.Errorf("%+v: %v", c, err)
		} else if err == nil && sup.launched[0].Full != c.full {
			t.Errorf("%+v: full = %v", c, sup.launched[0].Full)
		}
	}
}

func TestFingerprint(t *testing.T) {
	for _, c := range []struct {
		features Features
		opts     Options
		healthy  bool
	}{
		{Features{Full: true, Cgroups: 2}, Options{}, true},
		{Features{Why: "isolation needs root"}, Options{}, false},
		{Features{Why: "isolation needs root"}, Options{AllowNone: true}, true},
	} {
		got := New(&fake{features: c.features}, c.opts).Fingerprint(t.Context())
		if got.Healthy != c.healthy || got.Healthy == (got.Why != "") {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

func TestStatsGiveCoresOverTheTimeBetween(t *testing.T) {
	sup := &fake{stats: []*drivers.Stats{
		{Time: structs.Time(10 * time.Second), CPUTime: structs.Duration(time.Second), MemoryMax: 50},
		{Time: structs.Time(12 * time.Second), CPUTime: structs.Duration(2 * time.Second), MemoryMax: 40},
	}}
	d := New(sup, Options{})
	task := d.task(&drivers.Spec{ID: "x"})
	if s, err := task.Stats(t.Context()); err != nil || s.CPU != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := task.Stats(t.Context()); err != nil || s.CPU != 500 || s.MemoryMax != 50 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestUsers(t *testing.T) {
	var u users
	if id, err := u.find("task", ""); err != nil || id.uid != uint32(os.Geteuid()) {
		t.Errorf("nobody named: %+v, %v", id, err)
	}
	if !hostHasIDs() {
		if _, err := u.find("task", "nosuchuser"); structs.KindOf(err) != structs.Forbidden {
			t.Errorf("another user without root: %v", err)
		}
		return
	}
	for name, want := range map[string]identity{"1234": {uid: 1234, gid: 1234}, "12:34": {uid: 12, gid: 34}} {
		if id, err := u.find("task", name); err != nil || id.uid != want.uid || id.gid != want.gid {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	for _, name := range []string{"nosuchuser", "1:", ":1", "-1", "a:b"} {
		if _, err := u.find("task", name); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRoot(t *testing.T) {
	for root, ok := range map[string]bool{"local/rootfs": true, "local/a/b": true, "${meta.root}": true, "local": false, "/local/x": false, "local/../x": false,
		"secrets/x": false, "..": false} {
		_, err := parse("x", map[string]any{"command": "/bin/sh", "root": root})
		if (err == nil) != ok {
			t.Errorf("%s: %v", root, err)
		}
	}
	if _, err := parse("x", map[string]any{"command": "/bin/sh", "root": "local/x", "isolation": "none"}); err == nil {
		t.Error("a root without isolation")
	}
}
