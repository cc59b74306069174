package fingerprint

import (
	"net"
	"slices"
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
