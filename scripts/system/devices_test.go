//go:build system && linux

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// gpuFolder looks like a machine with two GPUs. The numbers of their nodes are those of /dev/zero and /dev/null.
func gpuFolder(t *testing.T, root string) {
	t.Helper()
	for i := range 2 {
		dir := filepath.Join(root, "proc/driver/nvidia/gpus", fmt.Sprintf("0000:0%d:00.0", i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("Model: \t\t Test T1\nGPU UUID: \t GPU-%d\nDevice Minor: \t %d\n", i, i)
		if err := os.WriteFile(filepath.Join(dir, "information"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, minor := range map[string]uint32{"nvidia0": 5, "nvidia1": 5, "nvidiactl": 3} {
		if err := unix.Mknod(filepath.Join(root, "dev", name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDevices: two jobs want a GPU each and the third has to wait; each sees its own and keeps it through restarts of the task and of the
// agent; the third gets the one that is given back. The same with whole cores.
func TestDevices(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	root := filepath.Join(r.dir, "gpus")
	gpuFolder(t, root)
	a := single(r, "-config", r.file("gpus.hcl", fmt.Sprintf("client {\n  gpu_root = %q\n}\n", root)))
	job := func(name, resources string) {
		t.Helper()
		text := strings.Replace(service(name, 1, `ls /dev | grep nvidia > /alloc/sees; env | grep ^NVIDIA >> /alloc/sees; sleep 1000000`),
			`"16MiB"`, "\"16MiB\"\n        "+resources, 1)
		a.must("job", "run", "-detach", r.file(name+".hcl", text))
	}
	const one = "custom = { gpus = 1 }"
	job("first", one)
	job("second", one)
	given := func(job string) string {
		t.Helper()
		x, _, err := a.api().Allocation(t.Context(), string(r.allocs(job, 1)[0].ID), nil)
		if err != nil {
			t.Fatal(err)
		}
		d := x.Tasks["t"].Devices
		if len(d) != 1 || d[0].Model != "Test T1" || d[0].Resource != "gpus" {
			t.Fatalf("%s has %+v", job, d)
		}
		return d[0].ID
	}
	sees := func(job string) {
		t.Helper()
		id := given(job)
		n := strings.TrimPrefix(id, "GPU-")
		want := "nvidia" + n + "\nnvidiactl\nNVIDIA_VISIBLE_DEVICES=" + id + "\n"
		await(t, job+" sees its GPU and no other", func() error {
			if got := a.proffer("alloc", "fs", string(r.allocs(job, 1)[0].ID), "alloc/sees").out; got != want {
				return fmt.Errorf("%q, not %q", got, want)
			}
			return nil
		})
	}
	all := []string{given("first"), given("second")}
	sees("first")
	sees("second")
	if slices.Sort(all); !slices.Equal(all, []string{"GPU-0", "GPU-1"}) {
		t.Errorf("they have %v", all)
	}
	if out := a.must("alloc", "status", string(r.allocs("first", 1)[0].ID)); !strings.Contains(out, "  gpus "+given("first")+", Test T1\n") {
		t.Errorf("%s", out)
	}
	job("third", one)
	await(t, "the third waits for a GPU", func() error {
		if out := a.must("job", "explain", "third"); !strings.Contains(out, "gpus") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	before := given("first")
	a.kill()
	a.start()
	a.must("alloc", "restart", string(r.allocs("first", 1)[0].ID))
	await(t, "the task is started again", func() error {
		x, _, err := a.api().Allocation(t.Context(), string(r.allocs("first", 1)[0].ID), nil)
		if err != nil {
			return err
		}
		if s := x.Tasks["t"]; s.Restarts == 0 || s.Status != structs.TaskRunning {
			return fmt.Errorf("%s after %d restarts", s.Status, s.Restarts)
		}
		return nil
	})
	if after := given("first"); after != before {
		t.Errorf("it had %s and has %s", before, after)
	}
	sees("first")
	free := given("second")
	a.must("job", "stop", "second")
	if got := given("third"); got != free {
		t.Errorf("the third has %s, and %s was given back", got, free)
	}
	sees("third")
}
