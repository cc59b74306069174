//go:build linux && system

package images_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// TestFullDisk: on a disk that is too small a pull says so, leaves nothing behind, not even a part, and takes the place of images that
// no task uses before it gives up.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=6656k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	h := newHub(t)
	small := h.push(t, "small:1", imageOf(t, noise(t, 2<<20, 1)))
	other := h.push(t, "other:1", imageOf(t, noise(t, 5<<19, 2)))
	large := h.push(t, "large:1", imageOf(t, noise(t, 9<<19, 3)))
	zeros := h.push(t, "zeros:1", imageOf(t, layerTar(t, file{name: "zeros", body: string(make([]byte, 32<<20))})))
	s := open(t, dir, images.Options{})
	exhausted := func(ref, what string) {
		t.Helper()
		_, err := s.Ensure(t.Context(), want(t, ref), "b", nil)
		if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "free space") {
			t.Errorf("%s: got %v: %v", ref, structs.KindOf(err), err)
		}
	}
	h.gets = map[string]int{}
	exhausted(large, "are free")
	if len(h.gets) > 1 { // its config
		t.Errorf("it was transferred, though it cannot fit: %v", h.gets)
	}
	exhausted(zeros, "no space left")
	nothing(t, dir, false)

	held := ensure(t, s, small, "a")
	exhausted(other, "are free") // beside one that a task uses there is not enough
	if err := s.Release(held.ID, "a"); err != nil {
		t.Fatal(err)
	}
	ensure(t, s, other, "b")
	if u, err := s.Usage(); err != nil || u.Images != 1 || u.Layers != 1 {
		t.Errorf("%+v %v", u, err)
	}
	// The disk is full of something else, while a layer arrives.
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, bytes.Repeat([]byte("x"), 5<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	exhausted(small, "are free")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	im, err := s.Held("b")
	if err == nil {
		err = s.Release(im, "b")
	}
	if err != nil {
		t.Fatal(err)
	}
	ensure(t, s, small, "c")
	for _, sub := range []string{"tmp", "parts"} {
		if left, _ := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}
