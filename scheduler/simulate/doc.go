// Package simulate has the production allocator decide without a region: in a World its decisions are carried out at once,
// and time passes only when the caller says so. Replay plays a Trace in one and reports what became of it. Like all of
// scheduler it is pure: the same input gives the same output.
package simulate
