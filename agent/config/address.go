package config

import (
	"bytes"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"text/template"

	sockaddr "github.com/hashicorp/go-sockaddr"
	sockaddrtemplate "github.com/hashicorp/go-sockaddr/template"

	"github.com/proffer/proffer/structs"
)

// resolve returns the IP address that s, an address or a go-sockaddr template, stands for. Of several the first IPv4 address
// is taken: the library may put an IPv6 address of a private network first, which others often cannot reach.
func resolve(s string) (netip.Addr, error) {
	text := s
	if strings.Contains(s, "{{") {
		interfaces, err := sockaddr.GetAllInterfaces()
		if err != nil {
			return netip.Addr{}, structs.Errorf(structs.Invalid, "", "the addresses of this machine cannot be read: %w", err)
		}
		t, err := template.New("address").Option("missingkey=error").
			Funcs(sockaddrtemplate.SourceFuncs).Funcs(sockaddrtemplate.SortFuncs).
			Funcs(sockaddrtemplate.FilterFuncs).Funcs(sockaddrtemplate.HelperFuncs).
			Funcs(template.FuncMap{
				"GetPrivateIP":   sockaddr.GetPrivateIPs, // all of them, for the choice below
				"GetPublicIP":    sockaddr.GetPublicIPs,
				"GetInterfaceIP": sockaddr.GetInterfaceIPs,
			}).Parse(s)
		if err != nil {
			return netip.Addr{}, structs.Errorf(structs.Invalid, "", "%q is not a template: %s", s, strings.TrimPrefix(err.Error(), "template: "))
		}
		var out bytes.Buffer
		if err := t.Execute(&out, interfaces); err != nil {
			return netip.Addr{}, structs.Errorf(structs.Invalid, "", "the template %q fails: %s", s, strings.TrimPrefix(err.Error(), "template: "))
		}
		text = strings.TrimSpace(out.String())
		if text == "" {
			return netip.Addr{}, structs.Errorf(structs.Invalid, "", "the template %q gives no address on this machine", s)
		}
	}
	var first netip.Addr
	for one := range strings.FieldsSeq(text) {
		a, err := netip.ParseAddr(one)
		if err != nil {
			if text != s {
				return netip.Addr{}, structs.Errorf(structs.Invalid, "", "the template %q gives %q, which is not an IP address", s, one)
			}
			return netip.Addr{}, structs.Errorf(structs.Invalid, "", "%q is not an IP address", s).
				Advise("such as 10.0.0.5, or a template such as {{ GetPrivateIP }}")
		}
		if a = a.Unmap(); a.Is4() {
			return a, nil
		}
		if !first.IsValid() {
			first = a
		}
	}
	if !first.IsValid() {
		return netip.Addr{}, structs.Errorf(structs.Invalid, "", "it is empty")
	}
	return first, nil
}

// resolvePort is resolve for address or address:port.
func resolvePort(s string, port int) (string, netip.Addr, error) {
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil && !strings.Contains(p, "}") {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return "", netip.Addr{}, structs.Errorf(structs.Invalid, "", "%q has no port from 1 to 65535", s)
		}
		host, port = h, n
	}
	a, err := resolve(strings.Trim(host, "[]"))
	if err != nil {
		return "", a, err
	}
	return net.JoinHostPort(a.String(), strconv.Itoa(port)), a, nil
}

// ownAddress returns the address that others most likely reach this machine by: the first private IPv4 address, or else the
// first other IPv4, or else IPv6 address that is neither loopback nor link-local.
func ownAddress() (netip.Addr, error) {
	for _, t := range []string{`{{ GetPrivateInterfaces | include "type" "ipv4" | join "address" " " }}`, "{{ GetPrivateIPs }}", "{{ GetPublicIPs }}"} {
		if a, err := resolve(t); err == nil {
			return a, nil
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, structs.Errorf(structs.Invalid, "", "the addresses of this machine cannot be read: %w", err)
	}
	for _, x := range addresses {
		if prefix, err := netip.ParsePrefix(x.String()); err == nil {
			if a := prefix.Addr().Unmap(); a.IsGlobalUnicast() {
				return a, nil
			}
		}
	}
	return netip.Addr{}, structs.Errorf(structs.Invalid, "", "this machine has no address that others could reach").Advise("set advertise")
}
