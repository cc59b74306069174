package operator

import (
	"fmt"
	"strings"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// mostFrameworks is how many frameworks may be told of one by one: each is some 70 names.
const mostFrameworks = 500

// asMessages are the calls of schedulers by what Mesos called them when they were messages.
var asMessages = map[wire.CallType]string{wire.CallTeardown: "unregister_framework", wire.CallAccept: "launch_tasks",
	wire.CallDecline: "decline_offers", wire.CallRevive: "revive_offers", wire.CallSuppress: "suppress_offers", wire.CallKill: "kill_task",
	wire.CallAcknowledge: "status_update_acknowledgement", wire.CallReconcile: "reconcile_tasks", wire.CallMessage: "framework_to_executor",
	wire.CallRequest: "resource_request", wire.CallReconcileOperations: "reconcile_operations",
	wire.CallAcknowledgeOperationStatus: "operation_status_update_acknowledgement"}

// messages has what schedulers and nodes sent, and what was wrong with it.
func (f figures) messages(d *document, is *server.Figures) {
	told := d.Tally()
	for name, n := range map[string]int{
		"messages_status_update": told.Reports.All(), "valid_status_updates": told.Reports.Taken + told.Reports.Again, "invalid_status_updates": told.Reports.Refused,
		"valid_status_update_acknowledgements": told.Acks.Taken, "invalid_status_update_acknowledgements": told.Acks.Refused,
		"valid_operation_status_update_acknowledgements": told.OpAcks.Taken, "invalid_operation_status_update_acknowledgements": told.OpAcks.Refused,
		"messages_register_slave": told.Registered, "messages_reregister_slave": max(0, told.Sessions-told.Registered),
		"messages_unregister_slave": told.Left, "messages_update_slave": told.Described,
		// Nobody sends these: who a scheduler is, is part of each call, one that goes away ends its connection, the end of an executor is part of the
		// report of its node, and what becomes of an operation is decided here.
		"messages_authenticate": 0, "messages_deactivate_framework": 0, "messages_exited_executor": 0,
		"messages_operation_status_update": 0, "valid_operation_status_updates": 0, "invalid_operation_status_updates": 0,
	} {
		f["master/"+name] = float64(n)
	}
	f["master/valid_executor_to_framework_messages"], f["master/invalid_executor_to_framework_messages"] = float64(is.Passed), float64(is.Lost)
	f["master/messages_executor_to_framework"] = float64(is.Passed + is.Lost)
	f.operations(d)
	counts := d.from.Counts
	if counts == nil {
		return
	}
	for kind, name := range asMessages {
		n, _ := counts.Calls(kind)
		f["master/messages_"+name] = float64(n)
	}
	all, again := counts.Calls(wire.CallSubscribe)
	f["master/messages_register_framework"], f["master/messages_reregister_framework"] = float64(all-min(all, again)), float64(again)
	passed, lost := counts.Messages()
	f["master/valid_framework_to_executor_messages"], f["master/invalid_framework_to_executor_messages"] = float64(passed), float64(lost)
	f["master/dropped_messages"] = float64(counts.Dropped())
}

// operations has those with an id: how many of them are under way, and what became of the others since the server began.
func (f figures) operations(d *document) {
	became := d.Tally().Operations
	pending := 0.0
	for o := range d.Operations() {
		if o.State == structs.OperationPending {
			pending++
		}
	}
	total := pending
	for _, s := range [...]structs.OperationState{structs.OperationFinished, structs.OperationFailed, structs.OperationError, structs.OperationDropped,
		structs.OperationGoneByOperator} {
		n := float64(became[s])
		f["master/operations/"+string(s)] = n
		total += n
	}
	f["master/operations/pending"], f["master/operations/total"] = pending, total
	f["master/operations/recovering"], f["master/operations/unreachable"] = 0, 0 // they are in the state, and no node is asked for them
}

// frameworks has how many are connected, and of each of them, unless they are too many, what it does.
func (f figures) frameworks(d *document, is *server.Figures, tasks map[structs.FrameworkID]tally) {
	var connected, away float64
	var live []*structs.Framework
	for x := range d.Frameworks() {
		switch {
		case x.Ended != 0:
			continue
		case x.Connected:
			connected++
		default:
			away++
		}
		live = append(live, x)
	}
	f["master/frameworks_active"], f["master/frameworks_inactive"] = connected, away
	f["master/frameworks_connected"], f["master/frameworks_disconnected"] = connected, away
	if len(live) > mostFrameworks {
		return
	}
	for _, x := range live {
		at := frameworkAt(x)
		f[at+"subscribed"] = flag(x.Connected)
		f.tasksOf(at, tasks[x.ID])
		if x.BuiltIn {
			continue
		}
		if d.from.Counts != nil {
			f.callsOf(at, d.from.Counts.Framework(x.ID))
		}
		f.offersOf(at, &structs.OfferStatus{})
	}
	for _, o := range is.Offers {
		if x := d.Framework(o.Framework); x != nil && x.Ended == 0 {
			f.offersOf(frameworkAt(x), o)
		}
	}
}

// offersOf has what became of the offers to a framework since it connected. One that nobody answers in time is rescinded.
func (f figures) offersOf(at string, o *structs.OfferStatus) {
	for what, n := range map[string]uint64{"sent": o.Offered, "accepted": o.Accepted, "declined": o.Declined, "rescinded": o.Rescinded + o.Expired} {
		f[at+"offers/"+what] = float64(n)
	}
	for _, r := range o.Roles {
		f[at+"roles/"+mesos.RoleOut(r.Role)+"/suppressed"] = flag(r.Suppressed)
	}
}

// callsOf has what a framework asked for and was told.
func (f figures) callsOf(at string, counts *mesos.FrameworkCounts) {
	if counts == nil {
		counts = &mesos.FrameworkCounts{}
	}
	count := func(what string, kind fmt.Stringer, n uint64) bool {
		f[at+what] += float64(n)
		f[at+what+"/"+strings.ToLower(kind.String())] = float64(n)
		return true
	}
	counts.Calls(func(kind wire.CallType, n uint64) bool { return count("calls", kind, n) })
	counts.Events(func(kind wire.EventType, n uint64) bool { return count("events", kind, n) })
	counts.Operations(func(kind wire.OperationType, n uint64) bool {
		return kind.String() == "" || count("operations", kind, n) // some numbers mean nothing
	})
}

// tasksOf has the tasks of a framework by their states, as far as they are known still.
func (f figures) tasksOf(at string, of tally) {
	for _, s := range tallied {
		kind := "tasks/active/"
		if s.Ended() {
			kind = "tasks/terminal/"
		}
		f[at+kind+strings.ToLower(stateName(s))] = float64(of[s])
	}
}

// frameworkAt is what the names of all figures of a framework begin with.
func frameworkAt(x *structs.Framework) string {
	return "master/frameworks/" + encoded(x.Name) + "/" + string(x.ID) + "/"
}

// encoded writes what could be taken for a part of a name or an address as Mesos does: with a percent sign.
func encoded(name string) string {
	var out strings.Builder
	for i := range len(name) {
		if c := name[i]; c < 0x20 || c > 0x7f || strings.IndexByte("$&+,/:;=?@ \"<>#%{}|\\^~[]`", c) >= 0 {
			fmt.Fprintf(&out, "%%%02X", c)
		} else {
			out.WriteByte(c)
		}
	}
	return out.String()
}
