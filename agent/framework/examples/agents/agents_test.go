package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/agent/framework/frameworktest"
)

// replicas are schedulers of one framework in a bubble.
type replicas struct {
	*frameworktest.Region
	mu   sync.Mutex
	lead []string // who led, in order
}

func begin(t *testing.T, c frameworktest.Config) *replicas {
	r := &replicas{Region: frameworktest.Start(t, c)}
	return r
}

// start starts a replica, and returns how to end it.
func (r *replicas) start(t *testing.T, name string) (stop func()) {
	ctx, end := context.WithCancel(t.Context())
	client := r.Client(0)
	c := r.Configure(framework.Config{Name: "node-agents"})
	done := make(chan struct{})
	go func() {
		defer close(done)
		api.Campaign(ctx, client, "@node-agents/leader", name, 15*time.Second, func(ctx context.Context, term uint64) {
			r.mu.Lock()
			r.lead = append(r.lead, name)
			r.mu.Unlock()
			lead(ctx, client, c, term, []string{"sleep", "infinity"})
		})
	}()
	stop = func() { end(); <-done }
	t.Cleanup(stop)
	return stop
}

// covered reports whether so many nodes have exactly one instance each.
func (r *replicas) covered(nodes int) bool {
	on := map[string]int{}
	for _, p := range r.Running() {
		on[p.Node.Name()]++
	}
	for _, n := range on {
		if n != 1 {
			return false
		}
	}
	return len(on) == nodes
}

func (r *replicas) leaders() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprint(r.lead)
}

func TestEveryNodeHasOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, frameworktest.Config{Nodes: 3})
		r.start(t, "one")
		r.Until("all nodes have one", func() bool { return r.covered(3) })
		n := r.Running()[0].Node
		n.PowerOff()
		r.Until("two are left", func() bool { return r.covered(2) })
		n.Boot()
		r.Until("the node has one again", func() bool { return r.covered(3) })
		time.Sleep(time.Hour)
		if !r.covered(3) {
			t.Error("after an hour it is not so any more")
		}
	})
}

func TestTheNextLeaderGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, frameworktest.Config{Nodes: 2})
		stop := r.start(t, "one")
		r.Until("all nodes have one", func() bool { return r.covered(2) })
		r.start(t, "two")
		time.Sleep(time.Minute)
		if got := r.leaders(); got != "[one]" {
			t.Fatalf("while one leads, leaders are %s", got)
		}
		before := fmt.Sprint(r.tasks())
		stop()
		r.Until("two leads", func() bool { return r.leaders() == "[one two]" })
		time.Sleep(time.Minute)
		if after := fmt.Sprint(r.tasks()); after != before {
			t.Errorf("%s ran, and now %s do", before, after)
		}
		n := r.Running()[0].Node
		n.PowerOff()
		n.Boot()
		r.Until("it keeps them", func() bool { return r.covered(2) })
	})
}

func (r *replicas) tasks() (all []string) {
	for _, p := range r.Running() {
		all = append(all, p.Task)
	}
	return all
}
