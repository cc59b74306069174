package client

import (
	"context"
	"time"

	"github.com/proffer/proffer/client/runner"
	"github.com/proffer/proffer/structs"
)

// What is told of the slack is rounded to a part of what the node has.
const slackSteps = 64

// watchSlack tells the servers how much of the node is reserved and not used: at first nothing, since nothing is known yet, and nothing
// at all where nothing may be revocable, which takes back what is.
func (c *Client) watchSlack(ctx context.Context) {
	if c.uplink == nil {
		return
	}
	if !c.config.Revocable.Enabled {
		c.uplink.Slack(structs.Slack{})
		return
	}
	tasks := map[runner.TaskID]*usage{}
	var told *structs.Slack
	ticker := time.NewTicker(c.config.Revocable.Every)
	defer ticker.Stop()
	for round := 0; ; round++ {
		slack := c.sampleSlack(ctx, tasks)
		if ctx.Err() != nil {
			return
		}
		if round > 0 { // what was seen once says nothing of its cores
			next := c.tellSlack(told, slack)
			if told == nil || next != *told {
				told = &next
				c.counts.slack.Store(told)
				c.uplink.Slack(next)
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// usage is what is known of one start of a task.
type usage struct {
	at          structs.Time // of the last look
	cpuTime     structs.Duration
	cpu, memory estimate
	reserved    structs.Slack // as of then
	rated       bool          // its cores are estimated
	seen        bool          // in this round
}

// sampleSlack looks at what all tasks use that have room of the node, and returns what they reserved and are not taken to need. Of tasks
// that do not run, or do not say what they use, that is nothing.
func (c *Client) sampleSlack(ctx context.Context, tasks map[runner.TaskID]*usage) (slack structs.Slack) {
	c.mu.Lock()
	var runs []*runner.Alloc
	for _, h := range c.held {
		if h.alloc.Revocable == nil || h.alloc.External != nil { // what of a job is revocable is not known of each task
			runs = append(runs, h.run)
		}
	}
	c.mu.Unlock()
	p := &c.config.Revocable
	for _, u := range tasks {
		u.seen = false
	}
	for _, run := range runs {
		for _, s := range run.Samples(ctx) {
			u := tasks[s.ID]
			if u == nil {
				u = &usage{memory: newEstimate(int64(s.Reserved.Memory), s.Started, p), reserved: s.Reserved}
				tasks[s.ID] = u
			}
			if was := u.reserved; was != s.Reserved {
				u.cpu = u.cpu.reserves(int64(was.CPU), int64(s.Reserved.CPU), s.At, p)
				u.memory = u.memory.reserves(int64(was.Memory), int64(s.Reserved.Memory), s.At, p)
				u.reserved = s.Reserved
			}
			if passed := s.At.Sub(u.at); u.at != 0 && passed > 0 {
				if !u.rated {
					u.cpu, u.rated = newEstimate(int64(s.Reserved.CPU), s.Started, p), true
				}
				milli := int64(max(s.CPUTime-u.cpuTime, 0)) * 1000 / int64(passed)
				u.cpu = u.cpu.next(int64(s.Reserved.CPU), ofOwn(milli, int64(s.Reserved.CPU), int64(s.Slack.CPU)), s.At, p)
			}
			u.memory = u.memory.next(int64(s.Reserved.Memory), ofOwn(int64(s.Memory), int64(s.Reserved.Memory), int64(s.Slack.Memory)), s.At, p)
			u.at, u.cpuTime, u.seen = s.At, s.CPUTime, true
			if u.rated {
				// A task that uses more than it reserved lessens what others leave.
				slack.CPU += s.Reserved.CPU - structs.Milli(u.cpu.amount)
			}
			slack.Memory += s.Reserved.Memory - structs.Bytes(u.memory.amount)
		}
	}
	for id, u := range tasks {
		if !u.seen {
			delete(tasks, id)
		}
	}
	return structs.Slack{CPU: max(slack.CPU, 0), Memory: max(slack.Memory, 0)}
}

// tellSlack returns what is said of the slack after told.
func (c *Client) tellSlack(told *structs.Slack, now structs.Slack) structs.Slack {
	if told == nil {
		told = &structs.Slack{}
	}
	all := c.Node().Available()
	return structs.Slack{
		CPU:    structs.Milli(tell(int64(told.CPU), int64(now.CPU), max(int64(all.CPU)/slackSteps, 1))),
		Memory: structs.Bytes(tell(int64(told.Memory), int64(now.Memory), max(int64(all.Memory)/slackSteps, 1))),
	}
}
