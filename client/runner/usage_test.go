package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A folder is measured with what is in it, without following links, and not again at once.
func TestFoldersAreMeasured(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "sub", "a"), 1<<20)
	write(filepath.Join(elsewhere, "b"), 8<<20)
	if err := os.Symlink(elsewhere, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var f folders
	first := f.size(t.Context(), "t", dir)
	if first < 1<<20 || first >= 2<<20 {
		t.Errorf("it holds %s", first)
	}
	write(filepath.Join(dir, "more"), 4<<20)
	if again := f.size(t.Context(), "t", dir); again != first {
		t.Errorf("measured again: %s", again)
	}
	if other := f.size(t.Context(), "u", filepath.Join(dir, "none")); other != structs.Bytes(0) {
		t.Errorf("what is not there: %s", other)
	}
}
