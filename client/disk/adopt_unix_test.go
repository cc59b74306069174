//go:build unix

package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// While what is in a folder is given a project, tasks go on there: what they remove, or put a pipe, a link or a file in the place of, is not
// waited for, is no error, and nothing outside is touched.
func TestAdoptWhileTasksWrite(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	make := func(names ...string) {
		for _, name := range names {
			must(os.MkdirAll(filepath.Dir(name), 0o700))
			must(os.WriteFile(name, nil, 0o600))
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	make(in("a"), in("b"), in("c"), in("d"), in("e/1"), in("f/1"), in("g/1"), in("h/1"), filepath.Join(outside, "x"))
	root, err := os.OpenRoot(dir)
	must(err)
	defer root.Close()
	x, err := os.Stat(filepath.Join(outside, "x"))
	must(err)
	swap := map[string]func(name string){
		"b": func(string) {},
		"c": func(name string) { must(syscall.Mkfifo(name, 0o600)) },
		"d": func(name string) { must(os.Symlink(filepath.Join(outside, "x"), name)) },
		"e": func(string) {},
		"f": func(name string) { must(syscall.Mkfifo(name, 0o600)) },
		"g": func(name string) { must(os.Symlink(outside, name)) },
	}
	seen := map[string]bool{}
	set := func(f *os.File, folder bool) error {
		info, err := f.Stat()
		must(err)
		if os.SameFile(info, x) || !folder && !info.Mode().IsRegular() {
			t.Errorf("%s is no file of the folder: %s", f.Name(), info.Mode())
		}
		seen[filepath.Base(f.Name())] = true
		for name, do := range swap { // with the first one, whichever that is
			if !seen[name] {
				must(os.RemoveAll(in(name)))
				do(in(name))
			}
			delete(swap, name)
		}
		return nil
	}
	must(adopt(root, ".", set))
	if !seen["a"] || !seen["h"] {
		t.Errorf("left out: %v", seen)
	}
}
