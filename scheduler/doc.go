// Package scheduler holds what the built-in frameworks have in common: the steps that bring a job closer to what it asks
// for, and when an allocation that failed is placed again. The packages below it decide: placement says where something
// fits, allocator whose turn it is, service and batch what a job needs next. All of them are pure: values in, values
// out, the time among the arguments; no I/O, no clock, no goroutine, no randomness. See DESIGN.md.
package scheduler
