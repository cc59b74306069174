//go:build unix

package supervisor

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

// A supervisor that is older than its agent, and could not be replaced, does not know how to detach a command: the error says so, and nothing is
// asked of it.
func TestAnOlderSupervisorDetachesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "detach") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan []string, 1)
	go func() {
		var ops []string
		defer func() { asked <- ops }()
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		send := func(v any) {
			frame, _ := encode(v)
			conn.Write(frame)
		}
		if decode(conn, maxRequest, &hello{}) != nil {
			return
		}
		send(hello{Version: Version, PID: os.Getpid()})
		for {
			var r request
			if decode(conn, maxRequest, &r) != nil {
				return
			}
			ops = append(ops, r.Op)
			send(response{ID: r.ID, Features: &exec.Features{Full: true, Commands: true}})
		}
	}()
	c := &Client{opts: Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)}}
	err = c.Detach(t.Context(), "a/t/1", &exec.Detach{Name: "n", Command: exec.Command{Args: []string{"true"}}, LogName: "n"})
	if structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "older than the agent") {
		t.Errorf("the error is %v", err)
	}
	c.Close()
	l.Close()
	if ops := <-asked; len(ops) != 1 || ops[0] != opFeatures {
		t.Errorf("it was asked for %v", ops)
	}
}
