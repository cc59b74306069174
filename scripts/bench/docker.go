//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// measureDocker compares submit to running of a docker task with docker run -d of the same container, taking turns on one engine
// without networks. Another release of the command line than Debian's, first in PATH, is not used.
func measureDocker(ctx context.Context, b *bench) (err error) {
	e, err := dockertest.Start()
	if err != nil {
		return fmt.Errorf("a Docker engine is needed (apt-get install docker.io busybox-static), and root: %w", err)
	}
	defer func() { err = errors.Join(err, e.End()) }()
	at := address()
	ports, err := freePorts(at, 3)
	if err != nil {
		return err
	}
	config, err := b.config("docker.hcl", fmt.Sprintf("client {\n  docker {\n    endpoint = %q\n  }\n}\n", e.Endpoint()))
	if err != nil {
		return err
	}
	a, err := b.start(ctx, filepath.Dir(config), "-dev", "-config", config, "-bind", at, "-http-port", ports[0], "-executor-port", ports[1],
		"-cluster-port", ports[2], "-log-level", "warn")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err := a.nodeReady(ctx); err != nil {
		return err
	}
	var ours, theirs spread
	const warm = 3
	for i := range min(b.samples, 60) + warm {
		j := job(fmt.Sprintf("docker-%d", i), structs.ServiceJob, 1, "docker",
			map[string]any{"image": "busybox:test", "command": "sleep", "args": []any{"100000"}, "network_mode": "none", "init": true})
		j.Groups[0].Tasks[0].Resources.Memory = 16 << 20
		took, err := a.submitAndWait(ctx, j, "allocation", running)
		if err != nil {
			return err
		}
		if err := a.end(ctx, j.Name); err != nil {
			return err
		}
		begun := time.Now()
		out, err := exec.CommandContext(ctx, "/usr/bin/docker", "-H", e.Endpoint(), "run", "-d", "--init", "--network", "none", "--memory", "16m",
			"busybox:test", "sleep", "100000").CombinedOutput()
		if err != nil {
			return fmt.Errorf("docker run: %w\n%s", err, out)
		}
		run := time.Since(begun)
		if out, err := exec.CommandContext(ctx, "/usr/bin/docker", "-H", e.Endpoint(), "rm", "-f", strings.TrimSpace(string(out))).CombinedOutput(); err != nil {
			return fmt.Errorf("docker rm: %w\n%s", err, out)
		}
		if i >= warm {
			ours, theirs = append(ours, took), append(theirs, run)
		}
	}
	b.add(figure{What: fmt.Sprintf("docker: overhead over docker run, p50 of %d", len(ours)), Unit: "ms", Must: 50, Aim: 15,
		Got: ms(ours.at(0.5) - theirs.at(0.5)), Note: fmt.Sprintf("submit to running %.0f ms, docker run -d %.0f ms", ms(ours.at(0.5)), ms(theirs.at(0.5)))})
	return nil
}
