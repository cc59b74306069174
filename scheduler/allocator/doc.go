// Package allocator decides whose turn it is and what happens then: a request is placed, or a framework is offered what
// a node has left. It is a state machine without I/O: the host feeds it what is committed (nodes, roles, frameworks,
// allocations) and what is wanted (requests, answers to offers), calls Step, carries the decisions out, and answers
// each placement with Confirm or Refuse. What was decided is held from then on.
//
// The order in which it serves is a contract, written in scheduler/DESIGN.md and tested against an allocator that
// recomputes everything. An Allocator belongs to one goroutine; nothing here blocks.
package allocator
