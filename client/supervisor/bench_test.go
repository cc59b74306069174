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
			var times, waits, ends []time.Duration
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
						at = time.Now()
						if exit, err := task.Wait(n.ctx); err != nil || exit.Code != 0 {
							b.Error(exit, err)
						}
						waited := time.Since(at)
						at = time.Now()
						if err := task.Destroy(n.ctx); err != nil {
							b.Error(err)
						}
						mu.Lock()
						waits, ends = append(waits, waited), append(ends, time.Since(at))
						mu.Unlock()
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
			for name, list := range map[string][]time.Duration{"start": times, "wait": waits, "destroy": ends} {
				slices.Sort(list)
				b.ReportMetric(float64(list[len(list)/2].Microseconds())/1000, name+"-p50-ms")
				b.ReportMetric(float64(list[len(list)*99/100].Microseconds())/1000, name+"-p99-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
