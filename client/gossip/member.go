package gossip

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/proffer/proffer/structs"
)

// Role is what a member is. An agent that is both says RoleServer.
type Role byte

const (
	RoleClient Role = 'c'
	RoleServer Role = 's'
)

func (r Role) String() string {
	if r == RoleServer {
		return "server"
	}
	return "client"
}

// Status is what the pool thinks of a member.
type Status string

const (
	Alive   Status = "alive"
	Failed  Status = "failed"  // it stopped answering
	Left    Status = "left"    // it said goodbye, and may come back
	Removed Status = "removed" // an operator said that it does not come back
)

// Member is what a member says of itself, and what the pool thinks of it.
type Member struct {
	Name       string // unique in the region
	ID         string // 32 hex digits; the Raft id of a server
	Role       Role
	Region     string
	Datacenter string
	Addr       string // host:port of its cluster port
	FeatureMin int    // feature levels of a server, 0 to 255
	FeatureMax int
	Expect     int    // bootstrap_expect of a server; 0 when it has none or has bootstrapped
	Version    string // of Proffer, for people; cut to maxVersion bytes
	Status     Status

	splits byte // log2 of the number of segments that a server wants
}

// Meta is what a member tells in each message about itself, at most maxMeta bytes:
//
//	version role run(4) id(16) feature_min feature_max expect len region len datacenter len version splits
//
// run is a number drawn at each start. It tells the lives of a member of one name apart, so that the news that one has
// left does not hit the next.
const (
	metaVersion = 1
	maxMeta     = 128
	metaFixed   = 1 + 1 + 4 + 16 + 3
	maxVersion  = 16
)

func (m *Member) meta(run uint32) ([]byte, error) {
	id, err := hex.DecodeString(m.ID)
	if err != nil || len(id) != 16 {
		return nil, structs.Errorf(structs.Invalid, "member "+m.Name, "its id %q is not 32 hex digits", m.ID)
	}
	if m.Role != RoleClient && m.Role != RoleServer {
		return nil, structs.Errorf(structs.Invalid, "member "+m.Name, "has no role")
	}
	for _, n := range []int{m.FeatureMin, m.FeatureMax, m.Expect} {
		if n < 0 || n > 255 {
			return nil, structs.Errorf(structs.Invalid, "member "+m.Name, "feature levels and bootstrap_expect are 0 to 255, not %d", n)
		}
	}
	version := m.Version[:min(len(m.Version), maxVersion)]
	if size := metaFixed + 4 + len(version) + len(m.Region) + len(m.Datacenter); size > maxMeta {
		return nil, structs.Errorf(structs.Invalid, "member "+m.Name, "the names of region and datacenter have %d bytes, more than %d",
			len(m.Region)+len(m.Datacenter), maxMeta-metaFixed-4-len(version)).Advise("use shorter names")
	}
	raw := append(make([]byte, 0, maxMeta), metaVersion, byte(m.Role))
	raw = binary.BigEndian.AppendUint32(raw, run)
	raw = append(raw, id...)
	raw = append(raw, byte(m.FeatureMin), byte(m.FeatureMax), byte(m.Expect), byte(len(m.Region)))
	raw = append(raw, m.Region...)
	raw = append(raw, byte(len(m.Datacenter)))
	raw = append(raw, m.Datacenter...)
	raw = append(raw, byte(len(version)))
	return append(append(raw, version...), m.splits), nil
}

// parseMeta reads what meta wrote. Bytes after the end are of a newer version and ignored.
func parseMeta(raw []byte) (m Member, run uint32, ok bool) {
	if len(raw) < metaFixed+2 || raw[0] != metaVersion {
		return m, 0, false
	}
	m.Role = Role(raw[1])
	run = binary.BigEndian.Uint32(raw[2:])
	m.ID = hex.EncodeToString(raw[6:22])
	m.FeatureMin, m.FeatureMax, m.Expect = int(raw[22]), int(raw[23]), int(raw[24])
	rest := raw[25:]
	text := func() (string, bool) {
		if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
			return "", false
		}
		n := 1 + int(rest[0])
		s := string(rest[1:n])
		rest = rest[n:]
		return s, true
	}
	if m.Region, ok = text(); !ok {
		return m, 0, false
	}
	if m.Datacenter, ok = text(); !ok {
		return m, 0, false
	}
	var more bool
	if m.Version, more = text(); more && len(rest) > 0 {
		m.splits = min(rest[0], maxSplits)
	}
	return m, run, true
}

// record is what is kept of a member: small, because every agent keeps one of every other. The meta is shared with
// memberlist and never changed.
type record struct {
	meta    []byte
	addr    netip.AddrPort
	status  Status
	since   uint32 // when the status changed; seconds of the Unix clock
	unheard bool   // not since the last move
}

func (r *record) run() uint32 {
	_, run, _ := parseMeta(r.meta)
	return run
}

func (r *record) member(name string) Member {
	m, _, _ := parseMeta(r.meta)
	m.Name, m.Addr, m.Status = name, r.addr.String(), r.status
	return m
}

func (r *record) role() Role { return Role(r.meta[1]) }

func (r *record) set(s Status) { r.status, r.since = s, uint32(time.Now().Unix()) }

func splitsOf(meta []byte) byte {
	m, _, _ := parseMeta(meta)
	return m.splits
}

func addrOf(n *memberlist.Node) netip.AddrPort {
	ip, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(ip.Unmap(), n.Port)
}

func addressOf(n *memberlist.Node) string {
	return net.JoinHostPort(n.Addr.String(), strconv.Itoa(int(n.Port)))
}
