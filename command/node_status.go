package command

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
)

func nodeStatus(e *Environment) *command {
	c := newCommand(e, "node status", "[NODE]", "List nodes, or show one").reads()
	c.about = "List nodes, or show one by its id, the beginning of it, or its name; self is the node of the agent that is asked."
	c.max = 1
	c.predict = predictNodes(e)
	attributes := c.flags.Bool("attributes", false, "also show attributes, meta and images of the node")
	var filters listFlag
	c.flags.Var(&filters, "filter", "only nodes for which `FIELD=VALUE` holds; also FIELD!=VALUE and FIELD~PART; may be repeated")
	stale := c.flags.Bool("stale", false, "what the agent has will do, even when it has lost the leader")
	c.run = func(ctx context.Context, args []string) error {
		client, err := e.client()
		if err != nil {
			return err
		}
		if len(args) == 0 {
			nodes, _, err := api.Collect(ctx, &api.Query{Filter: filters, Stale: *stale}, client.Nodes)
			if err != nil {
				return err
			}
			return c.show(nodes, func(b *bytes.Buffer) error { writeNodes(b, nodes, e.Now()); return nil })
		}
		id, err := nodeID(ctx, client, args[0])
		if err != nil {
			return err
		}
		n, _, err := client.Node(ctx, id, &api.Query{Stale: *stale})
		if err != nil {
			return err
		}
		return c.show(n, func(b *bytes.Buffer) error { writeNode(b, n, *attributes, e.Now()); return nil })
	}
	return c
}

// clientNode returns a client, and what the API takes for the node that is given.
func (e *Environment) clientNode(ctx context.Context, given string) (*api.Client, string, error) {
	client, err := e.client()
	if err != nil {
		return nil, "", err
	}
	id, err := nodeID(ctx, client, given)
	return client, id, err
}

// nodeID returns what the API takes for a node: given itself when it may be an id, the id of the node of that name
// otherwise.
func nodeID(ctx context.Context, client *api.Client, given string) (string, error) {
	if given == "self" {
		self, err := client.Self(ctx)
		if err != nil {
			return "", err
		}
		if self.Node == "" {
			return "", structs.Errorf(structs.NotFound, "node self", "the agent runs no client")
		}
		return string(self.Node), nil
	}
	if structs.MayBeID(given) {
		if _, _, err := client.Node(ctx, given, nil); structs.KindOf(err) != structs.NotFound {
			return given, nil // found, or an error that the next call gives
		}
	}
	nodes, _, err := api.Collect(ctx, &api.Query{Filter: []string{"name=" + given}}, client.Nodes)
	if err != nil {
		return "", err
	}
	switch len(nodes) {
	case 1:
		return string(nodes[0].ID), nil
	case 0:
		everyone, _, err := api.Collect(ctx, nil, client.Nodes)
		if err != nil {
			return "", err
		}
		var names []string
		for _, n := range everyone {
			names = append(names, n.Name)
		}
		e := structs.Errorf(structs.NotFound, fmt.Sprintf("node %q", given), "there is none of that id or name")
		if near := structs.Nearest(given, names); near != "" {
			return "", e.Advise("did you mean %q?", near)
		}
		return "", e
	}
	return "", structs.Errorf(structs.Invalid, fmt.Sprintf("node %q", given), "%d nodes have that name", len(nodes)).Advise("give an id")
}

// nodeState is the one word that matters most of a node.
func nodeState(n *structs.Node) string {
	switch {
	case n.Status != structs.NodeReady:
		return string(n.Status)
	case n.Gone != nil:
		return "gone"
	case n.Drain != nil:
		return "draining"
	case !n.Eligible:
		return "ineligible"
	case len(n.Problems) > 0:
		return "unhealthy"
	case n.Untold:
		return "untold"
	}
	return "ready"
}

func writeNodes(b *bytes.Buffer, nodes []*structs.Node, now time.Time) {
	if len(nodes) == 0 {
		b.WriteString("There are no nodes.\n")
		return
	}
	ids := make([]structs.NodeID, len(nodes))
	for i, n := range nodes {
		ids[i] = n.ID
	}
	short := shorten(ids)
	t := newTable("ID", "NAME", "DATACENTER", "STATUS", "SINCE", "CPU", "MEMORY", "DRIVERS", "VERSION")
	for _, n := range nodes {
		available := n.Available()
		t.row(short(n.ID), n.Name, n.Datacenter, nodeState(n), age(now, n.Changed), available.CPU, available.Memory.Human(), driverNames(n), n.Version)
	}
	t.write(b)
}

// driverNames lists the healthy drivers.
func driverNames(n *structs.Node) string {
	var names []string
	for _, name := range sortedKeys(n.Drivers) {
		if d := n.Drivers[name]; d != nil && d.Healthy {
			names = append(names, name)
		}
	}
	return orDash(strings.Join(names, ","))
}

// imagesText says how many images a driver has, and what they take as far as it is known: images share layers.
func imagesText(images map[string]structs.Bytes) string {
	var sum structs.Bytes
	for _, size := range images {
		sum += min(size, 1<<60-sum)
	}
	switch {
	case len(images) == 0:
		return "-"
	case sum == 0:
		return fmt.Sprint(len(images))
	}
	return fmt.Sprintf("%d (%s)", len(images), sum.Human())
}

// writeImages lists the images of all drivers, of each the largest first.
func writeImages(b *bytes.Buffer, drivers map[string]*structs.Driver) {
	t, some := newTable("DRIVER", "IMAGE", "SIZE"), false
	for _, name := range sortedKeys(drivers) {
		images := drivers[name].Images
		for _, image := range slices.SortedFunc(maps.Keys(images), func(x, y string) int {
			return cmp.Or(cmp.Compare(images[y], images[x]), strings.Compare(x, y))
		}) {
			size := "-"
			if images[image] > 0 {
				size = images[image].Human()
			}
			t.row(name, image, size)
			some = true
		}
	}
	if some {
		heading(b, "Images")
		t.write(b)
	}
}

func writeNode(b *bytes.Buffer, n *api.NodeDetail, attributes bool, now time.Time) {
	var d details
	d.add("ID", n.ID)
	d.add("Name", n.Name)
	d.add("Datacenter", n.Datacenter)
	d.add("Address", n.Address)
	d.add("Version", n.Version)
	d.add("Status", joinNonEmpty(": ", nodeState(&n.Node), n.Reason)+", since "+age(now, n.Changed))
	if at, err := time.Parse(time.RFC3339, n.Attributes[structs.AttrBoot+"time"]); err == nil {
		text := age(now, structs.At(at)) + " ago"
		if cut := n.Attributes[structs.AttrBoot+"interrupted"]; cut != "" {
			n, _ := strconv.Atoi(cut)
			text += ", " + counted(n, "task", "tasks") + " ran when it went down"
		}
		d.add("Machine started", text)
	}
	eligible := yesNo(n.Eligible)
	if x := n.Closed; x != nil {
		eligible = joinNonEmpty(": ", joinNonEmpty(" by ", "no, since "+age(now, x.Since), x.By), x.Reason)
	}
	d.add("Eligible", eligible)
	if x := n.Gone; x != nil {
		d.add("Gone", joinNonEmpty(" by ", "marked "+age(now, x.Since)+" ago", x.By)+"; it ends its work")
	}
	for _, p := range n.Problems {
		d.add("Problem", p)
	}
	if n.Drain != nil {
		deadline := "without a deadline"
		if !n.Drain.Deadline.IsZero() {
			deadline = "until " + n.Drain.Deadline.String()
		}
		if n.Drain.Kills {
			deadline += "; tasks of frameworks are stopped at once"
		}
		if n.Drain.MaxGrace != nil {
			deadline += ", within " + n.Drain.MaxGrace.String()
		}
		if n.Drain.Gone {
			deadline += ", then it is marked gone"
		}
		d.add("Drain", deadline)
	}
	if m := n.Maintenance; m != nil {
		d.add("Maintenance", windowText(m, now)+reasonText(m))
	}
	if n.Untold {
		d.add("Untold", "it is back, and has not told yet what it runs: it takes no work before")
	}
	d.add("Drain index", n.DrainIndex)
	d.add("Incarnation", n.Incarnation)
	d.add("Resources", n.Resources)
	d.add("Reserved", n.Reserved)
	d.add("Used", n.Used)
	d.add("Free", n.Available().Sub(n.Used))
	if n.Slack != nil {
		d.add("Revocable", n.Slack)
	}
	d.write(b)

	if len(n.Rooms) > 0 {
		heading(b, "Reserved for roles")
		t := newTable("ROLE", "RESERVED", "UNUSED", "FROM")
		for _, x := range n.Rooms {
			t.row(x.Role, x.Reserved, x.Unused, timeOrDash(x.From))
		}
		t.write(b)
	}
	writeDisks(b, &n.Node)
	heading(b, "Drivers")
	t := newTable("DRIVER", "HEALTHY", "IMAGES", "WHY NOT")
	for _, name := range sortedKeys(n.Drivers) {
		if driver := n.Drivers[name]; driver != nil {
			t.row(name, yesNo(driver.Healthy), imagesText(driver.Images), orDash(driver.Why))
		}
	}
	t.write(b)
	if attributes {
		heading(b, "Attributes and meta")
		var list details
		for _, name := range sortedKeys(n.Attributes) {
			list.add("attr."+name, n.Attributes[name])
		}
		for _, name := range sortedKeys(n.Meta) {
			list.add("meta."+name, n.Meta[name])
		}
		list.write(b)
		writeImages(b, n.Drivers)
	}
	heading(b, "Allocations")
	if len(n.Allocations) == 0 {
		b.WriteString("none\n")
		return
	}
	writeAllocs(b, n.Allocations, now)
}
