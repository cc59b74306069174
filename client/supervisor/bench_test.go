//go:build linux && system

package supervisor_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers"
)

// BenchmarkStarts runs /bin/true in full isolation through the driver, at several degrees of concurrency, with folders,
// logs, cgroups and their removal. It reports starts per second and the time until the program ran.
func BenchmarkStarts(b *testing.B) {
	for _, lanes := range []int{1, 4, 64} {
		b.Run(fmt.Sprint("lanes=", lanes), func(b *testing.B) {
			n := newNode(b)
			var mu sync.Mutex
			var times []time.Duration
			work := make(chan *drivers.Spec)
			var w sync.WaitGroup
			begin := time.Now()
			for range lanes {
				w.Go(func() {
					for s := range work {
						at := time.Now()
						task, err := n.driver.Start(n.ctx, s)
						if err != nil {
							b.Error(err)
							continue
						}
						took := time.Since(at)
						mu.Lock()
						times = append(times, took)
						mu.Unlock()
						if exit, err := task.Wait(n.ctx); err != nil || exit.Code != 0 {
							b.Error(exit, err)
						}
						if err := task.Destroy(n.ctx); err != nil {
							b.Error(err)
						}
					}
				})
			}
			for range b.N {
				s := n.spec("", config("command", "/bin/true"), config("args", []any{}))
				os.MkdirAll(s.TaskDir, 0o755)
				work <- s
			}
			close(work)
			w.Wait()
			b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "starts/s")
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
