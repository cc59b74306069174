//go:build linux && system && (amd64 || arm64)

package supervisor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// A container has its own devices, with what a file of their vendor says of them, and its own cores, and keeps off those of others.
func TestOCIExclusive(t *testing.T) {
	p := newPier(t)
	p.needs(t, func(cores, io string) string { return cores + io })
	devices := devicesOf(t, p.dir)
	cdi := filepath.Join(p.dir, "cdi")
	library := filepath.Join(p.dir, "library")
	for path, text := range map[string]string{
		filepath.Join(cdi, "nvidia.yaml"): `cdiVersion: 0.6.0
kind: nvidia.com/gpu
devices:
  - name: "0"
    containerEdits:
      env: [GPU=first]
      deviceNodes: [{path: /dev/nvidia0, hostPath: ` + devices[0].Host + `}]
  - name: all
    containerEdits:
      env: [GPU=all]
      deviceNodes: [{path: /dev/nvidia0}, {path: /dev/nvidia1}]
containerEdits:
  env: [NVIDIA_VISIBLE_DEVICES=all, VENDOR=yes]
  mounts: [{hostPath: ` + library + `, containerPath: /home/library, options: [ro]}]
`,
		library: "from the host\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.opts.CDI = []string{filepath.Join(p.dir, "none"), cdi}
	const look = `for d in /dev/nvidia*; do echo ${d#/dev/}; done; head -c 3 /dev/nvidia0 2>/dev/null | wc -c; echo $GPU $VENDOR $NVIDIA_VISIBLE_DEVICES; cat /home/library 2>/dev/null
[ -e /dev/nvidia0 ] && : > /dev/nvidia0 && echo written; echo over`
	s := p.container(look, nil)
	s.Env = append(s.Env, "NVIDIA_VISIBLE_DEVICES=GPU-0")
	s.Devices = []drivers.Device{devices[0], devices[2]}
	if _, out := p.run(t, s); out != "nvidia0\nnvidiactl\n3\nfirst yes GPU-0\nfrom the host\nwritten\nover\n" {
		t.Errorf("got %q", out)
	}
	if _, out := p.run(t, p.container(look, nil)); out != "nvidia*\n0\n\nover\n" {
		t.Errorf("another container: %q", out)
	}

	p.opts.CDI = []string{}
	const allowed = `while read key value; do [ "$key" = Cpus_allowed_list: ] && echo $value; done < /proc/self/status`
	_, all := p.run(t, p.container(allowed, nil))
	if all != "0-1\n" {
		t.Skipf("it is written for two cores: %s", all)
	}
	older := p.container(`while :; do `+allowed+` > /alloc/cores; sleep 0.02; done`, nil)
	first, err := p.driver().Start(t.Context(), older)
	if err != nil {
		t.Fatal(err)
	}
	until := func(want string) {
		t.Helper()
		for {
			got, _ := os.ReadFile(filepath.Join(older.AllocDir, "cores"))
			if string(got) == want {
				return
			}
			if p.ctx.Err() != nil {
				p.fatalf("the older container may run on %s, want %s", got, want)
			}
		}
	}
	until(all)
	own := p.container(allowed+`; echo ready; exec sleep 100000`, nil)
	own.Cores, own.IO = []int{1}, &structs.TaskIO{WriteBps: 4 << 20}
	second, err := p.driver().Start(t.Context(), own)
	if err != nil {
		t.Fatal(err)
	}
	if out := p.until(own, "ready"); !strings.HasPrefix(out, "1\n") {
		t.Errorf("it may run on %s", out)
	}
	until("0\n")
	young := p.container(`until [ -e /alloc/go ]; do sleep 0.01; done; `+allowed, nil)
	third, err := p.driver().Start(t.Context(), young)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(young.AllocDir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := third.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := p.until(young, "\n"); out != "0\n" {
		t.Errorf("a younger container may run on %s", out)
	}
	if err := second.Stop(t.Context(), "SIGKILL", 0); err != nil {
		t.Fatal(err)
	}
	until(all)
	if err := first.Stop(t.Context(), "SIGKILL", 0); err != nil {
		t.Fatal(err)
	}
	for _, task := range []drivers.Task{first, second, third} {
		if err := task.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
