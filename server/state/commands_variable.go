package state

import (
	"fmt"
	"iter"
	"strings"

	"github.com/proffer/proffer/structs"
)

// PutVariable puts the values of a variable in the place of those that it had. They are sealed with a key of the state: when that is
// not the active one any more they are sealed again like all others.
// The role is made when it does not exist. Answer: *Receipt, whose Index is the version.
type PutVariable struct {
	Path   string
	Secret bool // one that is secret stays so
	Sealed structs.Sealed
	Size   structs.Bytes
	TTL    structs.Duration // it is gone after so long, unless it is renewed; 0: it stays
	// Check, when set, must be the version: a conflict otherwise. 0: there must be none.
	Check *uint64
	// SealedRoles is as Sealed in PutReservation.
	SealedRoles bool
}

// RenewVariable gives a variable that expires another time to live, and leaves its values and version alone. Answer: *Receipt.
type RenewVariable struct {
	Path  string
	Check uint64 // must be the version
	TTL   structs.Duration
}

// DeleteVariable removes a variable. Answer: *Receipt.
type DeleteVariable struct {
	Path  string
	Check *uint64 // as in PutVariable
}

// ExpireVariables removes variables whose time is over; the others are left alone. Answer: *Receipt.
type ExpireVariables struct{ Paths []string }

// ResealVariables gives variables, and volumes of plugins, the same values and secrets sealed with another key. Those that were changed since are left alone.
// Answer: *Receipt.
type ResealVariables struct {
	Variables []*Resealed
	Volumes   []*ResealedVolume `codec:",omitempty"`
}

// ResealedVolume is one of its volumes.
type ResealedVolume struct {
	Name   string
	ID     structs.VolumeID
	Was    string // the key; empty: its secrets are in clear
	Sealed structs.Sealed
}

// Resealed is one of them.
type Resealed struct {
	Path    string
	Version uint64
	Sealed  structs.Sealed
}

// UseKey makes a key, which most servers keep, the one that variables are sealed with. It is a conflict when another one than Expect
// is. Answer: *Receipt.
type UseKey struct {
	ID     string
	Expect string // the id of the active one; empty: there is none
}

// DropKey forgets a key that is not active and that nothing is sealed with: no variable, no secrets of a volume, and no value that work has which did not end. Answer: *Receipt.
type DropKey struct{ ID string }

func (*PutVariable) Kind() string     { return "variable.put" }
func (*RenewVariable) Kind() string   { return "variable.renew" }
func (*DeleteVariable) Kind() string  { return "variable.delete" }
func (*ExpireVariables) Kind() string { return "variable.expire" }
func (*ResealVariables) Kind() string { return "variable.reseal" }
func (*UseKey) Kind() string          { return "key.use" }
func (*DropKey) Kind() string         { return "key.drop" }

func init() {
	register[PutVariable, Receipt]()
	register[RenewVariable, Receipt]()
	register[DeleteVariable, Receipt]()
	register[ExpireVariables, Receipt]()
	register[ResealVariables, Receipt]()
	register[UseKey, Receipt]()
	register[DropKey, Receipt]()
}

func variableText(path string) string { return fmt.Sprintf("variable %.140q", path) }

// variable returns what is at a path, unless its time is over.
func (tx *Tx) variable(path string) *structs.Variable {
	if v := get(tx.variables, path); v != nil && !v.Gone(tx.Now) {
		return v
	}
	return nil
}

// checkVersion compares what a caller saw with what there is.
func checkVersion(path string, v *structs.Variable, check *uint64) error {
	var now uint64
	if v != nil {
		now = v.Version
	}
	switch {
	case check == nil || *check == now:
		return nil
	case *check == 0:
		return structs.Errorf(structs.Conflict, variableText(path), "there is one, of version %d", now)
	case v == nil:
		return structs.Errorf(structs.Conflict, variableText(path), "version %d was expected and there is none", *check)
	}
	return structs.Errorf(structs.Conflict, variableText(path), "version %d was expected and it is %d", *check, now).Advise("read it again")
}

// Apply puts values.
func (c *PutVariable) Apply(tx *Tx) (any, error) {
	if err := structs.VariableProblem(c.Path); err != nil {
		return nil, err
	}
	const most = structs.MaxVariableBytes + structs.MaxItems*128
	if c.Size < 0 || c.Size > most || structs.Bytes(len(c.Sealed.Data)) > most+structs.MaxItems*8+64 {
		return nil, structs.Errorf(structs.Invalid, variableText(c.Path), "it holds too much")
	}
	if err := checkTTL(c.Path, c.TTL); err != nil {
		return nil, err
	}
	if get(tx.regionKeys, c.Sealed.Key) == nil {
		return nil, structs.Errorf(structs.Conflict, variableText(c.Path), "the key that it is sealed with was removed meanwhile").Advise("put it again")
	}
	record, live := get(tx.variables, c.Path), tx.variable(c.Path)
	if err := checkVersion(c.Path, live, c.Check); err != nil {
		return nil, err
	}
	owner := structs.VariableOwner(c.Path)
	if owner[0] != '@' && get(tx.roles, owner) == nil {
		if err := tx.takesNew(owner, c.SealedRoles); err != nil {
			return nil, err
		}
	}
	if err := tx.roomForVariable(c.Path, record, c.Size); err != nil {
		return nil, err
	}
	v := &structs.Variable{Path: c.Path, Secret: c.Secret || live != nil && live.Secret, Size: c.Size, Version: tx.Index, Actor: tx.Actor,
		Modified: tx.Now, Sealed: c.Sealed, CreateIndex: tx.Index, ModifyIndex: tx.Index}
	if live != nil {
		v.CreateIndex = live.CreateIndex
	}
	if c.TTL > 0 {
		v.Expires = tx.Now.Add(c.TTL)
	}
	if owner[0] != '@' {
		tx.makeRole(owner)
	}
	tx.putVariable(record, v)
	return tx.receipt(), nil
}

func checkTTL(path string, ttl structs.Duration) error {
	if ttl != 0 && (ttl < structs.MinTTL || ttl > structs.MaxTTL) {
		return structs.Errorf(structs.Invalid, variableText(path), "a time to live of %s is out of range (%s to %s)", ttl, structs.MinTTL, structs.MaxTTL)
	}
	return nil
}

func (tx *Tx) putVariable(old, v *structs.Variable) {
	if old == nil {
		tx.put(Variables, nil, v)
		return
	}
	tx.put(Variables, old, v)
}

// roomForVariable refuses what would pass a bound. What becomes smaller is always taken.
func (tx *Tx) roomForVariable(path string, old *structs.Variable, size structs.Bytes) error {
	more, grows := 1, size
	if old != nil {
		if more, grows = 0, size-old.Size; grows <= 0 {
			return nil
		}
	}
	refuse := func(whose string, u structs.VariableUse, count int, most structs.Bytes) error {
		if count > 0 && more > 0 && u.Count+more > count {
			return structs.Errorf(structs.Exhausted, variableText(path), "%s has %d variables and may have %d", whose, u.Count, count)
		}
		if most > 0 && u.Size+grows > most {
			return structs.Errorf(structs.Exhausted, variableText(path), "%s has variables of %s and may have %s, and this is %s more", whose, u.Size, most, grows)
		}
		return nil
	}
	if err := refuse("the region", tx.variablesOf(""), structs.MaxVariables, structs.MaxVariablesSize); err != nil {
		return err
	}
	owner := structs.VariableOwner(path)
	if owner[0] == '@' {
		return refuse("space "+owner, tx.variablesOf(owner), structs.MaxKeys, structs.MaxKeysSize)
	}
	for name := range upwards(owner) {
		if r := get(tx.roles, name); r != nil && (r.MaxVariables > 0 || r.MaxVariableSize > 0) {
			if err := refuse(roleText(name), tx.variablesBelow(name), r.MaxVariables, r.MaxVariableSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// Apply renews.
func (c *RenewVariable) Apply(tx *Tx) (any, error) {
	old := tx.variable(c.Path)
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, variableText(c.Path), "there is none, or its time is over")
	}
	if err := checkVersion(c.Path, old, &c.Check); err != nil {
		return nil, err
	}
	if c.TTL <= 0 {
		return nil, structs.Errorf(structs.Invalid, variableText(c.Path), "a renewal needs a time to live")
	}
	if err := checkTTL(c.Path, c.TTL); err != nil {
		return nil, err
	}
	v := *old
	v.Expires, v.ModifyIndex = tx.Now.Add(c.TTL), tx.Index
	tx.putVariable(old, &v)
	return tx.receipt(), nil
}

// Apply deletes.
func (c *DeleteVariable) Apply(tx *Tx) (any, error) {
	old := tx.variable(c.Path)
	if err := checkVersion(c.Path, old, c.Check); err != nil {
		return nil, err
	}
	if old == nil {
		return nil, structs.Errorf(structs.NotFound, variableText(c.Path), "there is none")
	}
	tx.put(Variables, old, nil)
	return tx.receipt(), nil
}

// Apply removes what has expired.
func (c *ExpireVariables) Apply(tx *Tx) (any, error) {
	for _, path := range c.Paths {
		if v := get(tx.variables, path); v != nil && v.Gone(tx.Now) {
			tx.put(Variables, v, nil)
		}
	}
	return tx.receipt(), nil
}

// Apply seals with another key.
func (c *ResealVariables) Apply(tx *Tx) (any, error) {
	for _, x := range c.Variables {
		old := get(tx.variables, x.Path)
		if old == nil || old.Version != x.Version || get(tx.regionKeys, x.Sealed.Key) == nil {
			continue
		}
		v := *old
		v.Sealed = x.Sealed // nothing that a reader sees
		tx.putVariable(old, &v)
	}
	for _, x := range c.Volumes {
		old := get(tx.volumes, x.Name)
		if old == nil || old.ID != x.ID || old.CSI == nil || old.CSI.Sealed.Key != x.Was || get(tx.regionKeys, x.Sealed.Key) == nil {
			continue
		}
		v, csi := *old, *old.CSI
		csi.Secrets, csi.Sealed = nil, x.Sealed
		v.CSI = &csi
		tx.putVolume(old, v)
	}
	return tx.receipt(), nil
}

// Apply makes a key the active one.
func (c *UseKey) Apply(tx *Tx) (any, error) {
	if c.ID == "" {
		return nil, structs.Errorf(structs.Invalid, "key", "it has no id")
	}
	var active *structs.RegionKey
	for k := range from(tx.regionKeys, "") {
		if k.Active {
			active = k
		}
	}
	is := ""
	if active != nil {
		is = active.ID
	}
	if is != c.Expect {
		return nil, structs.Errorf(structs.Conflict, "key "+structs.Short(c.ID), "another key became the active one meanwhile").Advise("try again")
	}
	if is == c.ID {
		return tx.receipt(), nil
	}
	if active != nil {
		k := *active
		k.Active, k.ModifyIndex = false, tx.Index
		tx.put(RegionKeys, active, &k)
	}
	k := structs.RegionKey{ID: c.ID, Active: true, Made: tx.Now, Actor: tx.Actor, CreateIndex: tx.Index, ModifyIndex: tx.Index}
	if old := get(tx.regionKeys, c.ID); old != nil {
		k.Made, k.Actor, k.CreateIndex = old.Made, old.Actor, old.CreateIndex
		tx.put(RegionKeys, old, &k)
	} else {
		tx.put(RegionKeys, nil, &k)
	}
	return tx.receipt(), nil
}

// Apply forgets a key.
func (c *DropKey) Apply(tx *Tx) (any, error) {
	k := get(tx.regionKeys, c.ID)
	object := "key " + structs.Short(c.ID)
	switch {
	case k == nil:
		return nil, structs.Errorf(structs.NotFound, object, "there is no such key")
	case k.Active:
		return nil, structs.Errorf(structs.Conflict, object, "it is the active one").Advise("rotate first")
	}
	for v := range from(tx.variables, "") {
		if v.Sealed.Key == c.ID {
			return nil, structs.Errorf(structs.Conflict, object, "%s is sealed with it", variableText(v.Path)).Advise("wait until the rotation is through")
		}
	}
	for v := range from(tx.volumes, "") {
		if v.CSI != nil && v.CSI.Sealed.Key == c.ID {
			return nil, structs.Errorf(structs.Conflict, object, "the secrets of %s are sealed with it", volumeText(v.Name)).Advise("wait until the rotation is through")
		}
	}
	for a := range from(tx.allocs, "") {
		if a.Ended() && (a.Status != structs.AllocLost || a.Desired != structs.DesiredRun) { // what was lost may turn out to run
			continue
		}
		for s := range a.External.Sent() {
			if s.Sealed.Key == c.ID {
				return nil, structs.Errorf(structs.Conflict, object, "a value that framework %s sent with allocation %s is sealed with it", a.Framework, structs.Short(a.ID)).
					Advise("wait until that ended, or stop it: what is sent with work stays sealed as it came")
			}
		}
	}
	tx.put(RegionKeys, k, nil)
	return tx.receipt(), nil
}

// unsealable says why what was sent with work could never be opened; empty: it can.
func (tx *Tx) unsealable(x *structs.External) (why string) {
	for s := range x.Sent() {
		if get(tx.regionKeys, s.Sealed.Key) == nil {
			return "the key that its secrets are sealed with was removed meanwhile"
		}
	}
	return ""
}

// countVariable keeps what the variables of a role or space take.
func (t *trees) countVariable(old, new any) {
	change := func(path string, by int, size structs.Bytes) {
		for _, owner := range []string{structs.VariableOwner(path), ""} {
			u := t.variablesOf(owner)
			if u.Count, u.Size = u.Count+by, u.Size+size; u.Count == 0 {
				t.variableUse.Delete(owner)
			} else {
				t.variableUse.Set(owner, &u)
			}
		}
	}
	if v, ok := new.(*structs.Variable); ok {
		change(v.Path, 1, v.Size)
	}
	if v, ok := old.(*structs.Variable); ok {
		change(v.Path, -1, -v.Size)
		if v.Expires != 0 {
			t.expiring.Delete(expiringKey{v.Expires, v.Path})
		}
	}
	if v, ok := new.(*structs.Variable); ok && v.Expires != 0 {
		t.expiring.Set(expiringKey{v.Expires, v.Path})
	}
}

// expiringKey orders variables by when they expire.
type expiringKey struct {
	at   structs.Time
	path string
}

func (a expiringKey) less(b expiringKey) bool {
	if a.at != b.at {
		return a.at < b.at
	}
	return a.path < b.path
}

// Expired returns up to most variables whose time is over, and when that of the next one is; 0: of none.
func (s *Snapshot) Expired(now structs.Time, most int) (paths []string, next structs.Time) {
	s.expiring.Scan(func(k expiringKey) bool {
		if k.at > now || len(paths) == most {
			next = k.at
			return false
		}
		paths = append(paths, k.path)
		return true
	})
	return paths, next
}

// variablesOf returns what the variables of a role or space take, without the roles below.
func (t *trees) variablesOf(owner string) structs.VariableUse {
	if u := get(t.variableUse, owner); u != nil {
		return *u
	}
	return structs.VariableUse{}
}

// variablesBelow is variablesOf with the roles below.
func (t *trees) variablesBelow(role string) structs.VariableUse {
	sum := t.variablesOf(role)
	t.variableUse.Ascend(role+"/", func(name string, u *structs.VariableUse) bool {
		if !strings.HasPrefix(name, role+"/") {
			return false
		}
		sum.Count, sum.Size = sum.Count+u.Count, sum.Size+u.Size
		return true
	})
	return sum
}

// Variable returns a variable, or nil; also one whose time is over and that was not removed yet.
func (s *Snapshot) Variable(path string) *structs.Variable { return get(s.variables, path) }

// Variables yields the variables by path, from a path on.
func (s *Snapshot) Variables(first string) iter.Seq[*structs.Variable] {
	return from(s.variables, first)
}

// VariableUse returns what the variables of a role, and of those below it, take.
func (s *Snapshot) VariableUse(role string) structs.VariableUse { return s.variablesBelow(role) }

// RegionKeys yields the keys that variables are sealed with, by id.
func (s *Snapshot) RegionKeys() iter.Seq[*structs.RegionKey] { return from(s.regionKeys, "") }

// RegionKey returns a key, or nil.
func (s *Snapshot) RegionKey(id string) *structs.RegionKey { return get(s.regionKeys, id) }

// ActiveKey returns the key that is to be sealed with, or nil before the first variable.
func (s *Snapshot) ActiveKey() *structs.RegionKey {
	for k := range s.RegionKeys() {
		if k.Active {
			return k
		}
	}
	return nil
}
