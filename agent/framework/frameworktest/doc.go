// Package frameworktest is a region in the process of a test: real servers with their allocator, their state and their HTTP API, and
// real nodes, over a network in memory and on the clock of a testing/synctest bubble. What a framework does there it does in
// earnest; only processes are functions of the test, and nothing takes longer than it takes to compute.
//
//	func TestBatch(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			r := frameworktest.Start(t, frameworktest.Config{Nodes: 2})
//			b := &batch{…}
//			run := r.Run(framework.Config{Name: "batch"}, func(d *framework.Driver) framework.Scheduler { b.driver = d; return b })
//			r.Until("one command runs", func() bool { return len(r.Running()) == 1 })
//			r.Running()[0].Node.PowerOff()
//			r.Until("all is done", func() bool { return run.Ended() })
//		})
//	}
//
// Time stands still while anything can be done, and jumps to the next timer otherwise, so minutes pass in milliseconds. The order of what
// happens at the same instant is the Go scheduler's choice, as it is chance in a real region.
package frameworktest
