// Package grpc makes unary calls of gRPC over the HTTP/2 of the standard library. Who calls encodes the messages.
package grpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// Status is the answer of a server that is not the message that was asked for.
type Status struct {
	Code    int // https://grpc.io/docs/guides/status-codes/
	Message string
}

// Codes that callers tell apart.
const (
	InvalidArgument    = 3
	NotFound           = 5
	AlreadyExists      = 6
	ResourceExhausted  = 8
	FailedPrecondition = 9
	OutOfRange         = 11
	Unimplemented      = 12
)

func (s *Status) Error() string { return fmt.Sprintf("gRPC status %d: %s", s.Code, s.Message) }

// Code returns the code of err, 0 when it is none of a server.
func Code(err error) int {
	var s *Status
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}

// Call sends one message to a method, such as /grpc.health.v1.Health/Check, of a server whose URL has no path, and returns the answer,
// of at most limit bytes. The client speaks HTTP/2 to it. What the server says against it is a *Status.
func Call(ctx context.Context, client *http.Client, server, method string, message []byte, limit int64) ([]byte, error) {
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...) // 0: not compressed
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+method, bytes.NewReader(frame))
	if err != nil {
		return nil, err
	}
	r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"proffer"}}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d of HTTP", answer.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, limit+6)) // to its end, for the trailer
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit+5 {
		return nil, fmt.Errorf("the answer has more than %d bytes", limit)
	}
	said := answer.Trailer
	if said.Get("Grpc-Status") == "" {
		said = answer.Header
	}
	code, err := strconv.Atoi(said.Get("Grpc-Status"))
	if err != nil {
		return nil, fmt.Errorf("gRPC status %q", said.Get("Grpc-Status"))
	}
	if code != 0 {
		text := said.Get("Grpc-Message")
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		return nil, &Status{code, text}
	}
	if len(raw) < 5 || raw[0] != 0 || int(binary.BigEndian.Uint32(raw[1:])) != len(raw)-5 {
		return nil, errors.New("the answer cannot be read")
	}
	return raw[5:], nil
}
