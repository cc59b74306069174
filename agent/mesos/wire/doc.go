// Package wire reads and writes the messages of the Mesos v1 HTTP APIs, in JSON and in protobuf, from one description: the tags of
// the Go types.
//
//	Name *string `w:"name,1"`            // optional: a pointer, a slice, or a map
//	ID   TaskID  `w:"task_id,2,required"` // required: a plain value
//	Role *string `w:"role,6,def=*"`       // JSON writes the default where it is not set
//
// The names and numbers are the interface of Mesos. JSON follows Mesos' own mapping and not that of protobuf: names with
// underscores, all integers as numbers, enums as names, unset fields with a default written.
package wire
