package api

import (
	"context"
	"sync"
	"time"

	"github.com/proffer/proffer/drivers/pause"
	"github.com/proffer/proffer/structs"
)

// Campaign takes part in the election of one leader among the replicas of a program, by a variable such as @marathon/leader that whoever
// leads holds with a time to live. It calls lead when this replica leads, with a context that ends when it does so no more: when ctx ended, or when
// the variable could not be renewed for ttl, counted from before the last renewal that succeeded was sent, so that no two lead at a time as
// long as their clocks run alike. term is larger for each later leader: a fencing number. When lead returns by itself, Campaign gives the
// lead up and returns nil; otherwise it returns when ctx ended, with its error. Conflicts and servers that do not answer are waited out; an
// error that stays (Invalid, Forbidden) is returned.
func Campaign(ctx context.Context, c *Client, path, who string, ttl time.Duration, lead func(ctx context.Context, term uint64)) error {
	for ctx.Err() == nil {
		before := time.Now()
		made, err := c.PutVariable(ctx, path, &VariablePut{Items: map[string]string{"leader": who}, TTL: structs.Duration(ttl), Check: new(uint64(0))})
		switch structs.KindOf(err) {
		case "":
			if c.reign(ctx, path, made.Index, ttl, before, lead) {
				return nil
			}
			continue
		case structs.Conflict:
			c.awaitVacancy(ctx, path, ttl)
		case structs.Invalid, structs.Forbidden:
			return err
		default:
			pause.For(ctx, ttl/3)
		}
	}
	return context.Cause(ctx)
}

// awaitVacancy returns when the variable may be free.
func (c *Client) awaitVacancy(ctx context.Context, path string, ttl time.Duration) {
	_, meta, err := c.Variable(ctx, path, nil)
	for err == nil {
		_, meta, err = c.Variable(ctx, path, &Query{Index: meta.Index, Wait: time.Minute})
	}
	if structs.KindOf(err) != structs.NotFound {
		pause.For(ctx, ttl/3)
	}
}

// reign leads for one term. It reports whether lead returned by itself.
func (c *Client) reign(ctx context.Context, path string, term uint64, ttl time.Duration, sent time.Time, lead func(context.Context, uint64)) (done bool) {
	leading, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	over := time.AfterFunc(time.Until(sent.Add(ttl)), cancel)
	work.Go(func() {
		for leading.Err() == nil {
			if !pause.For(leading, ttl/3) {
				return
			}
			before := time.Now()
			_, err := c.RenewVariable(leading, path, &VariableRenew{TTL: structs.Duration(ttl), Check: term})
			switch structs.KindOf(err) {
			case "":
				over.Reset(time.Until(before.Add(ttl)))
			case structs.Conflict, structs.NotFound:
				cancel() // another one leads, or may
			}
		}
	})
	lead(leading, term)
	done = leading.Err() == nil
	over.Stop()
	cancel()
	work.Wait()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), min(ttl, 5*time.Second))
	defer cancel()
	c.DeleteVariable(ctx, path, &term) // the others need not wait; when it fails they do
	return done
}
