package framework

import (
	"bytes"
	"slices"
)

// operations is what the driver knows of operations with an ID: no more than it needs to pass each outcome on once and to ask for those that it
// may have missed. It has no clock and no lock.
type operations struct {
	open  map[string]*operation // accepted, and nothing is known of what became of them
	told  map[string]outcome    // the newest mostEnded
	order []string              // of told, oldest first
}

// operation is one of which nothing was heard.
type operation struct {
	node   string
	begins bool // its ACCEPT is not answered yet: the region may not know it
}

// outcome is what the scheduler took.
type outcome struct {
	state string
	uuid  []byte // nil: it had none
}

func newOperations() *operations {
	return &operations{open: map[string]*operation{}, told: map[string]outcome{}}
}

// sent notes that an operation is in an ACCEPT. What was told under its ID is of another one.
func (o *operations) sent(id, node string) {
	o.open[id] = &operation{node, true}
	if _, known := o.told[id]; known {
		delete(o.told, id)
		o.order = slices.DeleteFunc(o.order, func(x string) bool { return x == id })
	}
}

// answered notes that the ACCEPT was answered, or not; happened: it may have been taken.
func (o *operations) answered(id string, happened bool) {
	if x := o.open[id]; x != nil {
		if x.begins = false; !happened {
			delete(o.open, id)
		}
	}
}

// news says of an outcome whether the scheduler must hear of it, and if not, whether it is to be acknowledged.
func (o *operations) news(u *OperationUpdate) (tell, acknowledge bool) {
	if u.State == "PENDING" {
		return false, false
	}
	last, known := o.told[u.ID]
	switch {
	case !known:
		return true, false
	case u.uuid == nil:
		return false, false // it was asked for before that was told
	case last.uuid == nil:
		return last.state != u.State, last.state == u.State // the scheduler was told when the driver asked
	}
	same := bytes.Equal(last.uuid, u.uuid)
	return !same, same
}

// took notes what the scheduler took.
func (o *operations) took(u *OperationUpdate) {
	delete(o.open, u.ID)
	if _, known := o.told[u.ID]; !known {
		o.order = append(o.order, u.ID)
	}
	o.told[u.ID] = outcome{u.State, u.uuid}
	if len(o.order) > mostEnded {
		delete(o.told, o.order[0])
		o.order = o.order[1:]
	}
}

// unheard returns those of which nothing was heard, in order.
func (o *operations) unheard() (ids []string) {
	for id, x := range o.open {
		if !x.begins {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
