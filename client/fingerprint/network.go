package fingerprint

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxAddresses bounds how many addresses of a machine are told.
const maxAddresses = 16

// addresses returns the addresses that tasks may use: those of the interface with the default route first, IPv4 before
// IPv6, loopback only when there is nothing else. Link-local ones are left out.
func addresses() []string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return []string{"127.0.0.1"}
	}
	first := defaultInterface()
	slices.SortStableFunc(interfaces, func(a, b net.Interface) int {
		switch {
		case a.Name == first && b.Name != first:
			return -1
		case b.Name == first && a.Name != first:
			return 1
		}
		return a.Index - b.Index
	})
	var v4, v6 []string
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		all, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range all {
			ip, _, err := net.ParseCIDR(a.String())
			if err != nil || !ip.IsGlobalUnicast() {
				continue
			}
			if ip.To4() != nil {
				v4 = append(v4, ip.String())
			} else {
				v6 = append(v6, ip.String())
			}
		}
	}
	found := append(v4, v6...)
	if len(found) == 0 {
		return []string{"127.0.0.1"}
	}
	return found[:min(len(found), maxAddresses)]
}

// AddressesOf returns the addresses of the machine that are of an interface, when one is named, and within a network, when that is valid:
// IPv4 before IPv6, without link-local ones.
func AddressesOf(name string, within netip.Prefix) []string {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var v4, v6 []string
	for _, i := range interfaces {
		all, err := i.Addrs()
		if err != nil || name != "" && i.Name != name {
			continue
		}
		for _, a := range all {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || p.Addr().IsLinkLocalUnicast() || within.IsValid() && !within.Contains(p.Addr()) {
				continue
			}
			if p.Addr().Is4() {
				v4 = append(v4, p.Addr().String())
			} else {
				v6 = append(v6, p.Addr().String())
			}
		}
	}
	found := append(v4, v6...)
	return found[:min(len(found), maxAddresses)]
}

// noteNetworks replaces what attributes say of the networks that allocations can have of their own.
func noteNetworks(a map[string]string, c Config) {
	for name := range a {
		if strings.HasPrefix(name, "network.") && name != "network.ip" {
			delete(a, name)
		}
	}
	if c.Networks != nil {
		maps.Copy(a, c.Networks())
	}
}
