//go:build unix

package remove

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// deep makes folders within each other, with a file in every hundredth.
func deep(t *testing.T, top string, n int) {
	t.Helper()
	if err := os.MkdirAll(top, 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for i := 0; i < n && err == nil; i++ {
		if err = unix.Mkdirat(dir, "d", 0o700); err != nil {
			break
		}
		next, failed := unix.Openat(dir, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if unix.Close(dir); failed != nil {
			t.Fatal(failed)
		}
		if dir = next; i%100 == 0 {
			var file int
			if file, err = unix.Openat(dir, "f", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600); err == nil {
				unix.Close(file)
			}
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(dir)
}

// However deep folders are, no more than some of them are open at a time.
func TestDeep(t *testing.T) {
	top := filepath.Join(t.TempDir(), "top")
	deep(t, top, 1000)
	deep(t, filepath.Join(top, "beside"), 200)
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = 256
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err := All(top)
	unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	if err != nil {
		t.Errorf("%.300v", err)
	}
	if _, err := os.Lstat(top); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
}

// All of a wide folder goes, links and pipes too, and nothing that links lead to. What is not there, or no folder, is no error.
func TestAll(t *testing.T) {
	top, outside := filepath.Join(t.TempDir(), "top"), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(outside, "x"), nil, 0o600))
	must(os.MkdirAll(filepath.Join(top, "a", "b"), 0o700))
	for i := range atOnce + 7 {
		must(os.WriteFile(filepath.Join(top, "a", fmt.Sprint(i)), nil, 0o600))
	}
	must(os.Symlink(outside, filepath.Join(top, "a", "b", "link")))
	must(unix.Mkfifo(filepath.Join(top, "pipe"), 0o600))
	must(All(top))
	must(All(top))
	link := filepath.Join(t.TempDir(), "link")
	must(os.Symlink(outside, link))
	must(All(link))
	for _, gone := range []string{top, link} {
		if _, err := os.Lstat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there: %v", gone, err)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "x")); err != nil {
		t.Error(err)
	}
}
