//go:build linux && system

package fetch

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/structs"
)

// small is a file system of some size, with a way to fill it to the last block and to give the space back.
func small(t *testing.T, size string) (dir string, fill, free func()) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=755"); err != nil {
		t.Skip("needs root: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err) // something is still open
		}
	})
	filler := filepath.Join(dir, "filler")
	fill = func() {
		f, err := os.OpenFile(filler, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		for block := make([]byte, 4096); err == nil; {
			_, err = f.Write(block)
		}
		f.Close()
	}
	free = func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	return dir, fill, free
}

// used is how much of a file system is taken.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks-s.Bfree) * s.Bsize
}

// sources are an artifact of each way of fetching, with a megabyte each that does not compress.
func sources(t *testing.T) map[string]structs.Artifact {
	t.Helper()
	noise := bytes.Clone(pattern(1 << 20))
	for i := range noise {
		noise[i] ^= byte(i * i >> 7)
	}
	entries := []evil.Entry{{Name: "a/first", Body: "first", Mode: 0o644}, {Name: "a/big", Body: string(noise), Mode: 0o644}}
	files := map[string][]byte{"/x.tar.gz": packed(t, "x.tar.gz", tarOf(t, entries...)), "/x.tar": tarOf(t, entries...), "/x.zip": zipOf(t, entries...), "/big": noise}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(files[r.URL.Path])))
		w.Write(files[r.URL.Path])
	})
	r := newRegistry(t)
	r.put(t, "image:1", "application/vnd.oci.image.config.v1+json", tarLayer(t, entries[0]), tarLayer(t, entries[1]))
	r.put(t, "files:1", noConfig, layerOf("application/x", noise, titleOf, "a/big"), layerOf("application/x", []byte("first"), titleOf, "a/first"))
	return map[string]structs.Artifact{
		"file": {Source: url + "/big"}, "tar": {Source: url + "/x.tar"}, "tar.gz": {Source: url + "/x.tar.gz"}, "zip": {Source: url + "/x.zip"},
		"image": {Source: "oci://" + r.host + "/image:1"}, "artifact": {Source: "oci://" + r.host + "/files:1"},
	}
}

// exhausted fails unless an error says what is full, where, and how much there is.
func exhausted(t *testing.T, err error, dir string) {
	t.Helper()
	if structs.KindOf(err) != structs.Exhausted {
		t.Fatalf("%v: %v", structs.KindOf(err), err)
	}
	for _, part := range []string{"artifact ", dir, "no space left on device", "are free there", "free space on the disk"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// While the disk of the cache has no room, an artifact says so and leaves nothing, neither there nor with the task. Once there is room
// it is delivered, and what nobody needs goes for it without anybody's help.
func TestFullCache(t *testing.T) {
	dir, fill, free := small(t, "3m")
	for what, a := range sources(t) {
		t.Run(what, func(t *testing.T) {
			root, task := folder(t)
			c := open(t, func(o *Options) { o.Dir = filepath.Join(dir, what) })
			fill()
			before := used(t, dir)
			got, err := deliver(t, c, root, task, a)
			exhausted(t, err, dir)
			if got != "" {
				t.Errorf("the task has\n%s", got)
			}
			for _, sub := range []string{"parts", "blobs", "index", "tmp"} {
				if names := left(t, c, sub); len(names) > 0 {
					t.Errorf("left in %s: %v", sub, names)
				}
			}
			if now := used(t, dir); now != before {
				t.Errorf("%d bytes are taken, %d before", now, before)
			}
			free()
			if got, err = deliver(t, c, root, task, a); err != nil || !strings.Contains(got, "big") {
				t.Fatalf("with room again: %v\n%s", err, got)
			}
			// The next one does not fit beside it; nobody holds that.
			if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, 3<<20-used(t, dir)-64<<10), 0o600); err != nil {
				t.Fatal(err)
			}
			a.Source = strings.Replace(a.Source, "http://", "http://x@", 1)
			a.Source = strings.Replace(a.Source, "oci://", "oci://x:y@", 1)
			if _, err = deliver(t, c, root, task, a); err != nil {
				t.Errorf("in the place of what nobody needs: %v", err)
			}
			free()
			if err := os.RemoveAll(filepath.Join(dir, what)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// While the disk of the task folder has no room, half of an artifact is never there, and what it took is given back; once there is room it
// is delivered from the cache.
func TestFullTaskFolder(t *testing.T) {
	dir, fill, free := small(t, "3m")
	for what, a := range sources(t) {
		t.Run(what, func(t *testing.T) {
			task := filepath.Join(dir, what)
			if err := os.MkdirAll(filepath.Join(task, "local"), 0o755); err != nil {
				t.Fatal(err)
			}
			root, err := os.OpenRoot(task)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			c := open(t, nil)
			// Room for the first file, and for some of the second.
			fill()
			if err := os.Truncate(filepath.Join(dir, "filler"), used(t, dir)-512<<10); err != nil {
				t.Fatal(err)
			}
			before := used(t, dir)
			for range 2 { // again
				got, err := deliver(t, c, root, task, a)
				exhausted(t, err, dir)
				if strings.Contains(got, "big") {
					t.Errorf("half of it is there:\n%s", got)
				}
				if now := used(t, dir); now > before+16<<10 { // small files that are whole may be
					t.Errorf("%d bytes are taken, %d before", now, before)
				}
			}
			free()
			if got, err := deliver(t, c, root, task, a); err != nil || !strings.Contains(got, "big") {
				t.Fatalf("with room again: %v\n%s", err, got)
			}
			if err := os.RemoveAll(task); err != nil {
				t.Fatal(err)
			}
		})
	}
}
