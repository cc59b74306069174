package structs

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// Ids are 32 lower-case hex digits of random data, those of nodes with "-S" among them; commands show and take unique prefixes of at least four.
type (
	NodeID      string // of a node, kept in its data folder
	AllocID     string // of an allocation
	FrameworkID string // of a framework; the built-in ones are named after their job type
	OfferID     string // of an offer; soft state of the leader

	ReservationID string // of a reservation of room for a role

	VolumeID string // of a volume: the Raft index that made it, and its place in that entry, in hex
)

// NewID returns a new random id from the system's source, which does not fail.
func NewID() string {
	var raw [16]byte
	rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}

// NewNodeID returns a new random id of a node: 22 digits, "-S" and 8 digits. Tools for Mesos take what is behind the dash for a short name of the
// agent: mesos-dns makes it a part of names, whose labels have 63 characters.
func NewNodeID() NodeID {
	id := NewID()
	return NodeID(id[:22] + "-S" + id[22:30])
}

// IDDigits are what ids are made of.
const IDDigits = "0123456789abcdef-S"

// MayBeID reports whether s may be an id, or the beginning of one that commands take.
func MayBeID(s string) bool { return len(s) >= 4 && len(s) <= 32 && strings.Trim(s, IDDigits) == "" }

// Short returns the first eight digits of an id, as tables show it.
func Short[T ~string](id T) string {
	if len(id) > 8 {
		return string(id[:8])
	}
	return string(id)
}

// ValidName reports whether s may name a job, group, task, node, datacenter or custom resource: 1 to 128 of letters,
// digits, '-', '_' and '.', the first one a letter or digit. So a name is safe as one element of a path.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 128 {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.'):
		default:
			return false
		}
	}
	return true
}
