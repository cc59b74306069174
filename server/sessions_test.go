package server

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// deafNode is the stream of a node that takes the welcome and nothing after it.
type deafNode struct {
	id     structs.NodeID
	closed chan struct{}
}

func (d *deafNode) Send(v any) error {
	if _, ok := v.(*session.Welcome); ok {
		return nil
	}
	<-d.closed
	return io.ErrClosedPipe
}

func (d *deafNode) Recv(into any) error {
	if hello, ok := into.(*session.Hello); ok {
		*hello = session.Hello{Version: session.Version, Node: &structs.Node{ID: d.id}}
		return nil
	}
	<-d.closed
	return io.EOF
}

func (d *deafNode) Close() error {
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}

func deaf(t *testing.T, s *Server, id structs.NodeID, number uint64) *nodeSession {
	conn, _, err := session.Accept(context.Background(), &deafNode{id, make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Welcome(&session.Welcome{}); err != nil {
		t.Fatal(err)
	}
	conn.Send(&session.FromServer{Renewed: &session.Renewed{}}) // which never arrives
	return &nodeSession{server: s, node: id, name: string(id), number: number, conn: conn}
}

// A server that stops does not wait a second for each node that takes nothing.
func TestSessionsAreClosedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{}
		for i := range 100 {
			id := structs.NodeID(fmt.Sprint("node", i))
			if _, refused := s.sessions.put(deaf(t, s, id, 1)); refused != nil {
				t.Fatal(refused)
			}
		}
		began := time.Now()
		s.sessions.closeAll(structs.Errorf(structs.Unavailable, "server", "it stops"))
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		late := deaf(t, s, "late", 1)
		if _, refused := s.sessions.put(late); refused == nil || refused.Kind != structs.Unavailable {
			t.Errorf("a session after the end: %v", refused)
		}
		late.conn.Close(nil)
	})
}

// The same for nodes that lose their lease together.
func TestSessionsWithoutALeaseAreClosedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{config: Config{Lease: 15 * time.Second}}
		s.ctx, s.stop = context.WithCancel(context.Background())
		s.stop() // so that no leader is asked
		var batch []renewal
		for i := range 100 {
			batch = append(batch, renewal{deaf(t, s, structs.NodeID(fmt.Sprint("node", i)), 1), 1, nil})
		}
		began := time.Now()
		newRenewals(s).answer(batch, nil, s.ctx.Err())
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// Of two sessions of one node the newer one stays, in whichever order they get there.
func TestTheNewerSessionStays(t *testing.T) {
	s := &Server{}
	one, two, three := &nodeSession{server: s, node: "n", number: 1}, &nodeSession{server: s, node: "n", number: 2}, &nodeSession{server: s, node: "n", number: 3}
	if old, refused := s.sessions.put(two); old != nil || refused != nil {
		t.Errorf("the first to get there: %v, %v", old, refused)
	}
	if _, refused := s.sessions.put(one); refused == nil || refused.Kind != structs.Conflict {
		t.Errorf("an older one: %v", refused)
	}
	if old, refused := s.sessions.put(three); old != two || refused != nil {
		t.Errorf("a newer one: %v, %v", old, refused)
	}
	s.sessions.drop(two) // its end does not end the newer one
	if s.sessions.open["n"] != three {
		t.Error("the newer session is gone")
	}
}
