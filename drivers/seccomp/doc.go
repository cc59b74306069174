// Package seccomp says which system calls a task may make, for all drivers alike, and turns that into a program for the kernel. The
// list is the default profile of Docker; see DESIGN.md of drivers/exec.
package seccomp

//go:generate go run ./numbers
