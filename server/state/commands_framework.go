package state

import (
	"cmp"
	"fmt"
	"iter"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Bounds of external frameworks.
const (
	MaxFrameworks = 10_000 // that are not removed
	// MaxEndedFrameworks is how many removed ones are remembered, so that their ids are not taken again.
	MaxEndedFrameworks = 50
)

// ConnectFramework begins a subscription of an external framework: a new one, or one that is known and comes back, or is
// taken over by another scheduler. What may not change does not: its user, its checkpoint and, once it has one, its principal. It is a
// conflict when the framework was removed. Answer: *Connected.
type ConnectFramework struct {
	Framework *structs.Framework // with Connection, which is new
	Sealed    bool               // see SubmitJob
}

// Connected answers ConnectFramework.
type Connected struct {
	Index uint64
	Again bool // the framework was known
}

// UpdateFramework changes what an external framework says of itself while it is subscribed. Its user, its principal and its checkpoint
// never change: it is invalid to ask for that. A principal that is not given is the one that it has. It is forbidden to ask in
// another subscription. Answer: *Receipt.
type UpdateFramework struct {
	Framework *structs.Framework // with the Connection in which it asks
	Sealed    bool               // see SubmitJob
}

// DisconnectFrameworks ends subscriptions. One that is not the framework's newest ended before and is passed over. The
// framework is removed unless it subscribes again within its failover time-out, or Grace if that is longer. Answer: *Receipt.
type DisconnectFrameworks struct {
	Connections []Connection
	Grace       structs.Duration
}

// Connection is one subscription.
type Connection struct {
	Framework  structs.FrameworkID
	Connection string
}

// RemoveFramework removes a framework: what runs of it is stopped, and what it reserved is orphaned. An external one is
// remembered for a while, so that its id is not taken again. Answer: *Receipt.
type RemoveFramework struct {
	ID structs.FrameworkID
	// Expired: only when it is away for longer than it may be; a conflict otherwise.
	Expired bool
	Why     string
	// Forget: a removed one is no longer remembered, so that its id may be taken again. It is a conflict when it was not
	// removed.
	Forget bool
}

// AcknowledgeUpdates records that a framework has heard of updates. One that is not outstanding is passed over.
// Answer: *Receipt.
type AcknowledgeUpdates struct {
	Framework structs.FrameworkID
	Updates   []Acknowledged
}

// KillTask has one task killed. One of an executor goes alone, or with its group, and leaves the executor; the allocation of a command is
// stopped. It is a conflict when the task ended. Answer: *Receipt.
type KillTask struct {
	Alloc structs.AllocID
	Task  string // as the framework calls it
	Kill  structs.TaskKill
}

// Acknowledged names an update.
type Acknowledged struct {
	Task string // as the framework calls it
	Node structs.NodeID
	UUID []byte
}

func (*ConnectFramework) Kind() string     { return "framework.connect" }
func (*UpdateFramework) Kind() string      { return "framework.update" }
func (*DisconnectFrameworks) Kind() string { return "framework.disconnect" }
func (*RemoveFramework) Kind() string      { return "framework.remove" }
func (*AcknowledgeUpdates) Kind() string   { return "framework.acknowledge" }
func (*KillTask) Kind() string             { return "framework.kill" }

func init() {
	register[ConnectFramework, Connected]()
	register[UpdateFramework, Receipt]()
	register[DisconnectFrameworks, Receipt]()
	register[RemoveFramework, Receipt]()
	register[AcknowledgeUpdates, Receipt]()
	register[KillTask, Receipt]()
}

// What is said, word by word, of subscriptions that are refused: frameworks look for it.
const (
	WhyFrameworkRemoved = "Framework has been removed"
	WhyPrincipal        = "Changing framework's principal is not allowed."
)

func frameworkText(id structs.FrameworkID) string { return fmt.Sprintf("framework %q", id) }

// framework returns one that was not removed, or nil.
func (t *trees) framework(id structs.FrameworkID) *structs.Framework {
	if f := get(t.frameworks, id); f != nil && f.Ended == 0 {
		return f
	}
	return nil
}

// Apply begins a subscription.
func (c *ConnectFramework) Apply(tx *Tx) (any, error) {
	if c.Framework == nil || !structs.ValidOutsideID(string(c.Framework.ID)) || c.Framework.Connection == "" {
		return nil, structs.Errorf(structs.Invalid, "framework", "it has no valid id, or its subscription has no name")
	}
	f := *c.Framework
	object := frameworkText(f.ID)
	if err := f.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%w", err)
	}
	old := get(tx.frameworks, f.ID)
	switch {
	case old == nil:
		if n := tx.count(func(x *structs.Framework) bool { return !x.BuiltIn && x.Ended == 0 }); n >= MaxFrameworks {
			return nil, structs.Errorf(structs.Exhausted, object, "the region has %d frameworks and takes %d", n, MaxFrameworks)
		}
	case old.BuiltIn:
		return nil, structs.Errorf(structs.Forbidden, object, "it is built in")
	case old.Ended != 0:
		return nil, structs.Errorf(structs.Conflict, object, WhyFrameworkRemoved)
	case old.Principal != "" && old.Principal != f.Principal:
		return nil, structs.Errorf(structs.Forbidden, object, WhyPrincipal)
	default:
		f.User, f.Checkpoint = old.User, old.Checkpoint
	}
	if err := tx.rolesOf(old, &f, c.Sealed); err != nil {
		return nil, err
	}
	f.BuiltIn, f.Connected, f.Since, f.Until, f.Hoarding = false, true, tx.Now, 0, nil
	f.CreateIndex, f.ModifyIndex, f.Stated = tx.Index, tx.Index, tx.Index
	if old != nil {
		f.CreateIndex = old.CreateIndex
	}
	tx.putFramework(old, &f)
	tx.orphan(f.ID, 0)
	return &Connected{Index: tx.Index, Again: old != nil}, nil
}

// Apply changes a framework.
func (c *UpdateFramework) Apply(tx *Tx) (any, error) {
	if c.Framework == nil {
		return nil, structs.Errorf(structs.Invalid, "framework", "nothing is said of it")
	}
	f := *c.Framework
	object, old := frameworkText(f.ID), tx.framework(f.ID)
	switch {
	case old == nil || old.BuiltIn:
		return nil, structs.Errorf(structs.NotFound, object, "there is no such framework")
	case !old.Connected || old.Connection == "" || old.Connection != f.Connection:
		return nil, structs.Errorf(structs.Forbidden, object, "it is not subscribed, or in another subscription")
	}
	f.Principal = cmp.Or(f.Principal, old.Principal)
	if err := f.Problems().Err(); err != nil {
		return nil, structs.Errorf(structs.Invalid, object, "%w", err)
	}
	for _, fixed := range [...]struct {
		name    string
		changed bool
	}{{"user", f.User != old.User}, {"principal", f.Principal != old.Principal}, {"checkpoint", f.Checkpoint != old.Checkpoint}} {
		if fixed.changed {
			return nil, structs.Errorf(structs.Invalid, object, "Updating 'FrameworkInfo.%s' is not supported", fixed.name)
		}
	}
	if err := tx.rolesOf(old, &f, c.Sealed); err != nil {
		return nil, err
	}
	next := *old
	next.Name, next.Roles, next.Terms, next.Capabilities, next.Hostname, next.WebURL = f.Name, f.Roles, f.Terms, f.Capabilities, f.Hostname, f.WebURL
	next.Labels, next.FailoverTimeout, next.ModifyIndex, next.Stated = f.Labels, f.FailoverTimeout, tx.Index, tx.Index
	tx.put(Frameworks, old, &next)
	return tx.receipt(), nil
}

// rolesOf makes the roles of a framework that do not exist, and refuses new ones that take nothing new.
func (tx *Tx) rolesOf(old, f *structs.Framework, sealed bool) error {
	for _, role := range f.Roles {
		if !structs.ValidRole(role) {
			return structs.Errorf(structs.Invalid, fmt.Sprintf("framework %q", f.Name), "%q is no valid role", role)
		}
		if old == nil || !slices.Contains(old.Roles, role) {
			if err := tx.takesNew(role, sealed); err != nil {
				return err
			}
		}
		tx.makeRole(role)
	}
	return nil
}

// putFramework stores f in the place of old, which may be nil.
func (tx *Tx) putFramework(old, f *structs.Framework) {
	if old == nil {
		tx.put(Frameworks, nil, f)
		return
	}
	tx.put(Frameworks, old, f)
}

func (tx *Tx) count(is func(*structs.Framework) bool) (n int) {
	for f := range from(tx.frameworks, "") {
		if is(f) {
			n++
		}
	}
	return n
}

// Apply ends subscriptions.
func (c *DisconnectFrameworks) Apply(tx *Tx) (any, error) {
	for _, x := range c.Connections {
		old := tx.framework(x.Framework)
		if old == nil || !old.Connected || old.Connection != x.Connection {
			continue
		}
		f := *old
		f.Connected, f.Connection, f.Since, f.Hoarding, f.ModifyIndex = false, "", tx.Now, nil, tx.Index
		f.Until = tx.Now.Add(max(f.FailoverTimeout, c.Grace))
		tx.put(Frameworks, old, &f)
	}
	return tx.receipt(), nil
}

// Apply stores a framework.
func (c *PutFramework) Apply(tx *Tx) (any, error) {
	if c.Framework == nil || c.Framework.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "framework", "it has no id")
	}
	f, old := *c.Framework, get(tx.frameworks, c.Framework.ID)
	if err := tx.rolesOf(old, &f, c.Sealed); err != nil {
		return nil, err
	}
	f.CreateIndex, f.ModifyIndex, f.Since, f.Hoarding = tx.Index, tx.Index, tx.Now, nil
	if old == nil || old.Ended != 0 {
		tx.putFramework(old, &f)
		tx.orphan(f.ID, 0)
		return tx.receipt(), nil
	}
	f.CreateIndex = old.CreateIndex
	if f.Connected == old.Connected {
		f.Since, f.Hoarding = old.Since, old.Hoarding
	}
	tx.put(Frameworks, old, &f)
	return tx.receipt(), nil
}

// Apply records whether a framework hoards offers.
func (c *SetHoarding) Apply(tx *Tx) (any, error) {
	old := tx.framework(c.Framework)
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, frameworkText(c.Framework), "there is no such framework")
	}
	if c.Hoarding != nil || old.Hoarding != nil {
		f := *old
		f.Hoarding, f.ModifyIndex = c.Hoarding, tx.Index
		tx.put(Frameworks, old, &f)
	}
	return tx.receipt(), nil
}

// Apply removes a framework.
func (c *RemoveFramework) Apply(tx *Tx) (any, error) {
	old := get(tx.frameworks, c.ID)
	switch {
	case old == nil || old.Ended != 0 && !c.Forget:
		return nil, structs.Errorf(structs.NotFound, frameworkText(c.ID), "there is no such framework")
	case old.Ended == 0 && c.Forget:
		return nil, structs.Errorf(structs.Conflict, frameworkText(c.ID), "it was not removed").Advise("tear it down first")
	case c.Forget:
		tx.put(Frameworks, old, nil)
		return tx.receipt(), nil
	case c.Expired && (old.Connected || old.Until == 0 || old.Until > tx.Now):
		return nil, structs.Errorf(structs.Conflict, frameworkText(c.ID), "it may be away until %s", old.Until)
	}
	why := cmp.Or(c.Why, "its framework was removed")
	var live []*structs.Allocation
	tx.allocs.Scan(func(_ structs.AllocID, a *structs.Allocation) bool {
		if a.Framework == c.ID && !a.Ended() {
			live = append(live, a)
		}
		return true
	})
	for _, a := range live {
		tx.stop(a, why)
	}
	tx.orphan(c.ID, tx.Now)
	tx.forgetOperations(c.ID)
	if old.BuiltIn {
		tx.put(Frameworks, old, nil)
		return tx.receipt(), nil
	}
	tx.forgetEnded()
	f := *old
	f.Connected, f.Connection, f.Until, f.Hoarding, f.Since, f.ModifyIndex = false, "", 0, nil, tx.Now, tx.Index
	f.Roles, f.Terms = nil, nil // it uses them no more
	f.Ended, f.EndedWhy = max(tx.Now, 1), bounded(why)
	tx.put(Frameworks, old, &f)
	return tx.receipt(), nil
}

// forgetEnded makes room for one more framework that is remembered after its end.
func (tx *Tx) forgetEnded() {
	var oldest *structs.Framework
	n := tx.count(func(f *structs.Framework) bool {
		if f.Ended != 0 && (oldest == nil || f.Ended < oldest.Ended) {
			oldest = f
		}
		return f.Ended != 0
	})
	if n >= MaxEndedFrameworks {
		tx.put(Frameworks, oldest, nil)
	}
}

// known says what is wrong with what a framework launches: it has tasks, and none of that name lives.
func (tx *Tx) known(a *structs.Allocation) (Refusal, string) {
	if a.External == nil {
		return "", ""
	}
	for i, t := range a.External.Tasks {
		if t == nil || !structs.ValidOutsideID(t.ID) || slices.ContainsFunc(a.External.Tasks[:i], func(o *structs.ExternalTask) bool { return o.ID == t.ID }) {
			return RefusedInvalid, "a task has no valid id, or that of another one"
		}
		if other, _ := tx.taskOf(a.Framework, t.ID); other != nil {
			return RefusedTask, fmt.Sprintf("task %q exists already", t.ID)
		}
	}
	return "", ""
}

// taskOf returns a task of a framework that lives, or whose end the framework was not told of for certain, with its
// allocation; nil when there is none.
func (t *trees) taskOf(framework structs.FrameworkID, id string) (alloc *structs.Allocation, task *structs.ExternalTask) {
	t.byTask.Ascend(taskKey{framework: framework, task: id}, func(k taskKey) bool {
		if k.framework != framework || k.task != id {
			return false
		}
		a := get(t.allocs, k.id)
		if x := a.External.Task(id); TaskLives(a, x) {
			alloc, task = a, x
			return false
		}
		return true
	})
	return alloc, task
}

// TaskLives reports whether a framework must know of a task: it did not end, it may come back with its node, or the
// framework was not told of its end for certain.
func TaskLives(a *structs.Allocation, x *structs.ExternalTask) bool {
	if len(x.Updates) > 0 {
		return true
	}
	if a.Ended() && a.Status != structs.AllocLost { // which may still run, also one that is to be stopped
		return false
	}
	t := a.Tasks[x.Name]
	return t == nil || !t.Status.Ended()
}

// Task returns a task of a framework that lives with its allocation, see TaskLives; nil when there is none.
func (s *Snapshot) Task(framework structs.FrameworkID, id string) (*structs.Allocation, *structs.ExternalTask) {
	return s.taskOf(framework, id)
}

// TasksOf yields the tasks of a framework by the names that it gave them, those that live and those that ended and are still
// kept, with their allocations.
func (s *Snapshot) TasksOf(framework structs.FrameworkID) iter.Seq2[*structs.Allocation, *structs.ExternalTask] {
	return func(yield func(*structs.Allocation, *structs.ExternalTask) bool) {
		s.byTask.Ascend(taskKey{framework: framework}, func(k taskKey) bool {
			if k.framework != framework {
				return false
			}
			a := get(s.allocs, k.id)
			return yield(a, a.External.Task(k.task))
		})
	}
}

// removeAlloc forgets an allocation, with what only it runs.
func (tx *Tx) removeAlloc(a *structs.Allocation) {
	tx.put(Allocs, a, nil)
	if a.External != nil {
		if v := tx.version("", a.Version); v != nil {
			tx.put(Versions, v, nil)
		}
	}
}
