package server

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/proffer/proffer/client/gossip"
	"github.com/proffer/proffer/structs"
)

type members []gossip.Member

func (m members) Members() []gossip.Member                 { return m }
func (m members) Subscribe() (<-chan gossip.Event, func()) { return nil, func() {} }
func (m members) Update(func(*gossip.Member)) error        { return nil }

// Raft is told the address that gossip has, bound to the id, and nothing where gossip knows nothing that is of use.
func TestAddresses(t *testing.T) {
	server := func(id, region string, role gossip.Role, status gossip.Status) gossip.Member {
		return gossip.Member{Name: id, ID: id, Region: region, Role: role, Status: status, Addr: "10.0.0." + id + ":5052"}
	}
	a := Addresses{Region: "eu", Self: "1", Gossip: members{server("1", "eu", gossip.RoleServer, gossip.Alive),
		server("2", "eu", gossip.RoleServer, gossip.Alive), server("3", "eu", gossip.RoleServer, gossip.Failed),
		server("4", "eu", gossip.RoleServer, gossip.Removed), server("8", "eu", gossip.RoleServer, gossip.Left), server("5", "eu", gossip.RoleClient, gossip.Alive),
		server("6", "us", gossip.RoleServer, gossip.Alive)}}
	for id, want := range map[string]string{"1": "", "2": "2@10.0.0.2:5052", "3": "3@10.0.0.3:5052", "4": "", "5": "", "6": "", "7": "", "8": "8@10.0.0.8:5052"} {
		got, err := a.ServerAddr(raft.ServerID(id))
		if string(got) != want || (err == nil) != (want != "") || err != nil && structs.KindOf(err) != structs.NotFound {
			t.Errorf("%s: %q, %v", id, got, err)
		}
	}
}
