package drivers_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

func TestFoldersAreMadeOnceAndStayAsTheyAre(t *testing.T) {
	alloc := filepath.Join(t.TempDir(), "allocs", "id")
	s := &drivers.Spec{AllocDir: filepath.Join(alloc, "alloc"), TaskDir: filepath.Join(alloc, "web")}
	want := map[string]fs.FileMode{"": 0o755, "alloc": 0o777 | fs.ModeSticky, "web": 0o755, "web/local": 0o755, "web/secrets": 0o700, "web/tmp": 0o700}
	check := func() {
		t.Helper()
		if err := s.MakeFolders(0, 0); err != nil {
			t.Fatal(err)
		}
		for path, mode := range want {
			info, err := os.Stat(filepath.Join(alloc, path))
			if err != nil || !info.IsDir() || runtime.GOOS != "windows" && info.Mode()&(fs.ModePerm|fs.ModeSticky) != mode {
				t.Errorf("%s: %v, %v", path, info, err)
			}
		}
	}
	check()
	// A task may change the mode of its own folders; what all share is open again, whenever its making was cut short.
	os.Chmod(filepath.Join(s.TaskDir, "local"), 0o700)
	want["web/local"] = 0o700
	os.Chmod(s.AllocDir, 0o755)
	check()
	if os.Getuid() == 0 {
		for range 2 {
			if err := s.MakeFolders(65534, 65534); err != nil {
				t.Fatal(err)
			}
			for path, uid := range map[string]string{"web": "0", "web/local": "65534", "web/tmp": "65534", "web/secrets": "65534", "alloc": "0"} {
				if got := ownerOf(t, filepath.Join(alloc, path)); got != uid {
					t.Errorf("%s belongs to %s, want %s", path, got, uid)
				}
			}
		}
	}
	// What is no folder is not followed and not replaced.
	if err := os.Remove(filepath.Join(s.TaskDir, "tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(s.TaskDir, "tmp")); err != nil {
		t.Fatal(err)
	}
	if err := s.MakeFolders(0, 0); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("with a link in the way: %v", err)
	}
}
