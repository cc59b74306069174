//go:build linux && system

package docker_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// TestTheEnginesDiskIsFull: neither a start nor a pull leaves anything half done on a disk of the engine that is full, both say which one it is,
// what runs is not ended by it, and all goes on once there is room.
func TestTheEnginesDiskIsFull(t *testing.T) {
	t.Parallel()
	e, err := dockertest.StartOn("48m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.End(); err != nil {
			t.Error(err)
		}
	})
	d := driver(t, e, nil)
	healthy(t, d)
	filler := filepath.Join(e.Data(), "filler")
	fill := func(left int64) {
		t.Helper()
		var st unix.Statfs_t
		if err := unix.Statfs(e.Data(), &st); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filler, bytes.Repeat([]byte("x"), int(int64(st.Bavail)*st.Bsize-left)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	free := func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	says := func(what string, err error) {
		t.Helper()
		if structs.KindOf(err) != structs.Exhausted || !strings.Contains(err.Error(), e.Data()) || !strings.Contains(err.Error(), "% full") {
			t.Errorf("%s: %v", what, err)
		}
	}
	containers := func() int {
		list, err := e.API.ContainerList(within(t), client.ContainerListOptions{All: true})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}

	first := spec(t, `echo up; while [ ! -e /alloc/go ]; do sleep 0.1; done; echo on >/more && echo there is room`, nil)
	runs := start(t, d, first)
	await(t, "it runs", func() bool { return text(t, first, "stdout") == "up\n" })
	fill(0)
	_, err = d.Start(within(t), spec(t, "true", nil))
	says("a start", err)
	if n := containers(); n != 1 {
		t.Errorf("%d containers are there", n)
	}
	free()

	// An image that does not fit.
	h := newHub(t)
	content := make([]byte, 12<<20)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(content)
	ref, _ := h.push(t, "large:1", string(content))
	large := func() *drivers.Spec { return spec(t, "echo large", map[string]any{"image": ref}) }
	for _, left := range []int64{64 << 10, 6 << 20, 16 << 20} { // it ends at once, in the middle of the transfer, and of unpacking
		fill(left)
		says("a pull", d.Prepare(within(t), large()))
		if _, err := e.API.ImageInspect(within(t), ref); err == nil {
			t.Errorf("with %d bytes left there is half an image", left)
		}
		free()
	}
	if err := d.Prepare(within(t), large()); err != nil {
		t.Fatal(err)
	}
	second := large()
	if exit := wait(t, start(t, d, second)); exit.Code != 0 || text(t, second, "stdout") != "large\n" {
		t.Errorf("%+v %q", exit, text(t, second, "stdout"))
	}
	if err := os.WriteFile(filepath.Join(first.AllocDir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, runs); exit.Code != 0 || text(t, first, "stdout") != "up\nthere is room\n" {
		t.Errorf("%+v %q", exit, text(t, first, "stdout"))
	}
}
