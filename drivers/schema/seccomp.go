package schema

import "github.com/proffer/proffer/structs"

// Seccomp reads the name of the profile of system calls.
func (b *Block) Seccomp() string {
	name := b.Text(structs.SeccompKey)
	if name == "" {
		return structs.SeccompDefault
	}
	if !Refers(name) && !structs.ValidName(name) {
		b.Problem(structs.SeccompKey, `it must be "default", "unconfined" or the name of a profile of the nodes, not %q`, name)
	}
	return name
}
