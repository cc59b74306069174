// Package guard keeps the ports of a node for the allocations that they were given to, among tasks in the network of the node. A program
// of the kernel, attached to the cgroup that the groups of all tasks are in (version 2, also beside hierarchies of version 1), looks at each
// bind(2):
//
//	port 0, and whatever is neither TCP nor UDP          passes
//	a process of no task, or of one that is not guarded   passes
//	a port of the allocation                              passes, on an address where no other one has it
//	a port of the range that is given out                 is refused (EPERM)
//	a port that another allocation has, on any address    is refused
//	the rest                                              passes
//
// What a connect or a listen without bind chooses is not looked at: it is of the kernel's own range. Neither process, agent nor supervisor
// is needed for it to hold: the cgroup holds the program, and the program its maps. A supervisor that comes makes new ones from what it
// knows and puts them in the place of the old program at once.
package guard
