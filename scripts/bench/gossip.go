//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// What TestTown finds in its environment: how many agents, and the file for the figures.
const (
	townMembers = "PROFFER_BENCH_MEMBERS"
	townFigures = "PROFFER_BENCH_FIGURES"
)

// measureGossip runs TestTown, because bubbles are for tests only.
func measureGossip(ctx context.Context, b *bench) error {
	path := filepath.Join(b.dir, "town.json")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=0", "-v", "-run", "^TestTown$", "./scripts/bench")
	cmd.Env = append(os.Environ(), townMembers+"="+strconv.Itoa(b.members), townFigures+"="+path)
	cmd.Stdout, cmd.Stderr = b.progress, b.progress
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the test as well
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the town: %w", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var figures []*figure
	if err := json.Unmarshal(raw, &figures); err != nil {
		return err
	}
	b.figures = append(b.figures, figures...)
	return nil
}
