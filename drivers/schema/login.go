package schema

import (
	"maps"
	"slices"
)

// Login reads a block with username and password: a registry is asked with them instead of the node's.
func (b *Block) Login(key string) (username, password string) {
	m := b.TextMap(key)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch name {
		case "username":
			username = m[name]
		case "password":
			password = m[name]
		default:
			b.Problem(key+"."+name, "there is no such setting").Advise("there are username and password")
		}
	}
	if len(m) > 0 && (username == "" || password == "") {
		b.Problem(key, "it needs username and password")
	}
	return username, password
}
