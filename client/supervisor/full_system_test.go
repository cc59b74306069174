//go:build linux && system

package supervisor_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
)

// chatty writes more than a full disk and its pipe take, says in another place when it has, and goes on when it is told to.
const chatty = `echo first; until [ -e begin ]; do sleep 0.01; done
i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i of a full disk; done; echo done >written
until [ -e again ]; do sleep 0.01; done; echo last; exec sleep 1000000`

// TestLogsOfAFullDisk: a task whose output the disk cannot take goes on, and the output comes back, with what was lost, when there is
// room again.
func TestLogsOfAFullDisk(t *testing.T) {
	needRoot(t)
	for _, isolation := range []string{"full", "none"} {
		t.Run(isolation, func(t *testing.T) {
			n := newNode(t)
			var local string
			s := n.spec(chatty, config("isolation", isolation), func(s *drivers.Spec) {
				local = filepath.Join(s.TaskDir, "local")
				err := os.MkdirAll(s.LogDir, 0o755)
				if err == nil {
					err = unix.Mount("tmpfs", s.LogDir, "tmpfs", 0, "size=256k,mode=755")
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { unix.Unmount(s.LogDir, unix.MNT_DETACH) })
			})
			n.start(s)
			n.until(s, "first\n")
			filler, err := os.Create(filepath.Join(s.LogDir, "filler"))
			if err != nil {
				t.Fatal(err)
			}
			for block := make([]byte, 4096); err == nil; {
				_, err = filler.Write(block)
			}
			filler.Close()
			mark := func(name string) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(local, name), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			mark("begin")
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for raw := []byte(nil); string(raw) != "done\n"; { // it did not wait for the disk
				select {
				case <-ticker.C:
					raw, _ = os.ReadFile(filepath.Join(local, "written"))
				case <-n.ctx.Done():
					t.Fatal("the task stands still")
				}
			}
			if err := os.Remove(filler.Name()); err != nil {
				t.Fatal(err)
			}
			mark("again")
			n.until(s, "bytes of output were lost here: ")
			n.until(s, "no space left on device]\n") // and then what was in the pipe, if there still was anything
			n.until(s, "\nlast\n")
		})
	}
}
