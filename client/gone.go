package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/proffer/proffer/client/replace"
	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/store"
	"github.com/proffer/proffer/structs"
)

// A node that an operator marked gone ends all its work, says goodbye and stays out: it has no session any more, also after a restart of
// its agent. Who marks a machine gone means to be rid of it, so it does not come back by itself as another node. A file in its data folder
// says how it is had back: without the file the next agent takes a new id, and is a node that nobody knew.

// goneFile is the name of that file.
const goneFile = "gone"

const goneText = `An operator marked this node gone. Its id was %s.
It ended its work, and takes none until this file is removed and the agent started again: it is a new node then, with another id.
`

// goodbye bounds how long the servers are told that nothing is left.
const goodbye = 10 * time.Second

func (c *Client) goneFile() string { return filepath.Join(c.config.DataDir, goneFile) }

// MarkedGone ends the node: an operator marked it gone. The session calls it. It is proof for work of the servers' generation only, as any stop is;
// the result tells whether it was that.
func (c *Client) MarkedGone(g *session.Gone) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone || c.stopped:
		return true
	case len(c.held) > 0 && g.Generation != c.memory.Generation:
		c.log.Error("an operator marked the node gone, in a region that was restored since the node's work began: it runs on, and no server takes it in",
			"was", c.memory.Generation, "is", g.Generation)
		return false
	}
	c.gone, c.leaving = true, true
	c.routines.Go(func() { c.leaveForGood(c.watching) })
	return true
}

// IsGone reports whether an operator marked the node gone.
func (c *Client) IsGone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// leaveForGood ends a node that is gone, or the rest of it after a restart of the agent.
func (c *Client) leaveForGood(ctx context.Context) {
	c.log.Error("an operator marked this node gone: it ends all its work and takes none. It stays out until an agent is started without this file: it is a new node then",
		"id", c.Node().ID, "file", c.goneFile())
	if err := c.rememberGone(ctx); err != nil && ctx.Err() == nil {
		c.log.Error("that the node is gone cannot be written down; an agent that is started again asks the servers", "err", err)
	}
	if err := c.endWork(ctx, "an operator marked the node gone"); err != nil {
		return // the agent stops; the next one goes on
	}
	c.log.Info("the node is gone, and nothing of it runs")
	c.mu.Lock()
	online := c.online
	c.mu.Unlock()
	if online == nil {
		return
	}
	ctx, cancel := context.WithTimeout(online, goodbye)
	defer cancel()
	if err := c.uplink.Leave(ctx); err != nil {
		c.log.Info("no server heard that nothing of the node runs: they know it when its lease ends", "err", err)
	}
}

// rememberGone has the next agent know it. The file comes first: a record without it lets the next agent be another node.
func (c *Client) rememberGone(ctx context.Context) error {
	c.mu.Lock()
	known := c.memory.Gone
	next := c.memory
	next.Gone = true
	c.mu.Unlock()
	if known {
		return nil
	}
	if err := replace.Bytes(c.goneFile(), fmt.Appendf(nil, goneText, next.ID)); err != nil {
		return err
	}
	if err := c.store.Commit(ctx, store.PutNode(&next)); err != nil {
		return err
	}
	c.mu.Lock()
	c.memory.Gone = true
	c.mu.Unlock()
	return nil
}

// endWork stops all work, storage plugins last: they are needed to end the others. It returns when all ended, or ctx did.
func (c *Client) endWork(ctx context.Context, why string) error {
	c.mu.Lock()
	var runs, plugins []*runner.Alloc
	for _, h := range c.held {
		if h.run.Plugin() {
			plugins = append(plugins, h.run)
			continue
		}
		runs = append(runs, h.run)
	}
	c.mu.Unlock()
	for _, some := range [][]*runner.Alloc{runs, plugins} {
		for _, run := range some {
			run.Stop(why)
		}
		for _, run := range some {
			select {
			case <-run.Done():
			case <-ctx.Done():
				return structs.Errorf(structs.Unavailable, "node", "its work did not end: %w", context.Cause(ctx))
			}
		}
	}
	return nil
}

// whoNow returns what a node remembers of itself that was gone, or the memory of a new one when it may come back as that: somebody removed the
// file, and nothing of the old one is left.
func (c *Client) whoNow(ctx context.Context, known store.Node) (store.Node, error) {
	if !known.Gone {
		return known, nil
	}
	allocs, problems := c.store.Allocs()
	if _, err := os.Lstat(c.goneFile()); !errors.Is(err, fs.ErrNotExist) || len(allocs)+len(problems) > 0 {
		return known, nil
	}
	next := store.Node{Format: store.Format, ID: structs.NewNodeID(), Region: known.Region, Boot: known.Boot, Cut: known.Cut}
	c.log.Info("the node was marked gone and comes back as a new one", "was", known.ID, "id", next.ID)
	return next, c.store.Commit(ctx, store.PutNode(&next))
}
