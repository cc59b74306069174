package agent

import (
	"context"
	"log/slog"

	"github.com/proffer/proffer/client/network"
	"github.com/proffer/proffer/drivers"
)

// sandboxes are the drivers that make network namespaces themselves.
func sandboxes(all []drivers.Driver) map[string]drivers.Sandboxer {
	out := make(map[string]drivers.Sandboxer)
	for _, d := range all {
		if s, ok := d.(drivers.Sandboxer); ok {
			out[d.Name()] = s
		}
	}
	return out
}

// networks makes what gives allocations networks of their own. hosts are the addresses that tasks may use, the first one's mapped ports
// are those of loopback, too.
func (a *Agent) networks(hosts []string, log *slog.Logger) (*network.Networks, error) {
	c := a.config.Client.Network
	v4, v6 := c.Prefixes()
	o := network.Options{Dir: a.sub("network"), Bridge: c.Bridge, Subnet: v4, Subnet6: v6, NoIPv6: c.IPv4Only, CNIConfig: c.CNIConfig,
		CNIPlugins: c.CNIPlugins, Log: log}
	if len(hosts) > 0 {
		o.Loop = hosts[0]
	}
	n, err := network.New(o)
	if err != nil {
		return nil, err
	}
	a.began(func(context.Context) { n.Close() })
	return n, nil
}
