package replace

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// A file is replaced by a private one, or left as it was; nothing else stays in the folder, and a link is replaced, not followed.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "a"), filepath.Join(t.TempDir(), "other")
	for _, name := range []string{path, other} {
		if err := os.WriteFile(name, []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path, text string) {
		t.Helper()
		if raw, err := os.ReadFile(path); err != nil || string(raw) != text {
			t.Errorf("%s: %q %v", path, raw, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Errorf("%v", entries)
		}
	}
	fault := errors.New("cut off")
	if _, err := File(path, io.MultiReader(strings.NewReader("new"), iotest.ErrReader(fault))); !errors.Is(err, fault) {
		t.Errorf("%v", err)
	}
	want(path, "old")
	if n, err := File(path, strings.NewReader("new")); n != 3 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	want(path, "new")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := errors.Join(os.Remove(path), os.Symlink(other, path)); err != nil {
		t.Skip(err)
	}
	if err := Bytes(path, []byte("newer")); err != nil {
		t.Error(err)
	}
	want(path, "newer")
	want(other, "old")
}
