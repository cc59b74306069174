package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/proffer/proffer/client/checks"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// health is what the node finds wrong with itself: health checks that fail, and its disk. As long as there is anything, the region
// places nothing more on it; what runs is not touched.
type health struct {
	mu       sync.Mutex
	problems map[string]string // by what found it: "disk", or "check NAME"
}

// set notes a problem, or with an empty text that it is gone, and reports whether that is news.
func (h *health) set(by, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.problems[by] == text {
		return false
	}
	if h.problems == nil {
		h.problems = make(map[string]string)
	}
	if text == "" {
		delete(h.problems, by)
	} else {
		h.problems[by] = text
	}
	return true
}

// list returns the problems, sorted; nil when there are none.
func (h *health) list() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, text := range h.problems {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

// found notes what something that looks after the node's health found, and tells the region when that is news.
func (c *Client) found(by, text string) {
	if !c.health.set(by, text) {
		return
	}
	if text != "" {
		c.log.Warn("the node is not healthy: it gets no more work", "why", text)
	} else {
		c.log.Info("a problem of the node is gone", "by", by)
	}
	c.refresh(func(old *structs.Node) *structs.Node {
		now := c.health.list()
		if slices.Equal(now, old.Problems) {
			return old
		}
		n := *old
		n.Problems = now
		return &n
	})
}

// watchHealth makes the health checks of the configuration until ctx ends.
func (c *Client) watchHealth(ctx context.Context) {
	for _, what := range c.config.Health {
		check := c.node.Checks.Add(what, checks.Target{Exec: onHost}, now().Std(), structs.CheckPending, func(status structs.CheckStatus, a checks.Answer) {
			text := ""
			if status == structs.CheckFailing {
				text = fmt.Sprintf("health check %q fails: %s", what.Name, a.Why)
			}
			c.found("check "+what.Name, text)
		})
		defer check.Stop()
	}
	<-ctx.Done()
}

// onHost runs a command of the configuration as the agent's user. When ctx ends, all that it started is killed.
func onHost(ctx context.Context, cmd drivers.Command) (drivers.Exit, error) {
	p := apart(ctx, cmd.Args)
	if cmd.Arg0 != nil {
		p.Args[0] = *cmd.Arg0
	}
	p.Stdout, p.Stderr = cmd.Stdout, cmd.Stderr
	err := p.Run()
	if p.ProcessState != nil {
		return drivers.Exit{Code: p.ProcessState.ExitCode()}, nil
	}
	return drivers.Exit{}, err
}

// lookAtDisk finds out whether the data folder can be written to, and how full its disk is.
func (c *Client) lookAtDisk() {
	if err := tryWrite(c.config.DataDir); err != nil {
		c.found("disk", fmt.Sprintf("data folder %s cannot be written to: %s", c.config.DataDir, reasonOf(err)))
		return
	}
	text, limits := "", c.settings.Load().GC
	used, err := c.diskUse()
	if err == nil && used > limits.DiskFull {
		text = fmt.Sprintf("the disk of data folder %s is %d%% full, more than %d%% (client.gc.disk_full)", c.config.DataDir, used, limits.DiskFull)
	}
	c.found("disk", text)
	over := err == nil && used > limits.MaxDiskUsed && !c.collectable()
	if over && !c.overfull {
		c.log.Warn("the disk is fuller than it should be, and not by what ended allocations left: nothing can be removed", "path", c.config.DataDir,
			"use", fmt.Sprintf("%d%%", used), "client.gc.disk_use", fmt.Sprintf("%d%%", limits.MaxDiskUsed))
	}
	c.overfull = over
}

// collectable reports whether an ended allocation still has a folder.
func (c *Client) collectable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.ended {
		if e.folder {
			return true
		}
	}
	return false
}

// tryWrite writes a file and has it on the disk.
func tryWrite(dir string) error {
	name := filepath.Join(dir, ".writable")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("x")
	return errors.Join(err, f.Sync(), f.Close())
}

func reasonOf(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return strings.TrimSpace(err.Error())
}
