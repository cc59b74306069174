package structs

import (
	"regexp"
	"testing"
)

// What is behind the dash in the id of a node is short enough for tools that make names of it, and tells nodes apart.
func TestNodeIDs(t *testing.T) {
	shape, seen := regexp.MustCompile(`^[0-9a-f]{22}-S[0-9a-f]{8}$`), map[NodeID]bool{}
	for range 1000 {
		id := NewNodeID()
		if !shape.MatchString(string(id)) || !MayBeID(string(id)) || seen[id] {
			t.Fatalf("%s", id)
		}
		seen[id] = true
	}
}
