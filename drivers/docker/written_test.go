//go:build linux && system

package docker_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/structs"
)

// TestWritten: what a container writes to its root is told, from its layer on the disk and by the engine, and the image is no part of it.
func TestWritten(t *testing.T) {
	d := driver(t, shared, nil)
	s := spec(t, `dd if=/dev/zero of=/big bs=1024 count=3072 2>/dev/null; echo written; exec sleep 1000000`, nil)
	task := start(t, d, s)
	await(t, "it has written", func() bool { return strings.Contains(text(t, s, "stdout"), "written") })
	looked := 0
	sizes := func(ctx context.Context, dir string) (sum structs.Bytes, err error) {
		looked++
		err = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			var st unix.Stat_t
			if err == nil {
				err = unix.Lstat(path, &st)
			}
			sum += structs.Bytes(st.Blocks) * 512
			return err
		})
		return sum, err
	}
	for _, blind := range []bool{false, true} {
		if blind {
			docker.Blind(task)
		}
		looked = 0
		got, err := task.(drivers.Layered).Written(within(t), false, sizes)
		if err != nil || got < 3<<20 || got > 4<<20 {
			t.Errorf("blind %v: %d, %v", blind, got, err)
		}
		if blind && looked > 0 {
			t.Error("what cannot be seen was looked at")
		}
	}
}
