// Package framework is for writing frameworks: schedulers that decide what runs on the resources that a region offers them, and
// executors that run many tasks in one process.
//
// A scheduler is a type with two methods, and a Driver that runs it:
//
//	d := framework.New(framework.Config{Name: "batch", Servers: []string{"10.0.0.1:5050", "10.0.0.2:5050"}})
//	err := d.Run(ctx, &batch{driver: d})
//
// The driver finds the leader and follows it, keeps the framework's id, acknowledges what the scheduler has taken, asks for what
// may have been missed, gives back offers that are not used, and says whether offers are wanted at all. DESIGN.md has the rules, and
// package frameworktest a whole region in the process of a test.
//
// An executor is a function for each task (RunTasks) or, where tasks are not goroutines, a type with two methods (ExecutorDriver).
package framework
