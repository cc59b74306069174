package schema

import (
	"maps"
	"slices"

	"github.com/proffer/proffer/structs"
)

// Login reads the block of what a registry is asked with instead of what the node has; nil: there is none. One of a variable is for whoever
// checks the job: a start has what that holds in its place.
func (b *Block) Login() *structs.ImageLogin {
	key := structs.LoginKey
	m := b.TextMap(key)
	if len(m) == 0 {
		return nil
	}
	l := &structs.ImageLogin{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch name {
		case structs.LoginVariable:
			l.Variable = m[name]
		case structs.LoginUsername:
			l.Username = m[name]
		case structs.LoginPassword:
			l.Password = m[name]
		default:
			b.Problem(key+"."+name, "there is no such setting").Advise("there are variable, username and password")
		}
	}
	l.Problems(b.problems, b.at(key))
	return l
}
