package server

import (
	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/client/cluster"
	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/structs"
)

// Addresses tells Raft where the other servers are now. Raft keeps an address of each, which only a leader can change: when
// most servers got new ones while they were down, none could ever be elected. Gossip is a hint, so the connection must
// prove that it reached the server with that id; a server that gossip does not know is looked for where Raft has it.
type Addresses struct {
	Gossip Gossip
	Region string
	Self   string // id of this server, whose own address is not for this to say
}

// ServerAddr returns where the server with this id is, for cluster.Port.RaftLayer.
func (a Addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if string(id) != a.Self {
		for _, m := range a.Gossip.Members() {
			if m.ID == string(id) && m.Role == gossip.RoleServer && m.Region == a.Region && m.Status != gossip.Removed {
				return cluster.RaftAddress(m.ID, m.Addr), nil
			}
		}
	}
	return "", structs.Errorf(structs.NotFound, "server "+string(id), "gossip does not know it")
}
