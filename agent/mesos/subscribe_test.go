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

// A scheduler that takes nothing of its stream is cut off.
func TestASlowSchedulerIsCutOff(t *testing.T) {
	cut := make(chan error, 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := &records{to: w, rc: http.NewResponseController(w), slow: 100 * time.Millisecond, encoding: wire.JSON}
		o.begin("x")
		long := &wire.Event{Type: new(wire.EventError), Error: &wire.Error{Message: strings.Repeat("x", 1<<20)}}
		for {
			if err := o.send(long); err != nil {
				cut <- err
				return
			}
		}
	}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := <-cut; !strings.Contains(err.Error(), "timeout") {
		t.Errorf("cut off by %v", err)
	}
}

// Each record in JSON is a chunk of its own, however many are sent at once.
func TestARecordInJSONIsAChunk(t *testing.T) {
	const many = 20
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o := &stream{records: records{to: w, rc: http.NewResponseController(w), slow: time.Minute, encoding: wire.JSON}}
		o.begin("x")
		var events []server.FrameworkEvent
		for i := range many {
			events = append(events, server.FrameworkEvent{Rescind: structs.OfferID(strings.Repeat("o", 1+i*i*20))})
		}
		if err := o.sendAll(events); err != nil {
			t.Error(err)
		}
	}))
	defer s.Close()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	for line := "-"; strings.TrimSpace(line) != ""; {
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
