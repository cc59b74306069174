package client

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/client/disk"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/volumes"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// watchDisk stops allocations that hold more of the disk than they asked for, one look after the other. With quotas a look is one
// question to the file system, and finds those alone that a quota does not hold: the superuser.
func (c *Client) watchDisk(ctx context.Context) {
	if c.config.Limits == nil || c.config.Limits.Mode() == disk.Off {
		return
	}
	ticker := time.NewTicker(c.config.DiskEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		c.mu.Lock()
		runs := make([]*runner.Alloc, 0, len(c.held))
		for _, h := range c.held {
			runs = append(runs, h.run)
		}
		c.mu.Unlock()
		for _, run := range runs {
			c.lookAtFolder(ctx, run)
		}
		if c.config.Volumes != nil {
			for _, v := range c.config.Volumes.Held() {
				c.lookAtVolume(ctx, v)
			}
		}
	}
}

// lookAtFolder stops an allocation whose files are more than it asked for.
func (c *Client) lookAtFolder(ctx context.Context, run *runner.Alloc) {
	limit, project := run.DiskLimit()
	if limit == 0 || !run.Begun() {
		return
	}
	dir := string(run.Dir())
	if project != 0 {
		used, err := c.config.Limits.Used(project)
		used += run.Written(ctx, sizes) // a writable root of an engine's is not in it
		// What the node writes is not held up by a quota, and bounded otherwise.
		if err == nil && used > limit+run.LogBound() {
			run.Exceed(runner.LimitedDisk, exceeded(used, limit, dir, nil))
		}
		return
	}
	used, by, err := measure(ctx, dir, run.Written)
	if err != nil {
		return
	}
	if limit, _ := run.DiskLimit(); limit > 0 && used > limit { // it may have ended meanwhile
		run.Exceed(runner.LimitedDisk, exceeded(used, limit, dir, by))
	}
}

// measure says what the files of an allocation take, and what of that is where.
func measure(ctx context.Context, dir string, written func(context.Context, drivers.Sizes) structs.Bytes) (used structs.Bytes, by map[string]structs.Bytes, err error) {
	if used, by, err = disk.Sizes(ctx, dir); err != nil {
		return 0, nil, err
	}
	root := written(ctx, sizes)
	by["its root"] = root
	return used + root, by, ctx.Err()
}

func sizes(ctx context.Context, dir string) (structs.Bytes, error) {
	size, _, err := disk.Sizes(ctx, dir)
	return size, err
}

// lookAtVolume stops the allocations that may write to a volume which holds more than its size.
func (c *Client) lookAtVolume(ctx context.Context, v volumes.Held) {
	var used structs.Bytes
	var err error
	if project := c.config.Limits.Project(v.Folder); project != 0 {
		used, err = c.config.Limits.Used(project)
	} else {
		used, _, err = disk.Sizes(ctx, v.Folder)
	}
	if err != nil || used <= v.Size || ctx.Err() != nil {
		return
	}
	for _, id := range v.Writers {
		c.mu.Lock()
		h := c.held[id]
		c.mu.Unlock()
		if h != nil {
			h.run.Exceed(runner.LimitedDisk, fmt.Sprintf("volume %q holds %s and its size is %s: %s; resize it", v.Name, used.Human(), v.Size.Human(), v.Folder))
		}
	}
}

// exceeded says how much is where.
func exceeded(used, limit structs.Bytes, dir string, by map[string]structs.Bytes) string {
	text := fmt.Sprintf("its files take %s of the disk and it asked for %s: %s", used.Human(), limit.Human(), dir)
	names := slices.SortedFunc(maps.Keys(by), func(x, y string) int {
		return cmp.Or(cmp.Compare(by[y], by[x]), strings.Compare(x, y))
	})
	for i, name := range names[:min(3, len(names))] {
		if by[name] == 0 {
			break
		}
		before := ", "
		if i == 0 {
			before = " has "
		}
		text += fmt.Sprintf("%s%s %s", before, name, by[name].Human())
	}
	return text
}
