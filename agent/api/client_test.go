package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/structs"
)

// script answers requests one after the other; the last answer is repeated.
type script struct {
	keys    []string
	queries []string
	answers []any // error: no answer; string: a body; int with a kind in kinds: refused
	at      []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := s.answers[min(len(s.keys), len(s.answers)-1)]
	s.keys = append(s.keys, r.Header.Get("Idempotency-Key"))
	s.queries = append(s.queries, r.URL.RawQuery)
	s.at = append(s.at, time.Now())
	status, body := 200, "{}"
	switch a := answer.(type) {
	case error:
		if e := (*structs.Error)(nil); errors.As(a, &e) {
			status, body = 400, fmt.Sprintf(`{"kind":%q,"message":%q}`, e.Kind, e.Why)
			break
		}
		return nil, a
	case string:
		body = a
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}, Request: r, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func scripted(t *testing.T, answers ...any) (*Client, *script) {
	s := &script{answers: answers}
	c, err := New(Config{Transport: s, Token: "t", Actor: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

var (
	unavailable = structs.Errorf(structs.Unavailable, "", "no leader")
	unknown     = structs.Errorf(structs.Unknown, "", "no answer in time")
	reset       = &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	refused     = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
)

func TestTriesThatDidNothingDoNotHideOneThatMayHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := scripted(t, unavailable, reset, unavailable)
		if _, err := c.StopJob(t.Context(), "web", false); structs.KindOf(err) != structs.Unknown || !strings.Contains(err.Error(), "reset") {
			t.Errorf("a write: %v", err)
		}
		c, _ = scripted(t, reset, refused)
		if _, err := c.StopJob(t.Context(), "web", false); structs.KindOf(err) != structs.Unknown {
			t.Errorf("a write to an agent that ended: %v", err)
		}
		c, _ = scripted(t, reset, unavailable)
		if _, _, err := c.Jobs(t.Context(), nil); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("a read: %v", err)
		}
	})
}

// An agent that dies with a call in its hands, and whose port is closed then, may have done what was asked.
func TestACallThatWasSentIsNotRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") // the connection is used again
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		l.Close()
	}()
	if _, err := c.StopJob(t.Context(), "first", true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.StopJob(t.Context(), "second", true); structs.KindOf(err) != structs.Unknown {
		t.Errorf("it was sent, and the error is %v", err)
	}
	<-ended
	if _, err := c.StopJob(t.Context(), "third", true); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("it was not sent, and the error is %v", err)
	}
}

func TestWritesAreTriedAgainWithTheSameKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, unavailable, unknown, reset, io.ErrUnexpectedEOF, `{"index":7}`)
		done, err := c.StopJob(t.Context(), "web", false)
		if err != nil || done.Index != 7 || len(s.keys) != 5 {
			t.Fatalf("%+v %v after %d tries", done, err, len(s.keys))
		}
		if len(slices.Compact(slices.Clone(s.keys))) != 1 || len(s.keys[0]) != 32 {
			t.Errorf("keys: %v", s.keys)
		}
		for i := 1; i < len(s.at); i++ {
			if pause := s.at[i].Sub(s.at[i-1]); pause <= 0 || pause > 2*lastPause {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		if _, err := c.StopJob(t.Context(), "web", false); err != nil || s.keys[5] == s.keys[0] {
			t.Error("another write has the same key")
		}
		if _, err := c.StopJob(WithKey(t.Context(), "mine"), "web", false); err != nil || s.keys[6] != "mine" {
			t.Errorf("the key is %q", s.keys[6])
		}
	})
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, unavailable)
		begun := time.Now()
		_, _, err := c.Jobs(t.Context(), nil)
		if took := time.Since(begun); structs.KindOf(err) != structs.Unavailable || took > patience || took < patience/2 {
			t.Errorf("%v after %s", err, took)
		}
		if len(s.keys) < 5 || s.keys[0] != "" {
			t.Errorf("%d tries, key %q", len(s.keys), s.keys[0])
		}
	})
}

func TestWhatIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, e := range []error{refused, structs.Errorf(structs.Conflict, "", "no"), structs.Errorf(structs.Invalid, "", "no"), structs.Errorf(structs.Exhausted, "", "no"), structs.Errorf(structs.Internal, "", "no")} {
			c, s := scripted(t, e)
			_, err := c.RestartJob(t.Context(), "web")
			if err == nil || len(s.keys) != 1 {
				t.Errorf("%v: %d tries: %v", e, len(s.keys), err)
			}
		}
		signal, tries := scripted(t, unavailable, unknown)
		if _, err := signal.SignalAllocation(t.Context(), "aaaa", "", "SIGHUP"); structs.KindOf(err) != structs.Unknown || len(tries.keys) != 2 {
			t.Errorf("a signal: %v after %d tries", err, len(tries.keys))
		}
		c, s := scripted(t, unavailable)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := c.RestartJob(ctx, "web"); structs.KindOf(err) != structs.Unavailable || time.Since(begun) > time.Second {
			t.Errorf("%v after %s and %d tries", err, time.Since(begun), len(s.keys))
		}
	})
}

func TestErrorsSayWhatToDo(t *testing.T) {
	c, _ := scripted(t, refused)
	_, _, err := c.Jobs(t.Context(), nil)
	if structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "PROFFER_ADDR") {
		t.Error(err)
	}
	c, _ = scripted(t, "<html>not ours</html>")
	if _, _, err := c.Jobs(t.Context(), nil); structs.KindOf(err) != structs.Internal || !strings.Contains(err.Error(), "Proffer agent") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Jobs(ctx, nil); structs.KindOf(err) != structs.Unknown || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, address := range []string{"ftp://x", "http://", "http://x/y", "::"} {
		if _, err := New(Config{Address: address}); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A stream of events that breaks is taken up behind the last whole line.
func TestEventsAreResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, "{\"index\":5}\n{\"index\":6,\"events\":[{\"topic\":\"job\",\"key\":\"a\"}]}\n{\"index\":7,\"ev",
			reset, "{\"index\":6}\n{\"index\":7,\"events\":[{\"topic\":\"job\",\"key\":\"b\"}]}\n")
		enough := errors.New("enough")
		var got []string
		err := c.Events(t.Context(), EventQuery{Job: "web"}, func(e *Events) error {
			for _, event := range e.Events {
				got = append(got, event.Key)
			}
			if e.Index == 7 {
				return enough
			}
			return nil
		})
		if err != nil && err != enough || !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%v %v", got, err)
		}
		if !slices.Equal(s.queries, []string{"job=web", "index=6&job=web", "index=6&job=web"}) {
			t.Error(s.queries)
		}
	})
}

func TestEventsEndWithTheirError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t, "{\"index\":5}\n{\"index\":5,\"error\":{\"kind\":\"exhausted\",\"message\":\"too slow\"}}\n")
		if err := c.Events(t.Context(), EventQuery{}, func(*Events) error { return nil }); structs.KindOf(err) != structs.Exhausted || len(s.keys) != 1 {
			t.Errorf("%v after %d tries", err, len(s.keys))
		}
	})
}

func TestPathsAreEscaped(t *testing.T) {
	var path string
	c, _ := New(Config{Transport: transport(func(r *http.Request) (*http.Response, error) {
		path = r.URL.EscapedPath()
		return nil, refused
	})})
	c.Job(t.Context(), "a/../b?c", nil)
	if path != "/v1/job/a%2F..%2Fb%3Fc" {
		t.Error(path)
	}
	c.Role(t.Context(), "eng/web site", nil)
	if path != "/v1/role/eng/web%20site" {
		t.Error(path)
	}
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
