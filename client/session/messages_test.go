package session

import (
	"testing"

	"github.com/proffer/proffer/client/msgpack/twin"
)

// TestMessagesAreAsTheyWere: nodes and servers of which one does not use package msgpack yet understand each other.
func TestMessagesAreAsTheyWere(t *testing.T) {
	twin.Check(t, 1, 60, Hello{}, Welcome{}, FromServer{}, Desired{}, Renewed{}, FromNode{}, Observed{}, Renew{})
}
