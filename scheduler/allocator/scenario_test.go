package allocator

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/proffer/proffer/scheduler/internal/scenario"
	"github.com/proffer/proffer/scheduler/placement"
	"github.com/proffer/proffer/structs"
)

// TestScenarios runs testdata/*.txt. See the first file for the commands.
func TestScenarios(t *testing.T) {
	scenario.Run(t, "testdata/*.txt", startPlay)
}

// TestContractScenarios runs the examples of the page that tells users the order.
func TestContractScenarios(t *testing.T) {
	scenario.RunPage(t, "../../website/docs/internals/order.md", startPlay)
}

func startPlay(*testing.T) func(string) string {
	p := &play{a: New(testOptions()), now: 1e9, nodes: map[string]*structs.Node{}, places: map[string]*Place{}}
	return p.run
}

// testOptions have one more policy, as a third party would compile it in.
func testOptions() Options { return Options{Policies: map[string]Policy{"turns": inTurns{}}} }

type play struct {
	a      *Allocator
	now    structs.Time
	seq    uint64
	nodes  map[string]*structs.Node
	places map[string]*Place // by request[index]
}

func (p *play) run(line string) string {
	words := strings.Fields(line)
	args, rest := map[string]string{}, []string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok && k != "" && !strings.Contains(k, ",") && !strings.HasPrefix(w, "cpu=") || strings.HasPrefix(w, "cpu=") && words[0] != "request" && words[0] != "gang" {
			args[k] = v
		} else {
			rest = append(rest, w)
		}
	}
	out, err := p.command(words[0], rest, args)
	if err != nil {
		return fmt.Sprintf("error (%s): %s", structs.KindOf(err), err)
	}
	return out
}

func (p *play) command(name string, words []string, args map[string]string) (string, error) {
	switch name {
	case "region": // region [sorter=S] [exclude=RESOURCE] [seed=N], before all else
		seed, err := strconv.ParseUint(cmp.Or(args["seed"], "0"), 10, 64)
		o := testOptions()
		o.Sorter, o.Seed = args["sorter"], seed
		if args["exclude"] != "" {
			o.Exclude = []string{args["exclude"]}
		}
		p.a, p.places = New(o), map[string]*Place{}
		return "", err
	case "node": // node NAME cpu=N mem=N [gpus=N] [images=NAME@SIZE,NAME] [KEY=VALUE of meta] [lost|drain|ineligible|unwell]
		return "", p.node(words, args)
	case "remove-node":
		p.a.RemoveNode(structs.NodeID(words[0]))
	case "role": // role NAME [weight=N] [sorter=S] [user_limit=N] [framework_share=N] [by_owner=true] [exempt=true] [state=closed] [max_running=N] [limit.cpu=N] [guarantee.cpu=N] …
		return "", p.role(words[0], args)
	case "options": // options [most=N] [victims=N] [most_share=N] [backoff=DURATION] [smallest=cpu:1,mem:1GiB|gpus:1]: of a new region
		return "", p.options(args)
	case "framework": // framework NAME ROLE… [principal=NAME] [revocable=yes] [without=NAME] [smallest=cpu:1,mem:1GiB|gpus:1] [where=ATTRIBUTE:OPERATOR:VALUE&…|…] [suppressed=ROLE]
		return "", p.framework(words, args)
	case "unfit": // unfit NAME [all=yes]: takes back what does not fit the terms of a framework
		p.a.Withdraw(structs.FrameworkID(words[0]), args["all"] == "yes")
		return "", nil
	case "accept-leave", "decline-leave": // FRAMEWORK INVERSE-OFFER… [refuse=DURATION]
		if name == "accept-leave" {
			return "", p.a.AcceptInverse(structs.FrameworkID(words[0]), offerIDs(words[1:]), p.now)
		}
		refuse, err := structs.ParseDuration(cmp.Or(args["refuse"], "0s"))
		if err != nil {
			return "", err
		}
		return "", p.a.DeclineInverse(structs.FrameworkID(words[0]), offerIDs(words[1:]), Filter{refuse}, p.now)
	case "leaving": // what frameworks say to windows of nodes where they have work
		return p.leaving(), nil
	case "disconnect":
		p.a.Disconnect(structs.FrameworkID(words[0]))
	case "offers": // how a framework stands, and what it does not see
		return p.offers(words[0])
	case "demand": // demand FRAMEWORK cpu:1,mem:1GiB [node=NAME]
		amount, err := amountOf(words[1])
		if err != nil {
			return "", err
		}
		return "", p.a.Demand(structs.FrameworkID(words[0]), []Want{{structs.NodeID(args["node"]), amount}})
	case "remove-framework":
		p.a.RemoveFramework(structs.FrameworkID(words[0]))
	case "request": // request ID N x cpu=1,mem=2GiB [role=R] [fw=F] [priority=P] [owner=O] [scheduler=true] [max_run=DURATION] [if=ATTRIBUTE:OPERATOR:VALUE [relax=D|harden=D]] [spread=ATTRIBUTE] [tags=A,B] [image=NAME] [port=N]
		return "", p.request(words, args)
	case "gang": // gang ID N x cpu=1,mem=2GiB [+ N x …] [within=ATTRIBUTE] [port=N] [fw=F] [role=R] [priority=P] [max_run=DURATION]
		return "", p.gang(words, args)
	case "withdraw":
		p.a.RemoveRequest(words[0])
		p.a.RemoveGang(words[0])
	case "run": // one Step: decisions summed up by request and node
		return p.step(), nil
	case "decisions": // one Step: every decision in order
		return p.each(), nil
	case "after": // after DURATION
		d, err := structs.ParseDuration(words[0])
		p.now = p.now.Add(d)
		return "", err
	case "confirm", "refuse": // of REQUEST[INDEX]
		x := p.places[words[0]]
		if x == nil {
			return "", structs.Errorf(structs.NotFound, words[0], "was not placed")
		}
		if name == "refuse" {
			return "", p.a.Refuse(x.ID)
		}
		alloc := allocationOf(x, words[0])
		alloc.Created = p.now
		return "", p.a.Confirm(x.ID, alloc)
	case "confirm-all": // what was placed and not answered
		for _, id := range slices.Sorted(maps.Keys(p.places)) {
			if p.a.decisions[p.places[id].ID] != nil {
				alloc := allocationOf(p.places[id], id)
				alloc.Created = p.now
				if err := p.a.Confirm(p.places[id].ID, alloc); err != nil {
					return "", err
				}
			}
		}
	case "holds": // holds REQUEST[INDEX] cpu:1,mem:1GiB [revocable=cpu:1] [beside=pod|custom] [priority=P]: an executor, since tasks of it came or ended
		return "", p.holds(words, args)
	case "end": // the allocation of REQUEST[INDEX]
		p.a.RemoveAllocation(structs.AllocID(words[0]))
	case "accept": // accept FRAMEWORK OFFER… [reserves=cpu:1,ports:20000-20001] use=cpu:1,mem:1GiB,ports:20000-20001;cpu:1 [revocable=yes] [refuse=DURATION]
		return p.accept(words, args)
	case "decline":
		refuse, err := structs.ParseDuration(cmp.Or(args["refuse"], "0s"))
		if err != nil {
			return "", err
		}
		return "", p.a.Decline(structs.FrameworkID(words[0]), offerIDs(words[1:]), Filter{refuse}, p.now)
	case "reserve": // reserve ID NODE ROLE cpu:1,mem:2GiB [refines=ROLE] [from=DURATION from now]
		return "", p.reserve(words, args)
	case "slack": // slack NODE cpu:1,mem:2GiB: what it says is reserved and not used
		amount, err := amountOf(words[1])
		if err != nil {
			return "", err
		}
		p.a.SetSlack(structs.NodeID(words[0]), 0, amount.Slack())
	case "unreserve":
		p.a.RemoveReservation(structs.ReservationID(words[0]))
	case "suppress":
		return "", p.a.Suppress(structs.FrameworkID(words[0]), words[1:]...)
	case "revive":
		return "", p.a.Revive(structs.FrameworkID(words[0]), words[1:]...)
	case "explain":
		w, ok := p.a.Explain(words[0])
		if !ok {
			return "", structs.Errorf(structs.NotFound, words[0], "is no request")
		}
		return w.String(), nil
	case "wake": // how long nothing happens by itself
		if at := p.a.WakeAt(); at != 0 {
			return at.Sub(p.now).String(), nil
		}
		return "never", nil
	case "turn": // turn REQUEST: explained, with its place in the order
		w, ok := p.a.Explain(words[0])
		if !ok {
			return "", structs.Errorf(structs.NotFound, words[0], "is no request")
		}
		w.Turn = p.a.Order().Turns(words[:1], 100)[words[0]]
		return w.String(), nil
	case "standing": // of roles among their siblings
		return standings(p.a.Order().Roles()), nil
	case "state":
		return p.a.Describe(), nil
	default:
		return "", structs.Errorf(structs.Invalid, name, "is no command")
	}
	return "", nil
}

func standings(roles []*structs.RoleStanding) string {
	var b strings.Builder
	for _, s := range roles {
		fmt.Fprintf(&b, "%s: %d waiting, %d running, uses %s", s.Role, s.Waiting, s.Running, s.Used)
		switch {
		case s.Rank != nil:
			fmt.Fprintf(&b, "; in %s %s", s.Band, s.Rank)
		case s.Blocked != "":
			fmt.Fprintf(&b, "; waits for the bounds of %s", s.Blocked)
		}
		b.WriteString("\n")
		for _, f := range s.Frameworks {
			fmt.Fprintf(&b, "  %s: %d waiting, %d running, %d offers, share %s\n", f.Framework, f.Waiting, f.Running, f.Offers, f.Share)
		}
	}
	return b.String()
}

// holds has an allocation hold something else.
func (p *play) holds(words []string, args map[string]string) (err error) {
	x := p.places[words[0]]
	if x == nil || p.a.allocs[structs.AllocID(words[0])] == nil {
		return structs.Errorf(structs.NotFound, words[0], "is no allocation")
	}
	alloc := allocationOf(x, words[0])
	alloc.Created, alloc.Revocable = p.a.allocs[alloc.ID].created, nil
	if alloc.Resources, err = amountOf(words[1]); err != nil {
		return err
	}
	if v := args["revocable"]; v != "" {
		amount, err := amountOf(v)
		if err != nil {
			return err
		}
		alloc.Revocable = new(amount.Slack())
	}
	if kind := args["beside"]; kind != "" { // a task that has nothing revocable
		alloc.External = &structs.External{Executor: "x", Custom: kind == "custom", Tasks: []*structs.ExternalTask{{Name: "soft", Revocable: alloc.Revocable}, {Name: "firm"}}}
	}
	if alloc.Priority, err = structs.ParsePriority(args["priority"]); err != nil {
		return err
	}
	p.a.SetAllocation(alloc)
	return nil
}

func allocationOf(x *Place, id string) *structs.Allocation {
	return &structs.Allocation{ID: structs.AllocID(id), Framework: x.Framework, Role: x.Role, Priority: x.Priority, Job: x.Job, Group: x.Group,
		Owner: x.Owner, FrameworkScheduler: x.FrameworkScheduler, Marks: x.Marks, Node: x.Node, Resources: x.Resources, Ports: x.Ports,
		MaxRunDuration: x.MaxRun, Status: structs.AllocPending, Gang: x.Gang != "", Revocable: x.Revocable}
}

func amountOf(text string) (r structs.Resources, err error) {
	for part := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(strings.Replace(part, ":", "=", 1), "=")
		if !ok {
			return r, structs.Errorf(structs.Invalid, part, "is no amount")
		}
		switch k {
		case "cpu":
			r.CPU, err = structs.ParseMilli(v)
		case "mem":
			r.Memory, err = structs.ParseBytes(v)
		case "ports": // by their numbers, one range
			var ports []structs.Range
			ports, err = structs.ParseRanges(v)
			r = r.Add(structs.OfPorts(ports))
		default:
			var m structs.Milli
			m, err = structs.ParseMilli(v)
			r = r.Add(structs.Resources{Custom: map[string]structs.Milli{k: m}})
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

func (p *play) node(words []string, args map[string]string) error {
	n := &structs.Node{ID: structs.NodeID(words[0]), Name: words[0], Status: structs.NodeReady, Eligible: true, Datacenter: "dc1",
		PortRange: structs.Range{First: 20000, Last: 20099}, Drivers: map[string]*structs.Driver{"exec": {Healthy: true}}, Meta: map[string]string{}}
	for k, v := range args {
		if role, ok := strings.CutPrefix(k, "for."); ok {
			r, err := amountOf(v)
			if err != nil {
				return err
			}
			n.ReservedFor = map[string]*structs.Resources{role: &r}
			continue
		}
		switch k {
		case "cpu", "mem", "gpus":
			r, err := amountOf(k + "=" + v)
			if err != nil {
				return err
			}
			n.Resources = n.Resources.Add(r)
		case "images":
			images := map[string]structs.Bytes{}
			for text := range strings.SplitSeq(v, ",") {
				name, amount, _ := strings.Cut(text, "@")
				size, err := structs.ParseBytes(cmp.Or(amount, "0"))
				if err != nil {
					return err
				}
				images[name] = size
			}
			n.Drivers["exec"].Images = structs.BoundImages(images)
		case "window": // of maintenance: in DURATION[+how long]
			m, err := p.window(v)
			if err != nil {
				return err
			}
			n.Maintenance = m
		default:
			n.Meta[k] = v
		}
	}
	if old := p.nodes[words[0]]; old != nil && len(args) == 0 {
		n.Resources, n.Meta = old.Resources, old.Meta
	}
	for _, w := range words[1:] {
		switch w {
		case "lost":
			n.Status = structs.NodeLost
		case "drain":
			n.Drain = &structs.Drain{}
		case "ineligible":
			n.Eligible = false
		case "unwell":
			n.Problems = []string{`health check "disks" fails: sdb has bad sectors`}
		}
	}
	p.nodes[words[0]] = n
	p.a.SetNode(n)
	return nil
}

func (p *play) reserve(words []string, args map[string]string) error {
	amount, err := amountOf(words[3])
	if err != nil {
		return err
	}
	r := &structs.Reservation{ID: structs.ReservationID(words[0]), Node: structs.NodeID(words[1]), Role: words[2], Resources: amount, Refines: args["refines"]}
	if from := args["from"]; from != "" {
		d, err := structs.ParseDuration(from)
		if err != nil {
			return err
		}
		r.From = p.now.Add(d)
	}
	return p.a.SetReservation(r)
}

func (p *play) role(name string, args map[string]string) error {
	r := &structs.Role{Name: name, Quota: &structs.Quota{}}
	for k, v := range args {
		if to := map[string]*structs.Milli{"weight": &r.Weight, "user_limit": &r.UserLimit, "framework_share": &r.MaxFrameworkShare}[k]; to != nil {
			w, err := structs.ParseMilli(v)
			if err != nil {
				return err
			}
			*to = w
			continue
		}
		switch k {
		case "sorter":
			r.Sorter = v
			continue
		case "by_owner":
			r.ShareByOwner = v == "true"
			continue
		case "exempt":
			r.PreemptionExempt = v == "true"
			continue
		case "state":
			r.State = v
			continue
		case "max_running":
			n, err := strconv.Atoi(v)
			if err != nil {
				return err
			}
			r.MaxRunning = n
			continue
		}
		which, kind, _ := strings.Cut(k, ".")
		to := &r.Quota.Limit
		if which == "guarantee" {
			to = &r.Quota.Guarantee
		}
		if *to == nil {
			*to = &structs.QuotaAmount{}
		}
		amount, err := amountOf(kind + "=" + v)
		if err != nil {
			return err
		}
		switch kind {
		case "cpu":
			(*to).CPU = &amount.CPU
		case "mem":
			(*to).Memory = &amount.Memory
		default:
			(*to).Custom = amount.Custom
		}
	}
	return p.a.SetRole(r)
}

func (p *play) request(words []string, args map[string]string) error {
	p.seq++
	count, err := strconv.Atoi(words[1])
	if err != nil {
		return err
	}
	amount, err := amountOf(words[3])
	if err != nil {
		return err
	}
	priority, err := structs.ParsePriority(args["priority"])
	if err != nil {
		return err
	}
	job := &structs.Job{Name: words[0]}
	group := &structs.Group{Name: "g", Tasks: []*structs.Task{{Name: "t", Resources: &structs.TaskResources{CPU: amount.CPU, Memory: amount.Memory, Custom: amount.Custom}}}}
	if c := args["if"]; c != "" {
		part := append(strings.SplitN(c, ":", 3), "", "")
		c := &structs.Constraint{Attribute: part[0], Operator: part[1], Value: part[2]}
		if c.RelaxAfter, err = structs.ParseDuration(cmp.Or(args["relax"], "0s")); err != nil {
			return err
		}
		if c.HardenAfter, err = structs.ParseDuration(cmp.Or(args["harden"], "0s")); err != nil {
			return err
		}
		group.Constraints = []*structs.Constraint{c}
	}
	if image := args["image"]; image != "" {
		group.Tasks[0].Config = map[string]any{structs.ImageKey: image}
	}
	if err := withPort(group, args["port"]); err != nil {
		return err
	}
	if tags := args["tags"]; tags != "" {
		job.Tags = strings.Split(tags, ",")
	}
	if group.MaxRunDuration, err = structs.ParseDuration(cmp.Or(args["max_run"], "0s")); err != nil {
		return err
	}
	if s := args["spread"]; s != "" {
		job.Spreads = []*structs.Spread{{Attribute: s}}
	}
	ask, err := placement.Compile(job, group)
	if err != nil {
		return err
	}
	r := &Request{ID: words[0], Framework: structs.FrameworkID(cmp.Or(args["fw"], "batch")), Role: args["role"], Priority: priority, Seq: p.seq, Ask: ask,
		Owner: args["owner"], FrameworkScheduler: args["scheduler"] == "true"}
	for i := range count {
		r.Slots = append(r.Slots, Slot{Index: i, Prefer: structs.NodeID(args["prefer"])})
	}
	if avoid := args["avoid"]; avoid != "" {
		for i := range r.Slots {
			r.Slots[i].Avoid = []structs.NodeID{structs.NodeID(avoid)}
		}
	}
	return p.a.SetRequest(r)
}

// withPort has a group want one port of its node.
func withPort(g *structs.Group, port string) error {
	if port == "" {
		return nil
	}
	n, err := strconv.Atoi(port)
	g.Network = &structs.Network{Ports: []*structs.Port{{Label: "p", Static: n}}}
	return err
}

func (p *play) gang(words []string, args map[string]string) error {
	p.seq++
	priority, err := structs.ParsePriority(args["priority"])
	if err != nil {
		return err
	}
	g := &Gang{ID: words[0]}
	job := &structs.Job{Name: words[0], Gang: &structs.Gang{Within: args["within"]}}
	for i := 1; i+2 < len(words); i += 4 { // N x AMOUNT [+]
		count, err := strconv.Atoi(words[i])
		if err != nil {
			return err
		}
		amount, err := amountOf(words[i+2])
		if err != nil {
			return err
		}
		group := &structs.Group{Name: fmt.Sprint(len(g.Requests)), Tasks: []*structs.Task{{Name: "t",
			Resources: &structs.TaskResources{CPU: amount.CPU, Memory: amount.Memory, Custom: amount.Custom}}}}
		if err := withPort(group, args["port"]); err != nil {
			return err
		}
		if group.MaxRunDuration, err = structs.ParseDuration(cmp.Or(args["max_run"], "0s")); err != nil {
			return err
		}
		ask, err := placement.Compile(job, group)
		if err != nil {
			return err
		}
		g.Requests = append(g.Requests, &Request{ID: words[0] + "/" + group.Name, Framework: structs.FrameworkID(cmp.Or(args["fw"], "batch")),
			Role: args["role"], Priority: priority, Seq: p.seq, Ask: ask, Slots: slotsOf(count)})
	}
	return p.a.SetGang(g)
}

func offerIDs(words []string) (out []structs.OfferID) {
	for _, w := range words {
		n, _ := strconv.Atoi(w)
		out = append(out, structs.OfferID(fmt.Sprintf("%016x%016x", 0, n)))
	}
	return out
}

func shortOffer(id structs.OfferID) string { return strings.TrimLeft(string(id), "0") }

func (p *play) accept(words []string, args map[string]string) (string, error) {
	var ops []Operation
	if text := args["reserves"]; text != "" {
		amount, err := amountOf(text)
		if err != nil {
			return "", err
		}
		ops = append(ops, Operation{Resources: amount, Priority: structs.DefaultPriority, Reserves: true})
	}
	for text := range strings.SplitSeq(args["use"], ";") {
		if text == "" {
			break
		}
		amount, err := amountOf(text)
		if err != nil {
			return "", err
		}
		op := Operation{Resources: amount.WithoutPorts(), Priority: structs.DefaultPriority}
		for _, port := range inRanges(amount.PortRanges()) {
			op.Ports = append(op.Ports, structs.AssignedPort{Port: port})
		}
		op.Resources.Ports = len(op.Ports)
		if args["revocable"] == "yes" {
			op.Slack, op.Priority.Band = amount.Slack(), structs.BestEffort
		}
		ops = append(ops, op)
	}
	refuse, err := structs.ParseDuration(cmp.Or(args["refuse"], "0s"))
	if err != nil {
		return "", err
	}
	places, err := p.a.Accept(structs.FrameworkID(words[0]), offerIDs(words[1:]), ops, Filter{refuse}, p.now)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, x := range places { // they are called FRAMEWORK[DECISION]
		p.places[fmt.Sprintf("%s[%d]", words[0], x.ID)] = x
		does := "runs"
		if x.Keeps {
			does = "keeps"
		}
		fmt.Fprintf(&b, "%s %s on %s\n", does, x.Resources, x.NodeName)
	}
	return b.String(), nil
}

func (p *play) decide() []Decision {
	decisions := p.a.Step(p.now, 0)
	for _, d := range decisions {
		if d.Place != nil {
			p.places[fmt.Sprintf("%s[%d]", d.Place.Request, d.Place.Slot.Index)] = d.Place
		}
	}
	return decisions
}

func (p *play) each() string {
	var b strings.Builder
	for _, d := range p.decide() {
		switch {
		case d.Place != nil:
			fmt.Fprintf(&b, "%s[%d] -> %s", d.Place.Request, d.Place.Slot.Index, d.Place.NodeName)
			if d.Place.Ordered != d.Place.Priority.Band {
				fmt.Fprintf(&b, " (as %s)", d.Place.Ordered)
			}
			if d.Place.Revocable != nil {
				fmt.Fprintf(&b, ", revocable: %s", d.Place.Revocable)
			}
			b.WriteString("\n")
		case d.Offer != nil:
			fmt.Fprintf(&b, "offer %s: %s of %s to %s as %s%s\n", shortOffer(d.Offer.ID), d.Offer.Resources, d.Offer.NodeName, d.Offer.Framework, d.Offer.Role, reservedText(d.Offer))
		case d.Preempt != nil:
			b.WriteString(preemptText(d.Preempt))
		case d.Keep != nil:
			fmt.Fprintf(&b, "%s\n", p.keepText(d.Keep))
		case d.Inverse != nil:
			fmt.Fprintf(&b, "inverse offer %s: %s is asked to leave %s, where it has %s\n", shortOffer(d.Inverse.ID), d.Inverse.Framework, d.Inverse.NodeName, d.Inverse.Resources)
		case d.Hoard != nil:
			b.WriteString(hoardText(d.Hoard))
		default:
			fmt.Fprintf(&b, "rescind %s of %s: %s\n", shortOffer(d.Rescind.Offer), d.Rescind.Framework, d.Rescind.Why)
		}
	}
	if b.Len() == 0 {
		return "nothing"
	}
	return b.String()
}

func preemptText(x *Preempt) string {
	if x.Request == "" {
		text := fmt.Sprintf("what is used again on %s is taken back: stops %v", x.NodeName, x.Victims)
		if x.Parts != nil {
			text += fmt.Sprintf(", and what is revocable of %v", x.Parts)
		}
		return text + "\n"
	}
	return fmt.Sprintf("%s[%d] claims %s, stops %v\n", x.Request, x.Slot.Index, x.NodeName, x.Victims)
}

// reservedText says that an offer is revocable, or what of it is reserved, and by which reservation.
func reservedText(o *structs.Offer) string {
	if o.Revocable {
		return ", revocable"
	}
	var parts []string
	for _, x := range o.Reserved {
		parts = append(parts, fmt.Sprintf("%s by %s for %s", x.Resources, x.Reservation, x.Role))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", reserved: " + strings.Join(parts, "; ")
}

func (p *play) keepText(k *Keep) string {
	where := k.NodeName
	if k.Nodes > 1 {
		where = fmt.Sprintf("%d nodes, the last one %s", k.Nodes, where)
	}
	if !k.Known {
		return fmt.Sprintf("%s keeps room on %s", k.Request, where)
	}
	return fmt.Sprintf("%s keeps room on %s, starts in %s at the latest", k.Request, where, k.Start.Sub(p.now))
}

// step sums up by request: what was placed where, the share of its role, and what still waits and why.
func (p *play) step() string {
	placed := map[string]map[string]int{}
	var b strings.Builder
	for _, d := range p.decide() {
		switch {
		case d.Place != nil:
			if placed[d.Place.Request] == nil {
				placed[d.Place.Request] = map[string]int{}
			}
			where := d.Place.NodeName
			if d.Place.Revocable != nil {
				where += "(revocable)"
			}
			placed[d.Place.Request][where]++
		case d.Offer != nil:
			fmt.Fprintf(&b, "offer %s: %s of %s to %s as %s%s\n", shortOffer(d.Offer.ID), d.Offer.Resources, d.Offer.NodeName, d.Offer.Framework, d.Offer.Role, reservedText(d.Offer))
		case d.Preempt != nil:
			b.WriteString(preemptText(d.Preempt))
		case d.Keep != nil:
			fmt.Fprintf(&b, "%s\n", p.keepText(d.Keep))
		case d.Inverse != nil:
			fmt.Fprintf(&b, "inverse offer %s: %s is asked to leave %s, where it has %s\n", shortOffer(d.Inverse.ID), d.Inverse.Framework, d.Inverse.NodeName, d.Inverse.Resources)
		case d.Hoard != nil:
			b.WriteString(hoardText(d.Hoard))
		default:
			fmt.Fprintf(&b, "rescind %s of %s: %s\n", shortOffer(d.Rescind.Offer), d.Rescind.Framework, d.Rescind.Why)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(placed)) {
		n, where := 0, []string{}
		for _, node := range slices.Sorted(maps.Keys(placed[id])) {
			n += placed[id][node]
			where = append(where, fmt.Sprintf("%s:%d", node, placed[id][node]))
		}
		fmt.Fprintf(&b, "%-12s %3d placed   %s\n", id, n, strings.Join(where, " "))
	}
	for _, id := range p.a.Pending() {
		w, _ := p.a.Explain(id)
		why := string(w.Because)
		if w.Gang != nil && w.Because == OfNoNode {
			why = w.Gang.String()
		} else if len(w.Quota) > 0 {
			why = fmt.Sprintf("limit of %s: %s", w.Quota[0].Role, w.Quota[0])
		} else if len(w.Placement.Reasons) > 0 && w.Because == OfNoNode {
			why = w.Placement.Reasons[0].String()
		}
		fmt.Fprintf(&b, "%-12s %3d waiting  %s\n", id, w.Pending, why)
	}
	for _, r := range p.a.Roles() {
		fmt.Fprintf(&b, "role %-7s share %s\n", r.Role, r.Share)
	}
	return b.String()
}
