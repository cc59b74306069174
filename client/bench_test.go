package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/mock"
	"github.com/proffer/proffer/structs"
)

// counting is a region that only counts ends.
type counting struct {
	ends atomic.Int64
	want int64
	done chan struct{}
}

func (c *counting) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (c *counting) Fingerprint(*structs.Node)     {}
func (c *counting) Slack(structs.Slack)           {}
func (c *counting) Purged([]structs.VolumeID)     {}
func (c *counting) Want(_, _ []session.Ref)       {}
func (c *counting) Leave(context.Context) error   { return nil }
func (c *counting) Observe(updates ...*structs.AllocUpdate) {
	for _, u := range updates {
		if u.Status.Ended() && c.ends.Add(1) == c.want {
			close(c.done)
		}
	}
}

// BenchmarkShortTasks runs b.N allocations of one mock task that ends at once, with real folders and a real, synced store:
// what the node itself costs per task.
func BenchmarkShortTasks(b *testing.B) {
	up := &counting{want: int64(b.N), done: make(chan struct{})}
	var node session.Node
	c, err := New(b.Context(), Config{DataDir: b.TempDir(), Region: "eu", Name: "n1", Drivers: []drivers.Driver{mock.New(nil)}, Clock: new(world),
		BootID: "b", GPUs: noGPUs{}, Connect: func(n session.Node) Uplink { node = n; return up }})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	job := &structs.JobVersion{Version: 1, Job: &structs.Job{Name: "j", Type: structs.BatchJob, Groups: []*structs.Group{{Name: "g",
		Tasks: []*structs.Task{{Name: "main", Driver: "mock"}}}}}}
	node.Welcome(&session.Welcome{Server: "s", Generation: "g"})
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		d := &session.Desired{Index: uint64(i + 1), Jobs: []*structs.JobVersion{job}}
		for k := i; k < min(i+100, b.N); k++ {
			d.Allocs = append(d.Allocs, &structs.Allocation{ID: structs.AllocID(fmt.Sprintf("%032d", k)), Job: "j", Version: 1, Group: "g", Index: k,
				Desired: structs.DesiredRun, Status: structs.AllocPending, CreateIndex: uint64(i + 1), WantIndex: uint64(i + 1)})
		}
		node.Desired(d)
	}
	<-up.done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	if err := c.Stop(context.Background()); err != nil {
		b.Fatal(err)
	}
}
