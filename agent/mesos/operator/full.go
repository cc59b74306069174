package operator

import (
	"reflect"

	"github.com/proffer/proffer/agent/mesos"
	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// objectJSON returns a message as JSON; nil when it is a nil pointer.
func objectJSON(message any) []byte {
	if reflect.ValueOf(message).IsNil() {
		return nil
	}
	return wire.JSON.Marshal(message)
}

// fullResources writes the amounts of a node once more as objects, as they travel in offers.
func (d *document) fullResources(n *structs.Node) {
	byRole, rest, ports := d.reserved(n)
	d.key("unreserved_resources_full")
	d.objects(mesos.Resources("", rest, ports))
	d.key("reserved_resources_full")
	d.open('{')
	for _, role := range sorted(byRole) {
		d.named(mesos.RoleOut(role))
		d.objects(mesos.Resources(role, byRole[role], nil))
	}
	d.close('}')
	d.key("used_resources_full")
	d.objects(messages(usedOn(d.Usage(n.ID)), nil))
	d.key("offered_resources_full")
	d.objects(messages(d.offered.onNode[n.ID], nil))
}

func (e *encoder) objects(all []wire.Resource) {
	e.open('[')
	for i := range all {
		e.raw(wire.JSON.Marshal(&all[i]))
	}
	e.close(']')
}
