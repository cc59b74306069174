//go:build linux

package oci

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// What a container wrote is its layer, unless its project counts that; and of a copy of its image, what it is larger than that was.
func TestWritten(t *testing.T) {
	d := &Driver{opts: Options{Dir: t.TempDir()}}
	const id = "a/t/1"
	ct := d.container(id)
	layer := t.TempDir()
	file := func(path string, size int) {
		t.Helper()
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, make([]byte, size), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	written := func(project bool, want structs.Bytes) {
		t.Helper()
		got, err := (&task{d: d, id: id}).Written(t.Context(), project, func(_ context.Context, dir string) (structs.Bytes, error) {
			n, err := occupied(dir)
			return structs.Bytes(n), err
		})
		if err != nil || got < want || got > want+16<<10 {
			t.Errorf("%d, %v; not %d", got, err, want)
		}
	}
	file(filepath.Join(layer, "bin/large"), 1<<20)
	file(ct.path("upper/new"), 128<<10)
	written(false, 128<<10)
	written(true, 0)
	if err := os.Mkdir(ct.path("rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := ct.copy(&images.Image{Layers: []string{layer}}); err != nil {
		t.Fatal(err)
	}
	written(false, 0)
	file(ct.path("rootfs/tmp/new"), 256<<10)
	written(false, 256<<10)
	written(true, 256<<10)
}
