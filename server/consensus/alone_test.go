package consensus

import (
	"testing"

	"github.com/proffer/proffer/structs"
)

// The only server of a region is not removed and hands over to nobody, and says so.
func TestTheOnlyServerStays(t *testing.T) {
	bubble(t, 1, nil, func(t *testing.T, c *cluster) {
		l := c.leader()
		peers, err := l.node.Peers()
		if err != nil || len(peers) != 1 {
			t.Fatalf("peers %v, %v", peers, err)
		}
		if err := l.node.RemovePeer(t.Context(), peers[0].ID); structs.KindOf(err) != structs.Conflict {
			t.Errorf("remove: %v", err)
		}
		if err := l.node.Transfer(t.Context(), ""); structs.KindOf(err) != structs.Conflict {
			t.Errorf("transfer: %v", err)
		}
		if err := l.node.Transfer(t.Context(), peers[0].ID); err != nil {
			t.Errorf("transfer to itself: %v", err)
		}
	})
}
