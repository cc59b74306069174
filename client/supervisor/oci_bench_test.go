//go:build linux && system

package supervisor_test

import (
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkContainer starts a container whose image is present, waits for its end, and removes it. BenchmarkBareRuntime is what the
// runtime alone takes for the same container.
func BenchmarkContainer(b *testing.B) {
	p := newPier(b)
	d := p.driver()
	p.run(b, p.container("exit 0", nil))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s := p.quick()
			task, err := d.Start(b.Context(), s)
			if err == nil {
				_, err = task.Wait(b.Context())
			}
			if err == nil {
				err = task.Destroy(b.Context())
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkBareRuntime(b *testing.B) {
	p := newPier(b)
	d := p.driver()
	s := p.container("while :; do sleep 1; done", nil)
	task, err := d.Start(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		task.Stop(b.Context(), "SIGKILL", 0)
		task.Destroy(b.Context())
	}()
	made, _ := filepath.Glob(filepath.Join(p.dir, "containers", "*", "config.json"))
	raw, err := os.ReadFile(made[0])
	if err != nil {
		b.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(raw, &spec); err != nil {
		b.Fatal(err)
	}
	spec["process"].(map[string]any)["args"] = []string{"/bin/true"}
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			name := fmt.Sprintf("bare%d", p.number.Add(1))
			dir := filepath.Join(p.dir, name)
			own := map[string]any{}
			for k, v := range spec {
				own[k] = v
			}
			linux := map[string]any{}
			for k, v := range spec["linux"].(map[string]any) {
				linux[k] = v
			}
			linux["cgroupsPath"] = "/proffer-bare/" + name
			own["linux"] = linux
			raw, _ := json.Marshal(own)
			os.Mkdir(dir, 0o755)
			os.WriteFile(dir+"/config.json", raw, 0o600)
			if out, err := osexec.Command("runc", "--root", filepath.Join(p.dir, "bare"), "run", "--bundle", dir, name).CombinedOutput(); err != nil {
				b.Errorf("%v: %s", err, out)
			}
		}
	})
	roots, _ := filepath.Glob("/sys/fs/cgroup/*/proffer-bare")
	for _, r := range append(roots, "/sys/fs/cgroup/proffer-bare") {
		os.Remove(r)
	}
}
