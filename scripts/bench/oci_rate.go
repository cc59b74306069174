//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/proffer/proffer/structs"
)

// rateOfContainers runs many short containers of an image that is there as one batch job, and as many with the runtime alone, from the
// configuration of a container that runs, as many at a time as there are cores.
func rateOfContainers(ctx context.Context, b *bench, a *agent, image string) error {
	const count = 300
	batch := func(i int) (time.Duration, error) {
		j := job(fmt.Sprintf("rate-%d", i), structs.BatchJob, count, "oci", map[string]any{"image": image, "command": "true"})
		j.Groups[0].Tasks[0].Resources.Memory = 16 << 20
		return a.submitAndWait(ctx, j, "job", complete)
	}
	stays := job("stays", structs.ServiceJob, 1, "oci", map[string]any{"image": image, "command": "sleep", "args": []any{"100000"}})
	stays.Groups[0].Tasks[0].KillSignal = "SIGKILL"
	if _, err := a.submitAndWait(ctx, stays, "allocation", running); err != nil {
		return err
	}
	spec, err := runtimeSpec(b.dir)
	if err != nil {
		return err
	}
	var ours, bare spread
	for i := range 3 {
		took, err := batch(i)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = runBare(ctx, b, spec, fmt.Sprintf("bare-%d-", i), count); err != nil {
			return err
		}
		bare = append(bare, took)
	}
	b.add(figure{What: "oci: containers a second, image present, of what runc alone does", Unit: "%", Must: 60, Aim: 90, More: true,
		Got:  100 * float64(bare.at(0.5)) / float64(ours.at(0.5)),
		Note: fmt.Sprintf("%.0f and %.0f a second, the middle of 3 in turn; true, with its end, in a batch of %d", count/ours.at(0.5).Seconds(), count/bare.at(0.5).Seconds(), count)})
	return a.end(ctx, stays.Name)
}

// runtimeSpec returns the runtime configuration of a container that an agent below dir runs, with true as its program.
func runtimeSpec(dir string) (spec map[string]any, err error) {
	found := errors.New("found")
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "config.json" {
			return nil // what goes meanwhile
		}
		raw, err := os.ReadFile(path)
		spec = nil
		if err != nil || json.Unmarshal(raw, &spec) != nil || spec["ociVersion"] == nil {
			return nil
		}
		return found
	})
	if err != found {
		return nil, errors.Join(errors.New("no configuration of a container is found"), err)
	}
	spec["process"].(map[string]any)["args"] = []string{"/bin/true"}
	return spec, nil
}

// runBare runs containers with runc alone.
func runBare(ctx context.Context, b *bench, spec map[string]any, prefix string, count int) (time.Duration, error) {
	bundles, state := filepath.Join(b.dir, "bare"), filepath.Join(b.dir, "bare-state")
	defer func() {
		os.RemoveAll(bundles)
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/proffer-bench") // of version 1; the runtime removes those below
		for _, dir := range append(groups, "/sys/fs/cgroup/proffer-bench") {
			os.Remove(dir)
		}
	}()
	for i := range count {
		name := fmt.Sprintf("%s%d", prefix, i)
		spec["linux"].(map[string]any)["cgroupsPath"] = "/proffer-bench/" + name
		raw, err := json.Marshal(spec)
		if err == nil {
			err = os.MkdirAll(filepath.Join(bundles, name), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(bundles, name, "config.json"), raw, 0o600)
		}
		if err != nil {
			return 0, err
		}
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	failed := make(chan error, runtime.NumCPU())
	begun := time.Now()
	for range runtime.NumCPU() {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				name := fmt.Sprintf("%s%d", prefix, i)
				if out, err := exec.CommandContext(ctx, "runc", "--root", state, "run", "--bundle", filepath.Join(bundles, name), name).CombinedOutput(); err != nil {
					failed <- fmt.Errorf("runc run: %w: %s", err, out)
					return
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(begun)
	select {
	case err := <-failed:
		return 0, err
	default:
		return took, nil
	}
}
