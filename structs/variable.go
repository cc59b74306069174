package structs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Variable is a set of named values that work may read, or a key of a framework's own. Records are immutable, and what they
// hold is sealed: servers that have the key open it.
type Variable struct {
	// Path is ROLE/NAME, such as eng/web/db: work of the role and of those below may read it. A framework keeps what it must not
	// lose under @SPACE/KEY, where SPACE is a name of its own; no task reads that.
	Path     string `json:"path"`
	Secret   bool   `json:"secret,omitempty"`  // its values are never shown unless they are asked for; it stays so
	Size     Bytes  `json:"size"`              // of the values and their names
	Version  uint64 `json:"version"`           // the Raft index at which the values were put
	Expires  Time   `json:"expires,omitempty"` // it is gone then, unless it is renewed; zero: it stays
	Actor    string `json:"actor,omitempty"`   // who put the values
	Modified Time   `json:"modified"`          // when they were put
	Sealed   Sealed `codec:"sealed" json:"-"`

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Sealed is what only somebody with a key of the region can read.
type Sealed struct {
	Key  string `codec:"key"` // its id
	Data []byte `codec:"data"`
}

// RegionKey is what the state knows of a key that variables are sealed with: not the key itself, which servers keep.
type RegionKey struct {
	ID     string `json:"id"`     // a hash of the key
	Active bool   `json:"active"` // what is put now is sealed with it
	Made   Time   `json:"made"`
	Actor  string `json:"actor,omitempty"`

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// Bounds of variables.
const (
	MaxVariableBytes = Bytes(256 << 10) // of the values of one variable together
	MaxItems         = 64               // of one variable

	MaxVariables     = 100_000        // of a region, keys of frameworks included
	MaxVariablesSize = Bytes(1 << 29) // likewise
	MaxKeys          = 1_000          // of a space of a framework
	MaxKeysSize      = Bytes(16 << 20)

	MinTTL = Duration(1e9)
	MaxTTL = Duration(365 * 24 * 3600 * 1e9)
)

// VariableOwner is whose a variable is: the role, or @ and the space.
func VariableOwner(path string) string {
	if strings.HasPrefix(path, "@") {
		owner, _, _ := strings.Cut(path, "/")
		return owner
	}
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

// ReadableBy reports whether work of a role may read the variable of a path. What is in a space is not for it.
func ReadableBy(path, role string) bool {
	owner := VariableOwner(path)
	return owner != "" && owner[0] != '@' && RoleWithin(role, owner)
}

// badVariablePath says what is wrong with a path; empty: nothing.
func badVariablePath(path string) string {
	owner := VariableOwner(path)
	if id, ok := strings.CutPrefix(owner, "@"); ok {
		key := strings.TrimPrefix(path[len(owner):], "/")
		if !ValidName(id) || len(key) > 512 || strings.Count(key, "/") > 15 || slices.ContainsFunc(strings.Split(key, "/"), func(s string) bool { return !ValidName(s) }) {
			return "it is no key: up to 16 names joined by slashes"
		}
		return ""
	}
	if !ValidRole(owner) || !ValidName(path[len(owner)+1:]) {
		return "it is not a role and a name, such as eng/web/db"
	}
	return ""
}

// VariableProblem says what is wrong with the path of a variable.
func VariableProblem(path string) error {
	if why := badVariablePath(path); why != "" {
		return Errorf(Invalid, fmt.Sprintf("variable %.140q", path), "%s", why)
	}
	return nil
}

// ItemsProblems returns what is wrong with the values of a variable.
func ItemsProblems(items map[string]string) (p Problems) {
	if len(items) == 0 {
		p.Add("items", "there are no values").Advise("delete the variable if it shall be empty")
	}
	if len(items) > MaxItems {
		p.Add("items", "%d values are more than %d", len(items), MaxItems)
		return p
	}
	var sum Bytes
	for _, name := range slices.Sorted(maps.Keys(items)) {
		if !ValidName(name) {
			p.Add(fmt.Sprintf("items.%.140q", name), "it is not a name").Advise("up to 128 letters, digits, - _ and ., a letter or digit first")
		}
		if !utf8.ValidString(items[name]) {
			p.Add("items."+name, "the value is not text in UTF-8").Advise("encode it in base64")
		}
		sum += Bytes(len(items[name]))
	}
	if sum > MaxVariableBytes {
		p.Add("items", "values of %d bytes are more than %d", sum, MaxVariableBytes)
	}
	return p
}

// Gone reports whether a variable has expired.
func (v *Variable) Gone(now Time) bool { return v.Expires != 0 && v.Expires <= now }

// VariableUse is what variables take.
type VariableUse struct {
	Count int   `json:"count"`
	Size  Bytes `json:"size"`
}
