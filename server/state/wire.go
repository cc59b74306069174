package state

import (
	"fmt"
	"reflect"

	"github.com/proffer/proffer/client/msgpack"
	"github.com/proffer/proffer/structs"
)

// A server that does not lead passes commands on to the one that does, and gets answers back, in these forms.

// DecodeEnvelope reads what EncodeEnvelope wrote. An error is of kind Invalid.
func DecodeEnvelope(raw []byte) (Envelope, error) {
	entry, err := decodeEntry(append(AppendHeader(nil, 0), raw...))
	if err == nil && len(entry.Envelopes) != 1 {
		err = fmt.Errorf("%d envelopes", len(entry.Envelopes))
	}
	if err != nil {
		return Envelope{}, structs.Errorf(structs.Invalid, "command", "it cannot be read: %w", err)
	}
	return entry.Envelopes[0], nil
}

// EncodeAnswer encodes the answer of a command.
func EncodeAnswer(answer any) ([]byte, error) {
	if answer == nil || reflect.ValueOf(answer).IsNil() {
		return nil, nil
	}
	return msgpack.Append(nil, answer)
}

// DecodeAnswer reads the answer of cmd.
func DecodeAnswer(cmd Command, raw []byte) (any, error) {
	answer := kinds[cmd.Kind()].answer()
	if len(raw) == 0 {
		return answer, nil
	}
	if err := msgpack.Decode(raw, answer); err != nil {
		return nil, structs.Errorf(structs.Internal, cmd.Kind(), "its answer cannot be read: %w", err)
	}
	return answer, nil
}
