package network

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/proffer/proffer/structs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAddressesOfASubnet(t *testing.T) {
	p := newPool(netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("fd00::/64"))
	var all []string
	for i := range 5 {
		v4, v6, err := p.take(structs.AllocID(fmt.Sprint(i)))
		must(t, err)
		all = append(all, v4.String()+" "+v6.String())
	}
	if got := strings.Join(all, ", "); got != "10.0.0.2 fd00::2, 10.0.0.3 fd00::3, 10.0.0.4 fd00::4, 10.0.0.5 fd00::5, 10.0.0.6 fd00::6" {
		t.Error(got)
	}
	if _, _, err := p.take("x"); structs.KindOf(err) != structs.Exhausted {
		t.Errorf("%v", err)
	}
	p.free(netip.MustParseAddr("10.0.0.3"))
	if v4, _, err := p.take("x"); err != nil || v4.String() != "10.0.0.3" {
		t.Errorf("%v, %v", v4, err)
	}
	for _, a := range []string{"10.0.0.0", "10.0.0.1", "10.0.0.7", "10.0.1.1"} {
		if p.hold(netip.MustParseAddr(a), "x") {
			t.Errorf("%s may be had", a)
		}
	}
}

// A resolver on the node's loopback is of no use elsewhere; what the group says wins, each part by itself.
func TestResolvConf(t *testing.T) {
	before := resolvers
	defer func() { resolvers = before }()
	first, second := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	must(t, os.WriteFile(first, []byte("# x\nnameserver 127.0.0.53\nsearch local\noptions edns0\n"), 0o644))
	must(t, os.WriteFile(second, []byte("nameserver 192.0.2.1\nnameserver 2001:db8::1\n"), 0o644))
	resolvers = []string{first, second}
	for want, got := range map[string]string{
		"nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch local\noptions edns0\n": resolv(nil, true),
		"nameserver 127.0.0.53\nsearch local\noptions edns0\n":                        resolv(nil, false),
		"nameserver 192.0.2.9\nsearch x y\noptions edns0\n":                           resolv(&structs.DNS{Servers: []string{"192.0.2.9"}, Searches: []string{"x", "y"}}, true),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	said := dnsOf(types.DNS{Nameservers: []string{"10.0.0.53", "no address", "10.0.0.54\nsearch evil"}, Domain: "pods", Options: []string{"ndots:2", "a b"}})
	r := &record{Mode: "cni/a", membership: membership{}, Further: []*membership{{Name: "b", DNS: said}, {Name: "c", DNS: dnsOf(types.DNS{Nameservers: []string{"10.0.0.55"}})}}}
	for want, got := range map[string]string{
		"nameserver 10.0.0.53\nsearch pods\noptions ndots:2\n":  resolv(r.names(nil), true),
		"nameserver 10.0.0.53\nsearch mine\noptions ndots:2\n":  resolv(r.names(&structs.DNS{Searches: []string{"mine"}}), true),
		"nameserver 192.0.2.9\nsearch local\noptions edns0\n":   resolv(r.names(&structs.DNS{Servers: []string{"192.0.2.9"}}), true),
		"nameserver 10.0.0.55\n":                                resolv((&record{Further: r.Further[1:]}).names(nil), true),
		"nameserver 127.0.0.53\nsearch local\noptions edns0\n ": resolv((&record{}).names(nil), false) + " ",
	} {
		if got != want {
			t.Errorf("with what plugins say it is %q, want %q", got, want)
		}
	}
	if d := dnsOf(types.DNS{Domain: "alone"}); d != nil {
		t.Errorf("without a server: %+v", d)
	}
	if got := hosts("web", []string{"172.30.64.2", "fd00::2"}); got != "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n172.30.64.2\tweb\nfd00::2\tweb\n" {
		t.Errorf("%q", got)
	}
}

// Names in the kernel have 15 characters, and those of two bridges differ.
func TestLinkNames(t *testing.T) {
	a, b := linkName("proffer0", "a"), linkName("proffer1", "a")
	if len(a) != 15 || a == b || !strings.HasPrefix(a, linkPrefix("proffer0")) || strings.HasPrefix(b, linkPrefix("proffer0")) {
		t.Errorf("%s %s", a, b)
	}
}
