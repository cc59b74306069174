package network

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/containernetworking/cni/libcni"

	"github.com/proffer/proffer/structs"
)

// asked is what an allocation asks the plugins of a CNI network for. They read it in three places: the capability ips, args.cni by the
// conventions of CNI, and args."org.apache.mesos", which those have that were made for Mesos.
type asked struct {
	Addresses []string          `json:"addresses,omitempty"`
	Groups    []string          `json:"groups,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// capabilities is for the plugins that declare the capability; those of which none does get nothing of it.
func (a asked) capabilities() map[string]any {
	out := make(map[string]any)
	if len(a.Addresses) > 0 {
		out["ips"] = a.Addresses
	}
	return out
}

// missing is an address that was asked for and is not among those given; empty: none.
func (a asked) missing(given []string) string {
	for _, text := range a.Addresses {
		if want := structs.AddressIn(text); !slices.ContainsFunc(given, func(g string) bool { return structs.AddressIn(g) == want }) {
			return want.String()
		}
	}
	return ""
}

type labelArg struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func (a asked) labels() (out []labelArg) {
	for _, key := range slices.Sorted(maps.Keys(a.Labels)) {
		out = append(out, labelArg{key, a.Labels[key]})
	}
	return out
}

// networkInfo is what plugins for Mesos are told, in its JSON.
func (a asked) networkInfo(name string, leading []structs.AssignedPort) map[string]any {
	out := map[string]any{"name": name}
	if len(a.Groups) > 0 {
		out["groups"] = a.Groups
	}
	if labels := a.labels(); len(labels) > 0 {
		out["labels"] = map[string]any{"labels": labels}
	}
	var addresses, ports []map[string]any
	for _, text := range a.Addresses {
		address, protocol := structs.AddressIn(text), "IPv4"
		if address.Is6() {
			protocol = "IPv6"
		}
		addresses = append(addresses, map[string]any{"protocol": protocol, "ip_address": address.String()})
	}
	if addresses != nil {
		out["ip_addresses"] = addresses
	}
	for _, p := range leading {
		if p.To == 0 {
			continue
		}
		m := map[string]any{"host_port": p.Port, "container_port": p.To}
		if p.Protocol != "" {
			m["protocol"] = p.Protocol
		}
		ports = append(ports, m)
	}
	if ports != nil {
		out["port_mappings"] = ports
	}
	return out
}

// tell returns the network with what the allocation asks for in the configuration of each plugin, beside the args that are there. leading are the
// ports that lead into it.
func (a asked) tell(list *libcni.NetworkConfigList, leading []structs.AssignedPort) (*libcni.NetworkConfigList, error) {
	told := *list
	told.Plugins = make([]*libcni.PluginConfig, len(list.Plugins))
	for i, p := range list.Plugins {
		var has struct {
			Args map[string]any `json:"args"`
		}
		if err := json.Unmarshal(p.Bytes, &has); err != nil {
			return nil, fmt.Errorf("the args of its plugin %s are no object: %w", p.Network.Type, err)
		}
		args := maps.Clone(has.Args)
		if args == nil {
			args = make(map[string]any)
		}
		args["org.apache.mesos"] = map[string]any{"network_info": a.networkInfo(list.Name, leading)}
		cni, _ := args["cni"].(map[string]any)
		cni = maps.Clone(cni)
		if cni == nil {
			cni = make(map[string]any)
		}
		if len(a.Addresses) > 0 {
			cni["ips"] = a.Addresses
		}
		if labels := a.labels(); len(labels) > 0 {
			cni["labels"] = labels
		}
		if len(cni) > 0 {
			args["cni"] = cni
		}
		plugin, err := libcni.InjectConf(p, map[string]any{"args": args})
		if err != nil {
			return nil, err
		}
		told.Plugins[i] = plugin
	}
	return &told, nil
}
