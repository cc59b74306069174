// Command batch is a framework that runs each line of its standard input as a shell command somewhere in a region, tries again what
// does not end well, and ends when all is done.
//
//	batch -servers 10.0.0.1:5050,10.0.0.2:5050 -tries 3 < commands
package main

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/structs"
)

// command is one line.
type command struct {
	line string
	n    int // its number, from 1
	try  int // from 1; 0: it was not tried
}

// id names the present try: a task is launched once.
func (c *command) id() string { return fmt.Sprintf("command-%d-%d", c.n, c.try) }

// batch is the scheduler. Only its driver's goroutine touches it.
type batch struct {
	driver  *framework.Driver
	size    structs.Resources // of each command
	tries   int
	waiting []*command
	running map[string]*command // by the id of the task
	failed  []string
	say     func(format string, args ...any)
}

func newBatch(d *framework.Driver, lines []string, size structs.Resources, tries int) *batch {
	b := &batch{driver: d, size: size, tries: tries, running: map[string]*command{}, say: func(string, ...any) {}}
	for i, line := range lines {
		b.waiting = append(b.waiting, &command{line: line, n: i + 1})
	}
	b.want()
	return b
}

// want says whether there is use for offers.
func (b *batch) want() {
	if len(b.waiting) > 0 {
		b.driver.Want(framework.Want{Resources: b.size})
	} else {
		b.driver.Want()
	}
}

// Offers puts as many commands on each offer as fit.
func (b *batch) Offers(ctx context.Context, offers []*framework.Offer) {
	for _, o := range offers {
		var tasks []*framework.Task
		for _, fits := o.Take(b.size); fits && len(b.waiting) > 0; _, fits = o.Take(b.size) {
			c := b.waiting[0]
			b.waiting = b.waiting[1:]
			c.try++
			b.running[c.id()] = c
			tasks = append(tasks, &framework.Task{ID: c.id(), Resources: b.size, Command: &framework.Command{Shell: c.line}})
		}
		if len(tasks) == 0 {
			continue
		}
		switch err := b.driver.Launch(ctx, o, tasks...); structs.KindOf(err) {
		case structs.Conflict, structs.Unavailable, structs.Exhausted: // nothing was launched
			for _, t := range tasks {
				c := b.running[t.ID]
				delete(b.running, t.ID)
				c.try--
				b.waiting = append(b.waiting, c)
			}
		}
	}
	b.want()
}

// Update notes what became of a command.
func (b *batch) Update(ctx context.Context, u *framework.Update) error {
	c := b.running[u.Task]
	switch {
	case c == nil: // of an earlier try
		return b.finish(ctx)
	case u.State == structs.TaskUnreachable: // nobody knows for how long: it is ended if its node comes back, and runs elsewhere
		if err := b.driver.Kill(ctx, u.Task); err != nil {
			return err
		}
	case !u.Over():
		return nil
	}
	delete(b.running, u.Task)
	b.say("%s: %s %s", c.line, u.State, u.Message)
	switch {
	case u.State == structs.TaskFinished:
	case c.try < b.tries:
		b.waiting = append(b.waiting, c)
		b.want()
	default:
		b.failed = append(b.failed, c.line)
	}
	return b.finish(ctx)
}

// finish ends the framework when all is done; Run returns then. After an error the last update is told again, and so it is tried again.
func (b *batch) finish(ctx context.Context) error {
	if len(b.waiting)+len(b.running) > 0 {
		return nil
	}
	return b.driver.Teardown(ctx)
}

func main() {
	servers := flag.String("servers", "127.0.0.1:5050", "host:port of servers, with commas")
	tries := flag.Int("tries", 3, "how often a command is tried")
	cpu := flag.Int("cpu", 100, "thousandths of a core for each")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var lines []string
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		lines = append(lines, in.Text())
	}
	if len(lines) == 0 {
		return
	}
	d, err := framework.New(framework.Config{Name: "batch", Servers: strings.Split(*servers, ","), Token: os.Getenv("PROFFER_TOKEN"),
		Failover: time.Minute, Log: slog.Default()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	b := newBatch(d, lines, structs.Resources{CPU: structs.Milli(*cpu), Memory: 32 << 20}, *tries)
	b.say = func(format string, args ...any) { fmt.Printf(format+"\n", args...) }
	if err := d.Run(ctx, b); err != nil || len(b.failed) > 0 {
		fmt.Fprintln(os.Stderr, "failed:", cmp.Or(err, fmt.Errorf("%q", b.failed)))
		os.Exit(1)
	}
}
