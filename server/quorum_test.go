package server_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/proffer/proffer/structs"
)

// A leader that does not know yet that it was cut off grants no lease: the others may have given the node up already.
func TestALeaseNeedsTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegion(t, 3, 1)
		leader := r.leader()
		n := r.nodes[0]
		r.eventually("the node is ready", func() bool {
			got := leader.server.Store().Snapshot().Node(n.id)
			return got != nil && got.Status == structs.NodeReady
		})
		type ask struct {
			Node    structs.NodeID
			Session uint64
		}
		renew := func() (refused int, err error) {
			asks := []ask{{n.id, leader.server.Store().Snapshot().Node(n.id).Session}}
			var reply struct{ Refused []ask }
			err = leader.pool.Call(context.Background(), leader.port.Addr(), "Server.Renew", &asks, &reply)
			return len(reply.Refused), err
		}
		if refused, err := renew(); refused > 0 || err != nil {
			t.Fatalf("with a quorum: %d refused, %v", refused, err)
		}
		r.mesh.Cut([]string{leader.ip}, slices.DeleteFunc(r.ip(), func(ip string) bool { return ip == leader.ip }))
		if !leader.server.Raft().Leader().Self {
			t.Fatal("it knows already")
		}
		if refused, err := renew(); structs.KindOf(err) != structs.Unavailable {
			t.Errorf("without one: %d refused, %v", refused, err)
		}
		r.mesh.Heal()
	})
}
