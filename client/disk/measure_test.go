package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/structs"
)

// What a folder holds is counted once, wherever it is in it; links lead nowhere, and nothing that would wait for somebody is opened.
func TestSizes(t *testing.T) { synctest.Test(t, sizes) }

func sizes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have other sizes there")
	}
	dir := t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		path = filepath.Join(dir, path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, make([]byte, size), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	measure := func() (structs.Bytes, map[string]structs.Bytes) {
		t.Helper()
		sum, by, err := Sizes(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return sum, by
	}
	write("empty/x", 0)
	before, _ := measure()
	write("web/local/deep/er/file", 300_000)
	write("logs/web.stdout.0", 100_000)
	write("file", 50_000)
	sum, by := measure()
	between := func(what string, got structs.Bytes, low, high structs.Bytes) {
		t.Helper()
		if got < low || got > high {
			t.Errorf("%s has %d, not %d to %d", what, got, low, high)
		}
	}
	between("all", sum-before, 450_000, 550_000)
	between("web", by["web"], 300_000, 350_000)
	between("logs", by["logs"], 100_000, 130_000)
	between("file", by["file"], 50_000, 70_000)

	for i := range 600 { // more than are read at once, each another name of the same
		if err := os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "web", "link"+strings.Repeat("x", i%200)+string(rune('a'+i/200)))); err != nil {
			t.Fatal(err)
		}
	}
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "big"), make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "web", "out")); err != nil {
		t.Fatal(err)
	}
	again, _ := measure()
	between("with links", again-sum, 0, 200_000)

	holes := filepath.Join(dir, "holes")
	if err := os.WriteFile(holes, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(holes, 1<<30); err != nil {
		t.Fatal(err)
	}
	with, _ := measure()
	between("with holes", with-again, 0, 100_000)

	if sum, by, err := Sizes(t.Context(), filepath.Join(dir, "none")); sum != 0 || len(by) > 0 || err != nil {
		t.Errorf("no folder has %d, %v, %v", sum, by, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Sizes(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

// A folder of any depth is measured to an end.
func TestSizesOfTheDeep(t *testing.T) { synctest.Test(t, deep) }

func deep(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	at := "d"
	for range mostDepth + 50 {
		if err := root.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		at += "/d"
	}
	if _, _, err := Sizes(t.Context(), dir); err != nil {
		t.Error(err)
	}
}

// Projects that the host's administrator named are nobody else's.
func TestNamedProjects(t *testing.T) {
	dir := t.TempDir()
	projects, projid := filepath.Join(dir, "projects"), filepath.Join(dir, "projid")
	for path, text := range map[string]string{projects: "# folders\n1500000007:/srv/a\n12:/srv/b:c\n", projid: "backup:1500000008\nbad:99999999999\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := namedProjects(projects, projid, filepath.Join(dir, "none"))
	for _, n := range []uint32{1_500_000_007, 1_500_000_008, 12} {
		if !got[n] {
			t.Errorf("%d is not among %v", n, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("%v", got)
	}
}

// Where no quota is possible, that is said, and asking for one is an error.
func TestModes(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []Mode{Measured, Off} {
		l, err := Open(dir, mode, nil)
		if err != nil || l.Mode() != mode || l.Attributes()["disk.limit"] != string(mode) || l.Project(dir) != 0 {
			t.Errorf("%s: %v, %+v", mode, err, l)
		}
		l.Release(firstProject)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	l, err := Open(dir, Auto, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Mode() == Quota {
		t.Skip("the temporary folder has a project quota")
	}
	if a := l.Attributes(); a["disk.limit"] != "measured" || a["disk.limit.missing"] == "" {
		t.Errorf("%v", a)
	}
	if _, err := Open(dir, Quota, nil); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "prjquota") {
		t.Errorf("%v", err)
	}
}
