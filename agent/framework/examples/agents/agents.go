// Command agents is a framework that keeps one instance of a command on every node. Any number of its schedulers may run: they elect a
// leader, and what it knows is in variables of the region, so that the next one goes on where it was.
//
//	agents -server 10.0.0.1:5050 -name node-agents -- sleep 1000000
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/agent/framework"
	"github.com/proffer/proffer/structs"
)

// agents is the scheduler of the replica that leads. Only its driver's goroutine touches it.
type agents struct {
	driver  *framework.Driver
	client  *api.Client
	path    string // of the variable with tasks
	version uint64 // of the variable: who leads no more cannot write
	term    uint64
	args    []string
	size    structs.Resources
	tasks   map[string]string // by node: what runs there, or is about to
	n       int               // tasks launched in this term
}

// lead schedules until ctx ends, which it does when this replica leads no more.
func lead(ctx context.Context, client *api.Client, c framework.Config, term uint64, args []string) error {
	c.ID, c.Refuse = framework.VariableID(client, "@"+c.Name+"/framework"), 10*time.Minute
	d, err := framework.New(c)
	if err != nil {
		return err
	}
	a := &agents{driver: d, client: client, path: "@" + c.Name + "/tasks", term: term, args: args, size: structs.Resources{CPU: 100, Memory: 32 << 20},
		tasks: map[string]string{}}
	known, _, err := client.Variable(ctx, a.path, nil)
	switch structs.KindOf(err) {
	case "":
		a.version = known.Version
		track := map[string]string{}
		for node, task := range known.Items {
			if node != "format" {
				a.tasks[node], track[task] = task, node
			}
		}
		d.Track(track) // of what was about to run and does not, Update is told
	case structs.NotFound:
	default:
		return err
	}
	return d.Run(ctx, a)
}

// keep writes the tasks, if nobody else did since.
func (a *agents) keep(ctx context.Context) error {
	items := maps.Clone(a.tasks)
	items["format"] = "1"
	w, err := a.client.PutVariable(ctx, a.path, &api.VariablePut{Items: items, Check: &a.version})
	if err == nil {
		a.version = w.Index
	}
	return err
}

// Offers launches an instance on each node that has none. It is written down before, so that it is known to whoever leads next.
func (a *agents) Offers(ctx context.Context, offers []*framework.Offer) {
	on := map[*framework.Offer]*framework.Task{}
	for _, o := range offers {
		if _, fits := o.Take(a.size); fits && a.tasks[o.Node] == "" {
			a.n++
			t := &framework.Task{ID: fmt.Sprintf("agent-%d-%d", a.term, a.n), Name: "agent", Resources: a.size, Command: &framework.Command{Args: a.args}}
			on[o], a.tasks[o.Node] = t, t.ID
		}
	}
	if len(on) == 0 {
		return
	}
	if err := a.keep(ctx); err != nil {
		for o := range on {
			delete(a.tasks, o.Node)
		}
		return
	}
	for o, t := range on {
		switch structs.KindOf(a.driver.Launch(ctx, o, t)) {
		case structs.Conflict, structs.Unavailable, structs.Exhausted: // nothing was launched
			delete(a.tasks, o.Node)
			a.driver.Want(framework.Want{Resources: a.size, Node: o.Node})
		}
	}
}

// Update makes room for another instance where one is over. One on a node that cannot be reached runs on, or ends with it.
func (a *agents) Update(ctx context.Context, u *framework.Update) error {
	for node, task := range a.tasks {
		if task != u.Task || !u.Over() {
			continue
		}
		delete(a.tasks, node)
		if err := a.keep(ctx); err != nil {
			a.tasks[node] = task // it is told again
			return err
		}
		a.driver.Want(framework.Want{Resources: a.size, Node: node})
	}
	return nil
}

func main() {
	server := flag.String("server", "127.0.0.1:5050", "host:port of a server")
	name := flag.String("name", "node-agents", "of the framework and its variables")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client, err := api.New(api.Config{Address: *server, Token: os.Getenv("PROFFER_TOKEN")})
	if err == nil {
		c := framework.Config{Name: *name, Servers: []string{*server}, Token: os.Getenv("PROFFER_TOKEN"), Log: slog.Default()}
		host, _ := os.Hostname()
		who := fmt.Sprintf("%s-%d", host, os.Getpid())
		err = api.Campaign(ctx, client, "@"+*name+"/leader", who, 15*time.Second, func(ctx context.Context, term uint64) {
			slog.Info("this replica leads", "term", term)
			slog.Info("it leads no more", "why", lead(ctx, client, c, term, flag.Args()))
		})
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
