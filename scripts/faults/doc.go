// Package faults kills agents between any two changes of the world that a start and a stop make, with real drivers, and counts what
// is left: containers, mounts, cgroups, processes, holds of images, files, and what the allocation was given: namespaces, links,
// addresses, rules, ports, claims of volumes. It has tests only, with the build tag system; they need root on Linux. Those with the tag
// soak, too, kill before every change instead of some.
//
// An agent is a child of the test with the client of a node in it, and a region of one allocation. The kernel asks the test before
// each system call of the child that changes something (seccomp's user notification), so that the test can kill it before the nth
// one: no seam in the product, and nothing between two calls can be missed. Another agent of the same folder goes on.
package faults
