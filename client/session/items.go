package session

import (
	"maps"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Items are what work on a node asks the region for: variables and services. A node says which ones it wants, and is sent each of them
// when it asks for it and whenever it changed.

// Ref names an item.
type Ref string

// VariableRef and ServiceRef name the variable of a path, and a service.
func VariableRef(path string) Ref { return Ref("variable:" + path) }
func ServiceRef(name string) Ref  { return Ref("service:" + name) }

// SecretRef names a value that an external framework sent with work: of an allocation, by its name among those of it.
func SecretRef(alloc structs.AllocID, name string) Ref {
	return Ref("secret:" + string(alloc) + "/" + name)
}

// Secret returns which one r names.
func (r Ref) Secret() (alloc structs.AllocID, name string, ok bool) {
	rest, ok := strings.CutPrefix(string(r), "secret:")
	id, name, cut := strings.Cut(rest, "/")
	return structs.AllocID(id), name, ok && cut
}

// Variable returns the path of the variable that r names.
func (r Ref) Variable() (path string, ok bool) { return strings.CutPrefix(string(r), "variable:") }

// Service returns the name of the service that r names.
func (r Ref) Service() (name string, ok bool) { return strings.CutPrefix(string(r), "service:") }

// MaxWants bounds the items that a node wants at a time.
const MaxWants = 20_000

// Wants says which items a node wants. A session begins without any. What is added and was there already is sent again.
type Wants struct{ Add, Drop []Ref }

// Item is what there is of an item now. It is not changed.
type Item struct {
	Ref       Ref
	Version   uint64                     // of a variable
	Missing   string                     // why there is none; empty: there is
	Unknown   bool                       // with Missing: nobody can say now whether there is one
	Values    map[string]string          // of a variable; of a secret its one value, without a name
	Secret    bool                       // it is a secret
	Instances []*structs.ServiceInstance // of a service
}

// Size is about what it takes in a message.
func (i *Item) Size() (n int) {
	n = 64 + len(i.Ref) + len(i.Missing) + 400*len(i.Instances)
	for name, value := range i.Values {
		n += 10 + len(name) + len(value)
	}
	return n
}

// joinItems returns the items of a with those of b in the place of older ones.
func joinItems(a, b []*Item) []*Item {
	for _, x := range b {
		a = append(slices.DeleteFunc(a, func(o *Item) bool { return o.Ref == x.Ref }), x)
	}
	return a
}

// Want says that the node wants other items than before. What a session loses is said again at the beginning of the next one.
func (c *Client) Want(add, drop []Ref) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range add {
		c.wants[r] = true
		c.unsaid[r] = true
	}
	for _, r := range drop {
		delete(c.wants, r)
		c.unsaid[r] = false
	}
	c.poke()
}

// wanted takes what is to be said; the caller holds mu.
func (c *Client) wanted() *Wants {
	if len(c.unsaid) == 0 {
		return nil
	}
	w := &Wants{}
	for _, r := range slices.Sorted(maps.Keys(c.unsaid)) {
		if c.unsaid[r] {
			w.Add = append(w.Add, r)
		} else {
			w.Drop = append(w.Drop, r)
		}
	}
	clear(c.unsaid)
	return w
}
