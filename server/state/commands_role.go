package state

import (
	"fmt"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Apply stores a role.
func (c *PutRole) Apply(tx *Tx) (any, error) { return tx.putRoles([]*structs.Role{c.Role}, c.Force) }

// Apply stores roles.
func (c *PutRoles) Apply(tx *Tx) (any, error) { return tx.putRoles(c.Roles, c.Force) }

// unused is what to do before a role can be removed.
const unused = "stop what uses it, or force it: the work goes on, with weight 1 and without a quota"

// Apply removes a role.
func (c *DeleteRole) Apply(tx *Tx) (any, error) {
	object := fmt.Sprintf("role %q", c.Name)
	old := get(tx.roles, c.Name)
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, object, "there is no such role")
	}
	for r := range from(tx.roles, c.Name+"/") {
		if strings.HasPrefix(r.Name, c.Name+"/") {
			return nil, structs.Errorf(structs.Conflict, object, "role %q is below it", r.Name).Advise("remove that one first")
		}
		break
	}
	if c.Force {
		tx.put(Roles, old, nil)
		return tx.receipt(), nil
	}
	for j := range from(tx.jobs, "") {
		if j.Role == c.Name && j.Ended == 0 {
			return nil, structs.Errorf(structs.Conflict, object, "job %q uses it", j.Name).Advise(unused)
		}
	}
	for r := range from(tx.reservations, "") {
		if r.Role == c.Name {
			return nil, structs.Errorf(structs.Conflict, object, "room is reserved for it, by reservation %s on node %s", structs.Short(r.ID), r.NodeName).
				Advise("release that, or force it: the room stays reserved")
		}
	}
	for v := range from(tx.volumes, "") {
		if v.Role == c.Name {
			return nil, structs.Errorf(structs.Conflict, object, "volume %q is of it", v.Name).Advise("delete that first, or force it: the volume stays")
		}
	}
	if u := get(tx.variableUse, c.Name); u != nil {
		return nil, structs.Errorf(structs.Conflict, object, "%d variables are of it", u.Count).Advise("delete them first, or force it: they stay")
	}
	for f := range from(tx.frameworks, "") {
		if slices.Contains(f.Roles, c.Name) {
			return nil, structs.Errorf(structs.Conflict, object, "framework %q uses it", f.Name).Advise(unused)
		}
	}
	tx.put(Roles, old, nil)
	return tx.receipt(), nil
}
