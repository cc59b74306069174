// Package pid1 has the first process of containers whose task asks for init: a program of some kilobytes for Linux on amd64 and
// arm64. It starts the program that it is given as arguments, passes signals on, reaps, and ends as the program did.
package pid1

//go:generate ./build.sh

// Program returns it; nil on other machines.
func Program() []byte { return program }
