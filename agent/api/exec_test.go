package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"github.com/proffer/proffer/structs"
)

// A connection that breaks once the command was sent must not have it sent again.
func TestExecIsSentOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var execs atomic.Int32
	closed := make(chan struct{}) // the first connection
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			first := execs.Load() == 0
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					if _, err := http.ReadRequest(in); err != nil {
						break
					}
					if n := execs.Add(1); n > 1 {
						return // without an answer
					}
					body := `{"kind":"not_found","message":"there is none"}`
					fmt.Fprintf(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				}
				if first {
					close(closed)
				}
			}()
		}
	}()
	c, err := New(Config{Address: l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := &ExecRequest{Alloc: "aaaa", Task: "t", Command: []string{"true"}}
	idle := make(chan struct{}, 1)
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{PutIdleConn: func(error) { idle <- struct{}{} }})
	if _, err := c.Exec(ctx, req); structs.KindOf(err) != structs.NotFound {
		t.Fatal(err)
	}
	select { // until a connection can be used again, if they are
	case <-idle:
	case <-closed:
	}
	if _, err := c.Exec(t.Context(), req); err == nil {
		t.Error("it succeeded")
	}
	if n := execs.Load() - 1; n != 1 {
		t.Errorf("it was sent %d times", n)
	}
}
