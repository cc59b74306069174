package state

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// EncodedBytes is how many bytes a value takes in an entry.
func EncodedBytes(v any) (int, error) {
	to := bodies.Get().(*[]byte)
	defer bodies.Put(to)
	raw, err := msgpack.Append((*to)[:0], v)
	*to = raw
	return len(raw), err
}

// kinds makes an empty command and, when it has one that is remembered, an empty answer of each kind.
var kinds = map[string]struct {
	command func() Command
	answer  func() any
}{}

func register[C any, A any, P interface {
	*C
	Command
}]() {
	name := P(new(C)).Kind()
	if _, twice := kinds[name]; twice {
		panic("state: two commands are called " + name)
	}
	kinds[name] = struct {
		command func() Command
		answer  func() any
	}{func() Command { return P(new(C)) }, func() any { return new(A) }}
}

func init() {
	register[Initialize, Receipt]()
	register[SetFeatureLevel, Receipt]()
	register[SetGeneration, Receipt]()
	register[RegisterNode, Registered]()
	register[SetNodeStatus, Receipt]()
	register[SetLease, Receipt]()
	register[LoseAllocs, Receipt]()
	register[SetEligibility, Receipt]()
	register[SetDrain, Receipt]()
	register[SetMaintenance, Receipt]()
	register[BeginMaintenance, Receipt]()
	register[RemoveNode, NodeRemoved]()
	register[SubmitJob, Receipt]()
	register[StopJob, Receipt]()
	register[ScaleJob, Receipt]()
	register[RestartJob, Receipt]()
	register[SetJobStatus, Receipt]()
	register[Place, Placed]()
	register[Observe, Observed]()
	register[StopAlloc, Receipt]()
	register[RestartAlloc, Receipt]()
	register[PutRole, Receipt]()
	register[PutRoles, Receipt]()
	register[DeleteRole, Receipt]()
	register[PutFramework, Receipt]()
	register[SetHoarding, Receipt]()
	register[Collect, Collected]()
}

// An encoded entry is
//
//	byte 1: the format
//	8 bytes, big endian: the time
//	envelopes, each: kind, key, actor, command in msgpack, each with its length before it as a uvarint
//
// Envelopes are encoded by whoever proposes and joined by the group commit without looking inside.
const (
	entryFormat = 1
	entryHeader = 9
)

// EncodeEnvelope returns e as AppendEntry takes it. An error is of kind Invalid.
func EncodeEnvelope(e Envelope) ([]byte, error) {
	if len(e.Key) > MaxKey {
		return nil, structs.Errorf(structs.Invalid, "idempotency key", "%d bytes are more than %d", len(e.Key), MaxKey)
	}
	to := bodies.Get().(*[]byte)
	defer bodies.Put(to)
	kind := e.Command.Kind()
	body, err := msgpack.Append((*to)[:0], e.Command)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, kind, "the command cannot be encoded: %w", err)
	}
	*to = body
	out := make([]byte, 0, len(kind)+len(e.Key)+len(e.Actor)+len(body)+8)
	out = appendPart(out, kind)
	out = appendPart(out, e.Key)
	out = appendPart(out, e.Actor)
	return appendPart(out, body), nil
}

// bodies are memory to encode commands into.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

func appendPart[T string | []byte](to []byte, part T) []byte {
	return append(binary.AppendUvarint(to, uint64(len(part))), part...)
}

// AppendHeader begins an encoded entry; encoded envelopes are appended to it.
func AppendHeader(to []byte, now structs.Time) []byte {
	return binary.BigEndian.AppendUint64(append(to, entryFormat), uint64(now))
}

// decodeEntry reads an encoded entry. It fails on what this binary does not know, which must stop the state machine: a server that skips an
// entry would have another state than its peers.
func decodeEntry(raw []byte) (*Entry, error) {
	if len(raw) < entryHeader || raw[0] != entryFormat {
		return nil, fmt.Errorf("an entry of an unknown format (%d bytes)", len(raw))
	}
	e := &Entry{Time: structs.Time(binary.BigEndian.Uint64(raw[1:]))}
	rest := raw[entryHeader:]
	for len(rest) > 0 {
		var parts [4][]byte
		for i := range parts {
			n, size := binary.Uvarint(rest)
			if size <= 0 || n > uint64(len(rest)-size) {
				return nil, fmt.Errorf("envelope %d is cut off", len(e.Envelopes))
			}
			parts[i], rest = rest[size:size+int(n)], rest[size+int(n):]
		}
		kind, known := kinds[string(parts[0])]
		if !known {
			return nil, fmt.Errorf("unknown command %q: this server is older than the region", parts[0])
		}
		command := kind.command()
		if err := msgpack.Decode(parts[3], command); err != nil {
			return nil, fmt.Errorf("command %q: %w", parts[0], err)
		}
		e.Envelopes = append(e.Envelopes, Envelope{Key: string(parts[1]), Actor: string(parts[2]), Command: command})
	}
	return e, nil
}
