// Package structs holds the nouns of Proffer: what is stored, sent and shown. It has their arithmetic and their
// validation, and nothing that does I/O, looks at a clock or starts a goroutine. It imports the standard library only.
//
// # Tags
//
// One tagged struct serves HCL, JSON, diffs and documentation:
//
//	json:"count,omitempty"  the name, in HCL and in JSON alike
//	hcl:"label"             the value is the label of the block:      job "web" { … }
//	hcl:"block"             a nested block (a pointer, or a slice for a block that may be repeated)
//	hcl:"map"               a block whose attributes are free names:  env { A = "1" }
//	hcl:"any"               a block of any shape, checked by whoever owns it (a driver's config)
//	hcl:"-"                 not for users: set by the server
//	change:"in_place"       what a changed value does to running work: in_place, reload or replace
//	doc:"…"                 one sentence for the reference
//
// A field without an hcl tag is an attribute. Records that are stored are immutable: whoever changes one copies it
// first.
package structs
