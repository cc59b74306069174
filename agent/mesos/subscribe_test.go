package mesos

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

// wireOf serves one request by tell and returns its connection: what is read from it is the answer as it travels.
func wireOf(t *testing.T, tell func(records)) net.Conn {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tell(records{to: w, rc: http.NewResponseController(w), slow: time.Minute})
	}))
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn
}

// A scheduler that takes nothing of its stream is cut off.
func TestASlowSchedulerIsCutOff(t *testing.T) {
	cut := make(chan error, 1)
	wireOf(t, func(o records) {
		o.slow, o.encoding = 100*time.Millisecond, wire.JSON
		o.begin("x")
		long := &wire.Event{Type: new(wire.EventError), Error: &wire.Error{Message: strings.Repeat("x", 1<<20)}}
		for {
			if err := o.send(long); err != nil {
				cut <- err
				return
			}
		}
	})
	if err := <-cut; !strings.Contains(err.Error(), "timeout") {
		t.Errorf("cut off by %v", err)
	}
}

// Each record in JSON is a chunk of its own, however many are sent at once.
func TestARecordInJSONIsAChunk(t *testing.T) {
	const many = 20
	in := bufio.NewReader(wireOf(t, func(to records) {
		o := &stream{records: to}
		o.encoding = wire.JSON
		o.begin("x")
		var events []server.FrameworkEvent
		for i := range many {
			events = append(events, server.FrameworkEvent{Rescind: structs.OfferID(strings.Repeat("o", 1+i*i*20))})
		}
		if err := o.sendAll(events); err != nil {
			t.Error(err)
		}
	}))
	for line := "-"; strings.TrimSpace(line) != ""; {
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		var size int
		if _, err := fmt.Fscanf(in, "%x\r\n", &size); err != nil {
			t.Fatal(err)
		}
		chunk := make([]byte, size+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			t.Fatal(err)
		}
		inside := bufio.NewReader(strings.NewReader(string(chunk[:size])))
		record, err := wire.ReadRecord(inside)
		if err != nil {
			t.Fatalf("chunk %d is %.100q: %v", i, chunk, err)
		}
		if rest, _ := io.ReadAll(inside); len(rest) > 0 {
			t.Fatalf("chunk %d has after the record %.60q still %.60q", i, record, rest)
		}
	}
}

// Offers that together would make a record larger than clients take are told in several events, in their order.
func TestManyLargeOffersAreSeveralEvents(t *testing.T) {
	const many = 60
	on := &structs.Node{Meta: map[string]string{"long": strings.Repeat("x", 100<<10)}}
	for _, encoding := range []wire.Encoding{wire.JSON, wire.Protobuf} {
		conn := wireOf(t, func(to records) {
			o := &stream{records: to, of: &structs.Framework{}}
			o.encoding = encoding
			o.begin("x")
			var events []server.FrameworkEvent
			for i := range many {
				events = append(events, server.FrameworkEvent{Offer: &server.FrameworkOffer{On: on, Offer: structs.Offer{ID: structs.OfferID(fmt.Sprint(i))}}})
			}
			if err := o.sendAll(events); err != nil {
				t.Error(err)
			}
		})
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(res.Body)
		for next := 0; next < many; {
			record, err := wire.ReadRecord(in)
			if err != nil {
				t.Fatalf("%s: after %d offers: %v", encoding.ContentType(), next, err)
			}
			e := &wire.Event{}
			if err := encoding.Unmarshal(record, e); err != nil {
				t.Fatal(err)
			}
			for _, o := range e.Offers.Offers {
				if o.ID.Value != fmt.Sprint(next) || len(o.Attributes) != 1 {
					t.Fatalf("offer %d is %.200s", next, wire.JSON.Marshal(&o))
				}
				next++
			}
		}
	}
}
