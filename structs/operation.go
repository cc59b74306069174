package structs

import "strings"

// Operation is what became of something that an external framework did with offers and gave an id, such as a reservation. It is kept until
// the framework has acknowledged it.
type Operation struct {
	Framework FrameworkID    `json:"framework"`
	ID        string         `json:"id"` // as the framework calls it, unique among those that are kept
	Node      NodeID         `json:"node"`
	UUID      []byte         `json:"uuid"` // 16 bytes: what is acknowledged
	State     OperationState `json:"state"`
	Message   string         `json:"message,omitempty"`
	// Info is the Offer.Operation as protobuf; of one that is larger than MaxOperationInfo its type and id alone.
	Info  []byte `json:"info,omitempty"`
	Time  Time   `json:"time"`
	Index uint64 `json:"index"` // at which it was decided

	Disk string `json:"disk,omitempty"` // that it makes of a raw one, or makes raw again: it is pending until the storage did so
}

// OperationState is one of the states that Mesos has for operations.
type OperationState string

const (
	OperationPending        OperationState = "pending" // it is being decided, or done
	OperationFinished       OperationState = "finished"
	OperationFailed         OperationState = "failed"      // it was tried, and could not be done
	OperationError          OperationState = "error"       // it was not done, and never will be
	OperationDropped        OperationState = "dropped"     // likewise: its node is gone
	OperationUnreachable    OperationState = "unreachable" // nobody knows it, and its node is not heard of
	OperationGoneByOperator OperationState = "gone_by_operator"
	OperationUnknown        OperationState = "unknown"
)

// MaxOperationInfo bounds Operation.Info, in bytes.
const MaxOperationInfo = 2 << 10

// Key names an operation among those of all frameworks: an id of a framework has no slash.
func (o *Operation) Key() string { return string(o.Framework) + "/" + o.ID }

// ValidOperationID reports whether a framework may call an operation so: 1 to 255 bytes without control characters.
func ValidOperationID(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, isControl)
}
