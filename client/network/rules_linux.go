package network

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// family is what the rules know of an address family.
type family struct {
	proto  byte
	subnet netip.Prefix
	offset uint32 // of the source address in the header; the destination follows
	size   uint32
	second uint32 // register behind an address in register 1
	third  uint32
	any    netip.Addr // of a port that is mapped on all addresses
}

func (n *Networks) families() []family {
	all := []family{{unix.NFPROTO_IPV4, n.opts.Subnet.Masked(), 12, 4, unix.NFT_REG32_01, unix.NFT_REG32_02, netip.IPv4Unspecified()}}
	if n.opts.Subnet6.IsValid() {
		all = append(all, family{unix.NFPROTO_IPV6, n.opts.Subnet6.Masked(), 8, 16, unix.NFT_REG32_04, unix.NFT_REG32_05, netip.IPv6Unspecified()})
	}
	return all
}

// mapping is a port of the node that leads to one of a task.
type mapping struct {
	host  netip.Addr // unspecified: every address of the node
	proto byte
	port  uint16
	to    netip.AddrPort
}

// mappings are those of the given records, sorted, each once. Where two records claim a port the first one has it: the region never
// gives it twice.
func (n *Networks) mappings(records []*record) (out []mapping) {
	loop, _ := netip.ParseAddr(n.opts.Loop)
	seen := make(map[mapping]bool)
	add := func(m mapping) {
		key := m
		key.to = netip.AddrPort{}
		if !seen[key] {
			seen[key] = true
			out = append(out, m)
		}
	}
	for _, r := range records {
		for _, p := range r.Ports {
			if p.Network != "" { // its plugins see to it
				continue
			}
			inside := uint16(p.Port)
			if p.To != 0 {
				inside = uint16(p.To)
			}
			host, err := netip.ParseAddr(p.Host)
			if err != nil {
				host = netip.IPv4Unspecified() // not said: all
			}
			host = host.Unmap()
			for _, proto := range protocols(p.Protocol) {
				v4 := mapping{host, proto, uint16(p.Port), netip.AddrPortFrom(r.V4, inside)}
				v6 := mapping{host, proto, uint16(p.Port), netip.AddrPortFrom(r.V6, inside)}
				switch {
				case host.IsUnspecified():
					v4.host, v6.host = netip.IPv4Unspecified(), netip.IPv6Unspecified()
					add(v4)
					if r.V6.IsValid() {
						add(v6)
					}
				case host.Is4():
					add(v4)
				case r.V6.IsValid():
					add(v6)
				}
				if host == loop {
					v4.host, v6.host = netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()
					add(v4)
					if r.V6.IsValid() {
						add(v6)
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b mapping) int {
		if c := a.host.Compare(b.host); c != 0 {
			return c
		}
		return (int(a.proto)<<16 | int(a.port)) - (int(b.proto)<<16 | int(b.port))
	})
	return out
}

func protocols(name string) []byte {
	switch name {
	case structs.TCP:
		return []byte{unix.IPPROTO_TCP}
	case structs.UDP:
		return []byte{unix.IPPROTO_UDP}
	}
	return []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP}
}

// elementsAtOnce bounds one message to the kernel, whose attributes end at 64 KiB.
const elementsAtOnce = 256

// pad gives a value the size of whole registers.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func port(n uint16) []byte { return pad(binary.BigEndian.AppendUint16(nil, n)) }

// rules puts the table in the place of the one that is there, at once: a packet sees the old rules or the new ones. The mappings are
// all that there are.
func (n *Networks) rules(all []mapping) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: n.opts.Bridge, Family: nftables.TableFamilyINet}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, at nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: kind, Hooknum: hook, Priority: nftables.ChainPriorityRef(at)})
	}
	guard := chain("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, *nftables.ChainPriorityRaw)
	in := chain("in", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest)
	local := chain("local", nftables.ChainTypeNAT, nftables.ChainHookOutput, *nftables.ChainPriorityNATDest)
	out := chain("out", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	pass := chain("pass", nftables.ChainTypeFilter, nftables.ChainHookForward, *nftables.ChainPriorityFilter)
	add := func(chain *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: slices.Concat(parts...)})
	}
	// With a reset, which is no message about an error: the kernel bounds how many of those it sends, and needs them for redirects.
	refuse := func(parts ...[]expr.Any) {
		tcp := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}}
		other := []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
		add(pass, append(slices.Clone(parts), tcp)...)
		add(pass, append(slices.Clone(parts), other)...)
	}
	from, to, notTo := link(expr.MetaKeyIIFNAME, n.opts.Bridge, expr.CmpOpEq), link(expr.MetaKeyOIFNAME, n.opts.Bridge, expr.CmpOpEq),
		link(expr.MetaKeyOIFNAME, n.opts.Bridge, expr.CmpOpNeq)

	loopback6 := family{proto: unix.NFPROTO_IPV6, subnet: netip.PrefixFrom(netip.IPv6Loopback(), 128), offset: 8, size: 16}
	loopback := family{proto: unix.NFPROTO_IPV4, subnet: netip.MustParsePrefix("127.0.0.0/8"), offset: 12, size: 4}
	add(guard, from, loopback.within(true), verdict(expr.VerdictDrop))
	add(guard, from, loopback6.within(true), verdict(expr.VerdictDrop))
	// The replies of a connection have its status, too.
	add(pass, from, to, status(mapped), verdict(expr.VerdictAccept))
	refuse(from, to)
	add(pass, to, state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	add(pass, to, status(mapped), verdict(expr.VerdictAccept))
	refuse(to)
	masquerade := []expr.Any{&expr.Masq{}}
	add(out, to, loopback.within(false), masquerade)
	add(out, to, loopback6.within(false), masquerade)
	for _, f := range n.families() {
		add(out, f.within(false), notTo, masquerade)
		add(out, f.within(false), to, status(mapped), masquerade)

		exact, wild, err := f.sets(c, table, all)
		if err != nil {
			return err
		}
		for _, at := range []*nftables.Chain{in, local} {
			add(at, f.only(), f.key(true), f.redirect(exact))
			add(at, f.only(), toNode(), f.key(false), f.redirect(wild))
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace the nft table %s: %w", n.opts.Bridge, err)
	}
	return nil
}

// unrule removes the table.
func (n *Networks) unrule() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: n.opts.Bridge, Family: nftables.TableFamilyINet}
	c.AddTable(table)
	c.DelTable(table)
	return c.Flush()
}

// sets makes the maps of a family: by address, protocol and port, and for every address of the node.
func (f family) sets(c *nftables.Conn, table *nftables.Table, all []mapping) (exact, wild *nftables.Set, err error) {
	kind, name := nftables.TypeIPAddr, "ports4"
	if f.proto == unix.NFPROTO_IPV6 {
		kind, name = nftables.TypeIP6Addr, "ports6"
	}
	data := nftables.MustConcatSetType(kind, nftables.TypeInetService)
	exact = &nftables.Set{Table: table, Name: name, IsMap: true, Concatenation: true, DataType: data,
		KeyType: nftables.MustConcatSetType(kind, nftables.TypeInetProto, nftables.TypeInetService)}
	wild = &nftables.Set{Table: table, Name: name + "any", IsMap: true, Concatenation: true, DataType: data,
		KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)}
	elements := make(map[*nftables.Set][]nftables.SetElement)
	for _, m := range all {
		if m.host.Is4() != f.any.Is4() {
			continue
		}
		key := append(pad([]byte{m.proto}), port(m.port)...)
		e := nftables.SetElement{Key: key, Val: append(m.to.Addr().AsSlice(), port(m.to.Port())...)}
		if m.host == f.any {
			elements[wild] = append(elements[wild], e)
			continue
		}
		e.Key = append(m.host.AsSlice(), key...)
		elements[exact] = append(elements[exact], e)
	}
	for _, s := range []*nftables.Set{exact, wild} {
		if err := c.AddSet(s, nil); err != nil {
			return nil, nil, err
		}
		for part := range slices.Chunk(elements[s], elementsAtOnce) {
			if err := c.SetAddElements(s, part); err != nil {
				return nil, nil, err
			}
		}
	}
	return exact, wild, nil
}

// only is true for packets of the family.
func (f family) only() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.proto}}}
}

// within is true for packets from the family's subnet, or to it.
func (f family) within(to bool) []expr.Any {
	offset := f.offset
	if to {
		offset += f.size
	}
	mask := make([]byte, f.size)
	for i := range f.subnet.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(f.only(), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.size, Mask: mask, Xor: make([]byte, f.size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.subnet.Addr().AsSlice()})
}

// key loads what a map is asked with: the packet's destination when address, its protocol and port.
func (f family) key(address bool) []expr.Any {
	proto, at := uint32(unix.NFT_REG32_00), uint32(unix.NFT_REG32_01)
	var out []expr.Any
	if address {
		proto, at = f.second, f.third
		out = append(out, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: f.offset + f.size, Len: f.size})
	}
	return append(out, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: proto},
		&expr.Payload{DestRegister: at, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
}

// redirect sends a packet on to what the map has for the key.
func (f family) redirect(s *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: s.Name, SetID: s.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.proto), RegAddrMin: 1, RegProtoMin: f.second},
	}
}

// toNode is true for packets to an address of the node.
func toNode() []expr.Any {
	return []expr.Any{&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)}}
}

// link compares the name of a link.
func link(key expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: pad16(name)}}
}

func pad16(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

// mapped is the status of a connection whose destination was changed (IPS_DST_NAT).
const mapped = 1 << 5

func status(bits uint32) []expr.Any { return bitsOf(expr.CtKeySTATUS, bits) }
func state(bits uint32) []expr.Any  { return bitsOf(expr.CtKeySTATE, bits) }

// bitsOf is true when a connection has one of the bits.
func bitsOf(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }
