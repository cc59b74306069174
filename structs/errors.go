package structs

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kind says what class of failure an error is. It crosses RPC and becomes the HTTP status and the exit code.
type Kind string

const (
	NotFound    Kind = "not_found"   // the object does not exist
	Invalid     Kind = "invalid"     // the request can never succeed as it is
	Conflict    Kind = "conflict"    // the object changed, or its state forbids this
	Forbidden   Kind = "forbidden"   // the caller may not do this
	Unavailable Kind = "unavailable" // it did not happen; trying again may help
	Unknown     Kind = "unknown"     // it may have happened; look before trying again without the same key
	Exhausted   Kind = "exhausted"   // a bound is reached (queue, body, quota)
	Internal    Kind = "internal"    // a fault of Proffer
)

// Error is a failure with its kind: the operation, the object it was about, why, and what to do.
type Error struct {
	Kind   Kind   `json:"kind"`
	Op     string `json:"op,omitempty"`     // "submit", "place", "read log"
	Object string `json:"object,omitempty"` // `job "web"`, `node 3f2a…`
	Why    string `json:"message"`          // a clause in lower case, without a full stop
	Do     string `json:"do,omitempty"`     // what helps; may be empty
	Err    error  `json:"-"`                // the cause, for errors.Is; not sent
}

// Error gives `object: op: why (do)`; absent parts are left out.
func (e *Error) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Object, e.Op} {
		if part != "" {
			b.WriteString(part)
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Why)
	if e.Do != "" {
		b.WriteString(" (")
		b.WriteString(e.Do)
		b.WriteString(")")
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of a kind. A %w verb keeps its cause for errors.Is.
func Errorf(kind Kind, object, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Object: object, Why: err.Error(), Err: errors.Unwrap(err)}
}

// Advise sets what to do and returns the same error.
func (e *Error) Advise(format string, args ...any) *Error {
	e.Do = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the kind of err: that of the outermost Error in its chain, Unknown for a context that ended (whoever
// waited does not know whether it happened), Internal for anything else. It returns "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Unknown
	}
	return Internal
}

// AsError returns err as an *Error, wrapping it as Internal (or Unknown, see KindOf) when it is none. Nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: KindOf(err), Why: err.Error(), Err: err}
}

// Problems collects several faults of one input, so that a user sees all of them at once.
type Problems []*Error

// Add appends an Invalid error about a place in the input ("group.api.task.web.kill_timeout").
func (p *Problems) Add(object, format string, args ...any) *Error {
	e := Errorf(Invalid, object, format, args...)
	*p = append(*p, e)
	return e
}

// Err returns nil when there are no problems, the problem when there is one, and one Invalid error that lists all
// otherwise.
func (p Problems) Err() error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return p[0]
	}
	lines := make([]string, len(p))
	for i, e := range p {
		lines[i] = e.Error()
	}
	return &Error{Kind: Invalid, Why: fmt.Sprintf("%d problems:\n  %s", len(p), strings.Join(lines, "\n  "))}
}
