package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/proffer/proffer/client/fingerprint"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/structs"
)

// folder is what an ended allocation left on the disk.
type folder struct {
	id    structs.AllocID
	ended structs.Time
	gone  bool // the region forgot the allocation
}

// victim is a folder to remove, and why.
type victim struct {
	folder
	why string
}

// victims says which folders go by their own age and number, oldest first, and which may follow when the disk is too full.
func victims(all []folder, limits GC, now structs.Time) (certain []victim, next []folder) {
	slices.SortFunc(all, func(a, b folder) int {
		if a.ended != b.ended {
			return int(max(-1, min(1, a.ended-b.ended)))
		}
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for i, f := range all {
		switch age := now.Sub(f.ended).Std(); {
		case f.gone:
			certain = append(certain, victim{f, "the region forgot the allocation"})
		case age >= limits.MaxAge:
			certain = append(certain, victim{f, fmt.Sprintf("it had ended %s ago, more than %s (client.gc.max_age)", structs.Duration(age.Round(time.Second)),
				structs.Duration(limits.MaxAge))})
		case len(all)-i > limits.MaxCount:
			certain = append(certain, victim{f, fmt.Sprintf("more than %d ended allocations had a folder (client.gc.max_allocs)", limits.MaxCount)})
		default:
			next = append(next, f)
		}
	}
	return certain, next
}

func (c *Client) nudgeCollector() {
	select {
	case c.collect <- struct{}{}:
	default:
	}
}

// collectGarbage removes folders of ended allocations: from time to time, and soon after something ended.
func (c *Client) collectGarbage(ctx context.Context) {
	c.removeOrphans()
	ticker := time.NewTicker(c.settings.Load().GC.Every)
	defer ticker.Stop()
	for due := true; ; {
		c.collectOnce(ctx)
		if due {
			c.lookAtDisk() // it writes: not each time that something ends
		}
		due = false
		select {
		case <-ticker.C:
			due = true
		case <-c.collect:
			// What ends in bursts is looked at once.
			timer := time.NewTimer(time.Second)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
			timer.Stop()
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (c *Client) collectOnce(ctx context.Context) {
	c.mu.Lock()
	all := make([]folder, 0, len(c.ended))
	for id, e := range c.ended {
		if e.folder {
			all = append(all, folder{id, e.at, e.gone})
		}
	}
	for id, h := range c.held {
		if h.run.EndedEarly() { // the disk is too full to note its end: its folder may be why
			all = append(all, folder{id: id, ended: now()})
		}
	}
	c.mu.Unlock()
	certain, next := victims(all, c.settings.Load().GC, now())
	for _, v := range certain {
		if ctx.Err() != nil {
			return
		}
		c.remove(v)
	}
	for _, f := range next {
		used, err := c.diskUse()
		if err != nil || used <= c.settings.Load().GC.MaxDiskUsed || ctx.Err() != nil {
			return
		}
		c.remove(victim{f, fmt.Sprintf("the disk was %d%% full, more than %d%% (client.gc.disk_use)", used, c.settings.Load().GC.MaxDiskUsed)})
	}
}

// diskUse returns how full the disk of a folder is, in percent.
func diskUse(dir string) (int, error) {
	free, total, err := fingerprint.Disk(dir)
	if err != nil || total == 0 {
		return 0, err
	}
	return int((total - free) * 100 / total), nil
}

// remove removes one folder and then notes it.
func (c *Client) remove(v victim) {
	if err := c.removeFolder(v.id); err != nil {
		c.log.Warn("the folder of an ended allocation cannot be removed", "alloc", v.id, "err", err)
		c.counts.unremoved.Add(1)
		return
	}
	c.counts.removed.Add(1)
	c.log.Debug("removed the folder of an ended allocation", "alloc", v.id, "why", v.why)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.ended[v.id]
	if e == nil {
		return
	}
	e.folder, e.why = false, v.why
	if e.gone {
		c.forgetLocked(v.id)
		return
	}
	record, err := c.store.Ended(v.id)
	if err != nil {
		return
	}
	record.Folder, record.Why = false, v.why
	c.store.Enqueue(store.PutEnded(v.id, record))
}

// removeFolder removes the folder of an allocation, and then its bound.
func (c *Client) removeFolder(id structs.AllocID) error {
	dir := taskdir.At(c.allocRoot(), id)
	project := c.config.Limits.Project(string(dir))
	if err := dir.Remove(); err != nil {
		return err
	}
	c.config.Limits.Release(project)
	return nil
}

// removeOrphans removes folders that no record knows and that are older than ended ones may get.
func (c *Client) removeOrphans() {
	entries, err := os.ReadDir(c.allocRoot())
	if err != nil {
		return
	}
	for _, e := range entries {
		id := structs.AllocID(e.Name())
		c.mu.Lock()
		known := c.held[id] != nil || c.ended[id] != nil
		c.mu.Unlock()
		info, err := e.Info()
		if known || err != nil || time.Since(info.ModTime()) < c.settings.Load().GC.MaxAge {
			continue
		}
		c.log.Info("removing a folder that no allocation has", "path", filepath.Join(c.allocRoot(), e.Name()))
		if err := c.removeFolder(id); err != nil {
			c.log.Warn("a folder that no allocation has cannot be removed", "err", err)
		}
	}
}

func now() structs.Time { return structs.At(time.Now()) }
