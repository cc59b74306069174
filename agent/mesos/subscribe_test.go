package mesos

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/agent/mesos/wire"
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
