// Package pid1 has what begins a program in a container where the runtime alone would not do: some kilobytes for Linux on amd64 and
// arm64. Its arguments are what to do, where the program is, what it is called, and what the program gets. With Exec it becomes the program; with
// Init it is the first process of the container: it starts the program, passes signals on, reaps, and ends as the program did.
package pid1

//go:generate ./build.sh

// What to do.
const (
	Exec = "exec"
	Init = "init"
)

// Program returns it; nil on other machines.
func Program() []byte { return program }
