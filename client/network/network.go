// Package network gives allocations a network of their own: a namespace, an address on the node's bridge or of a CNI network,
// mapped ports, the files that a task looks names up in. What is given is found again by an agent that was killed, and taken
// back by it. See DESIGN.md.
package network

import (
	"crypto/sha256"
	"encoding/base32"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Options are the node's configuration.
type Options struct {
	Dir     string       // absolute; what is kept of each allocation is in a folder below it
	Bridge  string       // name of the bridge and of the nft table; at most 15 characters
	Subnet  netip.Prefix // IPv4 addresses of the bridge; the first one is the node's
	Subnet6 netip.Prefix // IPv6 likewise, a /64 or larger; not valid: one of fd00::/8 that is chosen once
	NoIPv6  bool
	Loop    string // the node's address whose mapped ports are those of 127.0.0.1, too; empty: none

	CNIConfig  string   // folder of *.conflist
	CNIPlugins []string // folders of plugins

	Log *slog.Logger // nil: discards
}

// Defaults of Options.
const (
	DefaultBridge  = "proffer0"
	DefaultSubnet  = "172.30.64.0/20"
	DefaultConfig  = "/etc/cni/net.d"
	DefaultPlugins = "/opt/cni/bin:/usr/lib/cni"
)

// Need is what an allocation asks for. The same allocation always asks for the same.
type Need struct {
	Alloc structs.AllocID
	Job   string
	Group string
	// Sandbox is the path of a namespace that somebody else made and keeps, such as that of an engine's container; it becomes the
	// allocation's. Empty: one is made.
	Sandbox string
	Ask     *structs.Network
	Ports   []structs.AssignedPort
}

// Given is what an allocation has.
type Given struct {
	Netns     string   // host path of the namespace; empty: the host's
	Addresses []string // in the first network, IPv4 first, without loopback
	Joined    []structs.JoinedNetwork
	Hostname  string            // empty: the node's
	Files     map[string]string // what belongs over files of a task, by path there: host paths
}

var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// linkPrefix is what the names of the host's links of a bridge begin with, so that those of another agent are not touched.
func linkPrefix(bridge string) string {
	sum := sha256.Sum256([]byte(bridge))
	return "pf" + letters.EncodeToString(sum[:])[:3]
}

// linkName is the host's end of an allocation's pair: 15 characters, the most that the kernel takes.
func linkName(bridge string, alloc structs.AllocID) string {
	sum := sha256.Sum256([]byte(alloc))
	return linkPrefix(bridge) + letters.EncodeToString(sum[:])[:10]
}

// cniName returns the name of the CNI network of a mode, or nothing.
func cniName(mode string) (string, bool) { return strings.CutPrefix(mode, structs.NetworkCNI) }
