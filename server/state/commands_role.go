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
	for f := range from(tx.frameworks, "") {
		if slices.Contains(f.Roles, c.Name) {
			return nil, structs.Errorf(structs.Conflict, object, "framework %q uses it", f.Name).Advise(unused)
		}
	}
	tx.put(Roles, old, nil)
	return tx.receipt(), nil
}

// Apply stores a framework.
func (c *PutFramework) Apply(tx *Tx) (any, error) {
	if c.Framework == nil || c.Framework.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "framework", "it has no id")
	}
	f, old := *c.Framework, get(tx.frameworks, c.Framework.ID)
	for _, role := range f.Roles {
		if !structs.ValidRole(role) {
			return nil, structs.Errorf(structs.Invalid, fmt.Sprintf("framework %q", f.Name), "%q is no valid role", role)
		}
		if old == nil || !slices.Contains(old.Roles, role) {
			if err := tx.takesNew(role, c.Sealed); err != nil {
				return nil, err
			}
		}
		tx.makeRole(role)
	}
	f.CreateIndex, f.ModifyIndex, f.Since, f.Hoarding = tx.Index, tx.Index, tx.Now, nil
	if old == nil {
		tx.put(Frameworks, nil, &f)
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
	old := get(tx.frameworks, c.Framework)
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, fmt.Sprintf("framework %q", c.Framework), "there is no such framework")
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
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, fmt.Sprintf("framework %q", c.ID), "there is no such framework")
	}
	var live []*structs.Allocation
	tx.allocs.Scan(func(_ structs.AllocID, a *structs.Allocation) bool {
		if a.Framework == c.ID && !a.Ended() {
			live = append(live, a)
		}
		return true
	})
	for _, a := range live {
		tx.stop(a, "its framework was removed")
	}
	tx.put(Frameworks, old, nil)
	tx.orphan(c.ID, tx.Now)
	return tx.receipt(), nil
}
