package network

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/proffer/proffer/structs"
)

// record is what is known of an allocation's network; it is on the disk before anything of it is in the kernel, and goes after
// everything. It need not outlive the machine's power: what it is about does not, either.
type record struct {
	Alloc      structs.AllocID        `json:"alloc"`
	Mode       string                 `json:"mode"`
	V4         netip.Addr             `json:"v4,omitzero"` // of bridge
	V6         netip.Addr             `json:"v6,omitzero"`
	Ports      []structs.AssignedPort `json:"ports,omitempty"`
	Sandbox    bool                   `json:"sandbox,omitempty"` // a driver made the namespace
	Mapped     bool                   `json:"-"`                 // its ports are among the rules
	membership                        // in the CNI network of the mode, when it is one
	// Further are the CNI networks beside that of the mode, in the order in which they are joined. They are left the other way round.
	Further []*membership `json:"further,omitempty"`
}

// membership is an allocation in one CNI network, or on its way in or out.
type membership struct {
	Name   string `json:"name,omitempty"`   // of the network
	Link   string `json:"link,omitempty"`   // in the namespace; empty: the first one
	Joined bool   `json:"joined,omitempty"` // the plugins said so, and were not told to take it back since
	// Addresses is what they answered, Asked what they were asked for.
	Addresses []string `json:"addresses,omitempty"`
	Asked     asked    `json:"asked,omitzero"`
	// DNS is what they said of looking names up; nil: nothing.
	DNS *structs.DNS `json:"dns,omitempty"`
}

func (m *membership) link() string { return cmp.Or(m.Link, inner) }

// joined reports whether the plugins gave what they were asked for. Records of earlier releases say it by addresses alone.
func (m *membership) joined() bool { return m.Joined || len(m.Addresses) > 0 }

// memberships are those in the CNI networks of the record, in the order in which they are joined.
func (r *record) memberships() (all []*membership) {
	if name, ok := cniName(r.Mode); ok {
		r.Name = name
		all = append(all, &r.membership)
	}
	return append(all, r.Further...)
}

// portsOf are those that lead into a CNI network of the record.
func (r *record) portsOf(m *membership) (out []structs.AssignedPort) {
	for _, p := range r.Ports {
		if p.Network == m.Name || p.Network == "" && m == &r.membership {
			out = append(out, p)
		}
	}
	return out
}

// Names in the folder of an allocation.
const (
	recordFile = "record.json"
	nsFile     = "ns"
)

func (n *Networks) folder(alloc structs.AllocID) string {
	return filepath.Join(n.opts.Dir, string(alloc))
}

// write replaces the record as a whole.
func (n *Networks) write(r *record) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return n.replace(r.Alloc, recordFile, raw)
}

// replace writes a file of an allocation's folder, so that a reader sees the old or the new one.
func (n *Networks) replace(alloc structs.AllocID, name string, content []byte) error {
	dir := n.folder(alloc)
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	part := filepath.Join(dir, name+".new")
	if err := os.WriteFile(part, content, 0o644); err != nil {
		return err
	}
	return os.Rename(part, filepath.Join(dir, name))
}

// read returns the record of a folder, nil where there is none that can be read: that was cut off when it was made first, or by the
// end of the machine's power.
func (n *Networks) read(alloc structs.AllocID) *record {
	raw, err := os.ReadFile(filepath.Join(n.folder(alloc), recordFile))
	r := new(record)
	if err != nil || json.Unmarshal(raw, r) != nil || r.Alloc != alloc {
		return nil
	}
	return r
}

// pool hands out the addresses of a subnet, one after the other, so that an address is not used again soon.
type pool struct {
	subnet, subnet6 netip.Prefix
	last            netip.Addr
	used            map[netip.Addr]structs.AllocID
}

func newPool(v4, v6 netip.Prefix) *pool {
	return &pool{subnet: v4.Masked(), subnet6: v6.Masked(), used: make(map[netip.Addr]structs.AllocID)}
}

// gateway is the node's own address on the bridge.
func gateway(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// take returns a free address, and the IPv6 one with the same number, when there is IPv6.
func (p *pool) take(alloc structs.AllocID) (v4, v6 netip.Addr, err error) {
	first := gateway(p.subnet).Next()
	at := p.last.Next()
	if !p.last.IsValid() || !p.usable(at) {
		at = first
	}
	for begin := at; ; {
		if _, taken := p.used[at]; !taken {
			p.last = at
			p.used[at] = alloc
			return at, p.sixth(at), nil
		}
		if at = at.Next(); !p.usable(at) {
			at = first
		}
		if at == begin {
			return v4, v6, structs.Errorf(structs.Exhausted, "bridge", "all addresses of %s are in use", p.subnet).
				Advise("give the node a larger client.network.subnet")
		}
	}
}

// usable reports whether a task may have an address: neither that of the net nor the node's nor the broadcast one.
func (p *pool) usable(a netip.Addr) bool {
	return p.subnet.Contains(a) && p.subnet.Contains(a.Next()) && a != p.subnet.Addr() && a != gateway(p.subnet)
}

// hold notes the address of a record; false: it is another's, or of another subnet.
func (p *pool) hold(a netip.Addr, alloc structs.AllocID) bool {
	if holder, taken := p.used[a]; !p.usable(a) || taken && holder != alloc {
		return false
	}
	p.used[a] = alloc
	return true
}

func (p *pool) free(a netip.Addr) { delete(p.used, a) }

// sixth returns the IPv6 address with the number that a has in its subnet.
func (p *pool) sixth(a netip.Addr) netip.Addr {
	if !p.subnet6.IsValid() {
		return netip.Addr{}
	}
	out, base, of := p.subnet6.Addr().As16(), p.subnet.Addr().As4(), a.As4()
	carry := uint32(of[0])<<24 | uint32(of[1])<<16 | uint32(of[2])<<8 | uint32(of[3])
	carry -= uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	out[12], out[13], out[14], out[15] = byte(carry>>24), byte(carry>>16), byte(carry>>8), byte(carry)
	return netip.AddrFrom16(out)
}
