package volumes

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

// What of the host a task of a framework may mount: what is at or below a host volume, as that allows, and what its driver lets it.
func TestBinds(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"rw/deep", "ro", "own", "rw2"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"rw/away", "linked"} {
		if err := os.Symlink(filepath.Join(dir, "ro"), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	v, err := Open(filepath.Join(dir, "volumes"), map[string]HostVolume{"rw": {Path: dir + "/rw/"}, "ro": {Path: dir + "/ro", ReadOnly: true}, "linked": {Path: dir + "/linked"}},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source string
		reads  bool
		spread structs.Propagation
		want   string // where it is below, and what it is; or why not
	}{
		{"/rw", false, "", "/rw /rw"},
		{"/rw/deep", false, "", "/rw /rw/deep"},
		{"/linked", false, "", "/ro /ro"},
		{"/own", false, "", "/own /own"},
		{"/ro", true, "", "/ro /ro"},
		{"/ro", false, "", "mount it with the mode RO"},
		{"/rw2", false, "", "host_volume NAME { path ="},
		{"", true, "", "host_volume NAME { path ="},
		{"/rw/none", false, "", "no such file"},
		{"/rw/away", false, "", "is a link"},
		{"/rw/away/x", false, "", "is a link"},
		{"/rw", false, structs.PropagationBidirectional, "allows that with propagation ="},
		{"/rw/deep", false, structs.PropagationHostToTask, "seen below a host volume as a whole"},
		{"/own", false, structs.PropagationHostToTask, "host_volume NAME { path ="},
	} {
		m, err := v.Bind(&structs.Bind{Source: dir + c.source, Destination: "/x", ReadOnly: c.reads, Propagation: c.spread}, []string{dir + "/own"})
		got := strings.TrimPrefix(m.Below, dir) + " " + strings.TrimPrefix(m.Source, dir)
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%q, to be read only %t, %s: %s, and not %s", c.source, c.reads, c.spread, got, c.want)
		}
		if kind := structs.KindOf(err); err != nil && kind != structs.Forbidden && kind != structs.Invalid {
			t.Errorf("%q: the task would wait for ever: %v", c.source, err)
		}
	}
}
