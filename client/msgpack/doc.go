// Package msgpack is how values are written wherever Proffer writes them for itself: in the log and in snapshots of the region, between servers and
// nodes, and on a node's disk. It is the msgpack of https://github.com/msgpack/msgpack/blob/master/spec.md, with strings and bytes told apart.
//
// A struct is a map from the names of its fields to their values, sorted by name, so that fields can come and go: what a reader does not know it
// skips, and what is missing it leaves as it is. A field's name is that of its codec tag, else of its json tag, else its own; the option omitempty
// leaves it out when it is empty (a struct: when it says IsZero, or has no such method, can be compared and is all zero), and the name "-" always.
// Fields of embedded structs are those of the struct around them. A nil pointer, slice or map is nil. Values in an any are read as bool, int64,
// float64, string, []any or map[string]any.
//
// # Why not a library
//
// Writing and reading commands was a fifth of what a task costs a server with the library that Raft brings, which looks at types anew for each value.
// Here a type is looked at once: a plan of it says at which offsets its fields are and what to do with them. What it writes is, byte for byte, what
// that library writes, which package twin tests on the types that are in use. Generated code would be faster again by little, and thousands of lines.
package msgpack
