package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/proffer/proffer/scheduler/allocator"
	"github.com/proffer/proffer/server/state"
	"github.com/proffer/proffer/structs"
)

// What external frameworks do with their offers.

// FrameworkOperation is one thing that a framework does with accepted offers. Exactly one field is set, beside the last two.
type FrameworkOperation struct {
	Launch    *Launch
	Reserve   *structs.Reservation // its role, labels, principal and resources; it is made on the node of the offers
	Unreserve *structs.Reservation // likewise, of what the framework reserved
	Create    *structs.Volume      // with Persistence, of what is reserved for its role with its labels; its name is ignored
	Destroy   *VolumeName
	Resize    *VolumeResize
	Make      *state.RawDisk // has a disk made of a raw one of the node; its name is ignored
	Unmake    *MadeDisk      // makes such a disk raw again

	// ID is the framework's own name of an operation of whose outcome it wants to be told; not of a launch. Operations with the same one
	// that follow each other are parts of one: they are done together or not at all. Info is that one as structs.Operation has it.
	ID   string
	Info []byte
}

// name is what an operation is called in what is said of it: a framework knows its tasks, and not by their place in an accept.
func (op *FrameworkOperation) name() string {
	if op.Launch == nil {
		return "operation"
	}
	return named(op.Launch.External)
}

// named is what a launch is called.
func named(x *structs.External) string {
	if x == nil || len(x.Tasks) == 0 {
		return "operation"
	}
	name := fmt.Sprintf("task %q", x.Tasks[0].ID)
	if more := len(x.Tasks) - 1; more > 0 {
		return fmt.Sprintf("%s and %d more of its group", name, more)
	}
	return name
}

// Launch starts an allocation, or more tasks of an executor that has one.
type Launch struct {
	Group     *structs.Group // what runs; the caller does not use it any more
	Node      structs.NodeID // where the framework believes the offers are; empty: it does not say
	Role      string         // for which the framework believes that they are; likewise
	External  *structs.External
	Resources structs.Resources      // with an executor: of the tasks alone, as its External says, too
	Slack     structs.Slack          // what of Resources is of offers that are revocable; what has any is best-effort
	Ports     []structs.AssignedPort // of the node, at most Resources.Ports; where they lead is said, and not on which address they are
	Missing   []int                  // with an executor: ports that lead into its network and that nothing of the launch has; good if it lives
	Volumes   []*LaunchVolume
}

// Accepted is what became of an accept.
type Accepted struct {
	Node   structs.NodeID
	Allocs []structs.AllocID // of the operations that launched, in their places
	Faults []error           // of the operations, nil where it was done
	Kept   []bool            // of the operations with an ID: the framework is told what became of it until it acknowledges that
}

// accepting is an accept that is being committed, part by part.
type accepting struct {
	node    *structs.Node
	rest    []*state.Operation // not sent yet
	index   []int              // of what is sent and of rest, in the accept of the framework
	keep    uint64             // decision that holds what is reserved; 0: none
	made    uint64             // the index of the last part in which something was reserved
	result  *Accepted
	done    chan struct{}
	failed  error
	cmd     *state.Accept // what is sent
	started []uint64      // decisions of what launches, by the operations of the framework; 0: it was taken back
}

// kept is a decision that is answered when the feed is taken up to an index.
type kept struct {
	decision uint64
	index    uint64
}

func (a *accepting) fail(err error) {
	a.failed = err
	close(a.done)
}

// InvalidOffers is the error of an accept whose offers cannot be accepted: one of them ended, or is not the framework's, or they
// do not belong together. Those that are still the framework's are taken back.
type InvalidOffers struct{ Err error }

func (e *InvalidOffers) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *InvalidOffers) Unwrap() error { return e.Err }

// Accept uses offers of a framework for operations, in their order, and returns when their outcome is committed. Each operation
// is done or not for itself; what they leave of the offers goes back with the filter. An error says that nothing was done:
// *InvalidOffers is about the offers.
func (s *Server) Accept(ctx context.Context, id structs.FrameworkID, connection string, offers []structs.OfferID, ops []*FrameworkOperation,
	filter allocator.Filter) (*Accepted, error) {
	if err := s.sealSecrets(ctx, ops); err != nil {
		return nil, err
	}
	var a *accepting
	err := s.toAllocator(id, connection, func(l *loop, sub *Subscription) (err error) {
		a, err = l.accept(sub, offers, ops, filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-a.done:
		if a.failed != nil {
			return nil, a.failed
		}
		return a.result, nil
	case <-ctx.Done():
		return nil, structs.Errorf(structs.Unknown, frameworkObject(id), "its accept is under way: %w", ctx.Err())
	}
}

// accept checks an accept, and puts its first part into the outbox. The caller holds mu.
func (l *loop) accept(sub *Subscription, offers []structs.OfferID, ops []*FrameworkOperation, filter allocator.Filter) (*accepting, error) {
	id, now := sub.Framework, structs.At(time.Now())
	role, node, err := l.allocator.Accepted(id, offers, now)
	if err == nil && node == nil {
		err = structs.Errorf(structs.Conflict, "offer", "its node is gone")
	}
	if err != nil {
		l.allocator.Return(id, offers) // those of others stay
		return nil, &InvalidOffers{err}
	}
	priority := l.server.store.Snapshot().PriorityIn(role)
	a := &accepting{node: node, done: make(chan struct{}), started: make([]uint64, len(ops)),
		result: &Accepted{Node: node.ID, Allocs: make([]structs.AllocID, len(ops)), Faults: make([]error, len(ops)), Kept: make([]bool, len(ops))}}
	host := ""
	if len(node.Hosts) > 0 {
		host = node.Hosts[0]
	}
	asked := make([]allocator.Operation, len(ops))
	wishes := make([]*state.Operation, len(ops))
	named := -1 // operations with an id before this one
	stored := l.storedOn(node, role)
	stopped := sync.OnceValue(func() map[string]bool { return stoppedExecutors(l.server.store.Snapshot(), node.ID, id) })
	for i, op := range ops {
		asked[i], wishes[i], a.result.Faults[i] = operation(stored.named(op), role, priority, host)
		asked[i].Name = op.name()
		switch x := op.Launch; {
		case x == nil || x.External.Executor == "":
		case l.hasExecutor(node.ID, id, x.External.Executor, ops[:i], a.result.Faults):
			if a.result.Faults[i] == nil {
				a.result.Faults[i] = x.join()
			}
		case stopped()[x.External.Executor]:
			if a.result.Faults[i] == nil {
				a.result.Faults[i] = &RefusedOperation{state.RefusedEnding, structs.Errorf(structs.Conflict, "executor "+x.External.Executor,
					"it was given up while its node was away, and is being stopped").Advise("launch the task again")}
			}
		default:
			asked[i].Resources, asked[i].Slack = asked[i].Resources.Add(x.External.Own), asked[i].Slack.Add(x.External.OwnRevocable.Amount())
			asked[i].Ports = append(asked[i].Ports, x.External.OwnPorts...)
			if len(x.Missing) > 0 && a.result.Faults[i] == nil {
				a.result.Faults[i] = structs.Errorf(structs.Invalid, "executor "+x.External.Executor, "host port %d leads into its network, and is not among the ports of its tasks", x.Missing[0]).
					Advise("add it to the resources of the executor or of a task that begins it, from an offer that has it")
			}
		}
		if !asked[i].Slack.IsZero() {
			asked[i].Priority = structs.Priority{Band: structs.BestEffort}
		}
		if a.result.Faults[i] == nil {
			a.result.Faults[i] = stored.use(op, &asked[i], wishes[i])
		}
		if op.Launch != nil && a.result.Faults[i] == nil {
			a.result.Faults[i] = l.mayOwe(id, len(l.subs.owed[id]))
		}
		if op.ID != "" && a.result.Faults[i] == nil && (i == 0 || ops[i-1].ID != op.ID) {
			named++
			a.result.Faults[i] = l.mayOwe(id, l.debt(id)+named)
		}
		if x := op.Launch; x != nil && a.result.Faults[i] == nil {
			a.result.Faults[i] = networkOn(node, x.Group.Network)
		}
		if x := op.Launch; x != nil && x.Node != "" && x.Node != node.ID {
			a.result.Faults[i] = structs.Errorf(structs.Invalid, op.name(), "it is for node %s and the offers are of node %s", x.Node, node.ID)
		}
		if x := op.Launch; x != nil && x.Role != "" && x.Role != role {
			a.result.Faults[i] = structs.Errorf(structs.Invalid, op.name(), "its resources are allocated to role %q and the offers are for role %q", x.Role, role)
		}
		if wishes[i] != nil && wishes[i].Launch != nil {
			alloc := wishes[i].Launch.Alloc
			alloc.Framework, alloc.Role, alloc.Priority, alloc.Node = id, role, asked[i].Priority, node.ID
		}
	}
	wholeFaults(ops, a.result.Faults)
	good := make([]allocator.Operation, 0, len(ops))
	for i := range ops {
		if a.result.Faults[i] == nil {
			a.index, good = append(a.index, i), append(good, asked[i])
		}
	}
	faults, err := l.allocator.Check(id, offers, good, now)
	if err != nil {
		return nil, &InvalidOffers{err}
	}
	index, able := a.index, good[:0]
	a.index = nil
	for i, fault := range faults {
		if fault != nil {
			a.result.Faults[index[i]] = fault
		}
	}
	wholeFaults(ops, a.result.Faults)
	for i, at := range index {
		if a.result.Faults[at] == nil {
			a.index, able = append(a.index, at), append(able, good[i])
			a.rest = append(a.rest, wishes[at])
		}
	}
	for from, to := range parts(ops) {
		if ops[from].ID != "" && a.result.Faults[from] == nil {
			wishes[from].Feedback = &state.Feedback{ID: ops[from].ID, Parts: to - from, Info: ops[from].Info}
		}
	}
	places, err := l.allocator.Accept(id, offers, able, filter, now)
	if err != nil {
		return nil, err
	}
	for _, i := range a.index {
		if alloc := wishes[i].Launch; alloc != nil {
			a.started[i], alloc.Alloc.Owner = places[0].ID, places[0].Owner
			a.result.Allocs[i] = alloc.Alloc.ID
			l.placing[alloc.Alloc.ID] = places[0].ID
			places = places[1:]
		}
	}
	if len(places) > 0 {
		a.keep = places[0].ID
	}
	l.sendPart(id, a)
	return a, nil
}

// operation returns what the allocator and the state are asked for an operation.
func operation(op *FrameworkOperation, role string, priority structs.Priority, host string) (allocator.Operation, *state.Operation, error) {
	switch {
	case op.Launch != nil:
		x := op.Launch
		asked := allocator.Operation{Group: x.Group.Name, Priority: priority, Resources: x.Resources, Slack: x.Slack, MaxRun: x.Group.MaxRunDuration}
		for _, port := range x.Ports {
			port.Host = host
			asked.Ports = append(asked.Ports, port)
		}
		for _, t := range x.External.Tasks {
			onHost(t.Ports, host)
		}
		onHost(x.External.OwnPorts, host)
		job := &structs.Job{Type: structs.BatchJob, Role: role, Groups: []*structs.Group{x.Group}}
		job.Canonicalize()
		alloc := &structs.Allocation{ID: structs.AllocID(structs.NewID()), Group: x.Group.Name, Resources: x.Resources, Ports: asked.Ports,
			MaxRunDuration: x.Group.MaxRunDuration, External: x.External, OnLost: "replace"}
		if !x.Slack.IsZero() {
			alloc.Revocable = new(x.Slack)
		}
		return asked, &state.Operation{Launch: &state.Placement{Job: job, Alloc: alloc}}, nil
	case op.Reserve != nil || op.Unreserve != nil:
		which := op.Reserve
		if which == nil {
			which = op.Unreserve
		}
		x := *which
		if err := x.Problems().Err(); err != nil {
			return allocator.Operation{}, nil, err
		}
		if !structs.RoleWithin(role, x.Role) && !structs.RoleWithin(x.Role, role) {
			return allocator.Operation{}, nil, structs.Errorf(structs.Invalid, "reservation", "it is for role %q and the offers are for role %q", x.Role, role)
		}
		asked := allocator.Operation{Priority: priority, Resources: x.Resources, Reserves: true}
		if op.Unreserve != nil {
			return asked, &state.Operation{Unreserve: &x}, nil
		}
		x.ID = structs.ReservationID(structs.NewID())
		return asked, &state.Operation{Reserve: &x}, nil
	case op.Create != nil || op.Destroy != nil || op.Resize != nil || op.Make != nil || op.Unmake != nil:
		return allocator.Operation{Priority: priority, Reserves: true}, &state.Operation{}, nil
	}
	return allocator.Operation{}, nil, structs.Errorf(structs.Invalid, "operation", "it says nothing")
}

// networkOn refuses a network that a node does not have.
func networkOn(node *structs.Node, n *structs.Network) error {
	for _, need := range n.Needs() {
		if node.Attributes["network."+need] != "true" {
			return structs.Errorf(structs.Invalid, "network "+n.Mode, "node %s does not have it", node.Name).
				Advise("take an offer of a node that does: its attribute network.%s says so", need)
		}
	}
	return nil
}

func onHost(ports []structs.AssignedPort, host string) {
	for i := range ports {
		ports[i].Host = host
	}
}

// sendPart puts the next part of an accept into the outbox, as much as fits in an entry beside others; without one it is done.
// The caller holds mu.
func (l *loop) sendPart(id structs.FrameworkID, a *accepting) {
	budget, n, size := l.server.entryBytes/4, 0, 0
	for n < len(a.rest) {
		whole, cost := state.PartsOf(a.rest[n:]), 0
		for _, op := range a.rest[n : n+whole] {
			cost += operationBytes(op)
		}
		if n > 0 && size+cost > budget {
			break
		}
		if cost > budget { // the first one, and it never fits
			for range whole {
				name := "operation"
				if launch := a.rest[0].Launch; launch != nil {
					name = named(launch.Alloc.External)
				}
				l.refuseOperation(a, a.index[0], structs.Errorf(structs.Exhausted, name, "it takes %d bytes in the servers' log, and %d are taken", cost, budget).
					Advise("what is long goes into a file that its uris name"))
				a.rest, a.index = a.rest[1:], a.index[1:]
			}
			continue
		}
		n, size = n+whole, size+cost
	}
	if n == 0 {
		l.doneWith(a)
		return
	}
	a.cmd = &state.Accept{Framework: id, Node: a.node.ID, NodeIncarnation: a.node.Incarnation, Operations: slices.Clone(a.rest[:n])}
	a.rest = a.rest[n:]
	l.subs.accepts[a.cmd] = a
	l.out.accept(a.cmd, size+partBytes)
	l.wake()
}

// refuseOperation gives back what was decided for an operation. The caller holds mu.
func (l *loop) refuseOperation(a *accepting, i int, why error) {
	a.result.Faults[i] = why
	l.giveBack(a, i)
	a.result.Allocs[i] = ""
}

// giveBack ends the decision of an operation that launches, if it stands: there will be no such allocation. The caller holds mu.
func (l *loop) giveBack(a *accepting, i int) {
	decision := a.started[i]
	if decision == 0 {
		return
	}
	a.started[i] = 0
	delete(l.placing, a.result.Allocs[i])
	if err := l.allocator.Refuse(decision); err != nil {
		l.log.Error("a decision cannot be taken back", "err", err)
	}
}

// doneWith ends an accept. What it reserved is held until the feed has brought it. The caller holds mu.
func (l *loop) doneWith(a *accepting) {
	if a.keep != 0 {
		l.subs.keeping = append(l.subs.keeping, kept{a.keep, a.made})
		l.letGo()
	}
	close(a.done)
}

// letGo answers the decisions that held what is reserved by now. The caller holds mu.
func (l *loop) letGo() {
	l.subs.keeping = slices.DeleteFunc(l.subs.keeping, func(k kept) bool {
		if k.index > l.subs.taken {
			return false
		}
		if err := l.allocator.Refuse(k.decision); err != nil {
			l.log.Error("a decision cannot be taken back", "err", err)
		}
		return true
	})
}

// accepted takes what became of parts of accepts. The caller holds mu.
func (l *loop) accepted(cmd *state.Place, answer *state.Placed) {
	for i, part := range cmd.Accepts {
		a := l.subs.accepts[part]
		delete(l.subs.accepts, part)
		if a == nil || i >= len(answer.Accepts) {
			continue
		}
		for j, r := range answer.Accepts[i] {
			at := a.index[j]
			a.result.Kept[at] = r.Keeps()
			switch {
			case r.Refused != "":
				l.refuseOperation(a, at, refusal(r))
			case part.Operations[j].Launch == nil:
				a.made = answer.Index
			default:
				if joined := r.ID != a.result.Allocs[at]; joined && a.started[at] != 0 {
					delete(l.placing, a.result.Allocs[at])
					l.subs.keeping = append(l.subs.keeping, kept{a.started[at], answer.Index})
				}
				a.result.Allocs[at] = r.ID
			}
		}
		l.letGo()
		a.index = a.index[len(part.Operations):]
		l.sendPart(part.Framework, a)
	}
}

// RefusedOperation is why the state refused an operation.
type RefusedOperation struct {
	Reason state.Refusal
	err    *structs.Error
}

func (e *RefusedOperation) Error() string { return e.err.Error() }

// Unwrap returns the error with its kind.
func (e *RefusedOperation) Unwrap() error { return e.err }

func refusal(r state.PlaceResult) error {
	kind := structs.Conflict
	if r.Refused == state.RefusedInvalid {
		kind = structs.Invalid
	}
	return &RefusedOperation{r.Refused, structs.Errorf(kind, "", "%s", r.Why)}
}

// operationBytes is what an operation takes in an entry, or a little more.
func operationBytes(op *state.Operation) int {
	n, err := state.EncodedBytes(op)
	if err != nil {
		return 1 << 30 // it cannot be sent, and is refused for its size
	}
	return n + placementBytes
}

// Decline gives offers back with a filter.
func (s *Server) Decline(id structs.FrameworkID, connection string, offers []structs.OfferID, filter allocator.Filter) error {
	return s.toAllocator(id, connection, func(l *loop, _ *Subscription) error {
		return l.allocator.Decline(id, offers, filter, structs.At(time.Now()))
	})
}

// Suppress stops offers to a framework in some of its roles, all when none is named.
func (s *Server) Suppress(id structs.FrameworkID, connection string, roles []string) error {
	return s.toAllocator(id, connection, func(l *loop, _ *Subscription) error { return l.allocator.Suppress(id, roles...) })
}

// Revive makes offers flow again to a framework in some of its roles, all when none is named, and ends its filters.
func (s *Server) Revive(id structs.FrameworkID, connection string, roles []string) error {
	return s.toAllocator(id, connection, func(l *loop, _ *Subscription) error { return l.allocator.Revive(id, roles...) })
}

// Demand notes what a framework says that it needs: filters end for nodes that have it.
func (s *Server) Demand(id structs.FrameworkID, connection string, wants []allocator.Want) error {
	return s.toAllocator(id, connection, func(l *loop, _ *Subscription) error { return l.allocator.Demand(id, wants) })
}

// AnswerInverse says whether a framework gives nodes up for their windows.
func (s *Server) AnswerInverse(id structs.FrameworkID, connection string, offers []structs.OfferID, accept bool, filter allocator.Filter) error {
	return s.toAllocator(id, connection, func(l *loop, _ *Subscription) error {
		now := structs.At(time.Now())
		if accept {
			return l.allocator.AcceptInverse(id, offers, now)
		}
		return l.allocator.DeclineInverse(id, offers, filter, now)
	})
}

// offer tells a framework of what the allocator decided for it. The caller holds mu.
func (l *loop) offer(d *allocator.Decision) {
	switch {
	case d.Offer != nil:
		o := *d.Offer
		l.pushTo(o.Framework, FrameworkEvent{Offer: &FrameworkOffer{Offer: o, Ports: l.allocator.PortsOf(o.ID), Executors: l.coming(o.Framework, o.Node)}})
	case d.Rescind != nil && d.Rescind.Inverse:
		l.pushTo(d.Rescind.Framework, FrameworkEvent{RescindInverse: d.Rescind.Offer})
	case d.Rescind != nil:
		l.pushTo(d.Rescind.Framework, FrameworkEvent{Rescind: d.Rescind.Offer})
	case d.Inverse != nil:
		x := *d.Inverse
		l.pushTo(x.Framework, FrameworkEvent{Inverse: &x})
	}
}
