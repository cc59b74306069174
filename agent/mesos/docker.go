package mesos

//lint:file-ignore ST1005 what clients and people know of Mesos begins with a capital

import (
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/structs"
)

// Containers of the type DOCKER: what of them the docker driver has settings for. The driver of the node says what it does not allow.

// docker fills in what a container of the Docker engine is.
func (b *building) docker(c *wire.ContainerInfo, config map[string]any) error {
	d := c.Docker
	if driver := wire.TextOf(d.VolumeDriver); driver != "" {
		config["volume_driver"] = literal(driver)
	}
	mode := wire.DockerHost
	if d.Network != nil {
		mode = *d.Network
	}
	name := ""
	mappings := make([]wire.PortMapping, 0, len(d.PortMappings))
	for _, m := range d.PortMappings {
		mappings = append(mappings, wire.PortMapping(m))
	}
	if len(c.Networks) > 0 {
		var err error
		if name, err = networkName(&c.Networks[0]); err != nil {
			return err
		}
		if err := engineAddresses(&c.Networks[0], mode, config); err != nil {
			return err
		}
		mappings = append(mappings, c.Networks[0].PortMappings...)
	}
	switch mode {
	case wire.DockerHost, wire.DockerNone, wire.DockerBridge:
		config["network_mode"] = strings.ToLower(mode.String())
		if name != "" && name != strings.ToLower(mode.String()) {
			return fmt.Errorf("'network_infos' names the network '%s', which is for 'DockerInfo.network' USER", name)
		}
	case wire.DockerUser:
		if name == "" {
			return errors.New("'DockerInfo.network' USER needs the name of a network of the engine, in 'network_infos'")
		}
		config["network_mode"] = name
	default:
		return errors.New("'DockerInfo.network' is not known: HOST, BRIDGE, NONE or USER")
	}
	if err := b.publish(mappings, mode, config); err != nil {
		return err
	}
	if len(c.Networks) > 1 {
		if err := engineNetworks(c.Networks[1:], mode, config); err != nil {
			return err
		}
	}
	if isTrue(d.ForcePull) {
		config["force_pull"] = true
	}
	if isTrue(d.Privileged) {
		config["privileged"] = true
	}
	return b.parameters(d.Parameters, config)
}

// engineNetworks has a container in networks of the engine beside its first one, which config has.
func engineNetworks(all []wire.NetworkInfo, mode wire.DockerNetwork, config map[string]any) error {
	if mode != wire.DockerBridge && mode != wire.DockerUser {
		return fmt.Errorf("%d 'network_infos' need 'DockerInfo.network' BRIDGE or USER, and it is %s", len(all)+1, mode)
	}
	if len(all) > structs.MaxNetworks-1 {
		return fmt.Errorf("%d 'network_infos' are more than %d", len(all)+1, structs.MaxNetworks)
	}
	seen := map[any]bool{config["network_mode"]: true}
	var networks []any
	for i := range all {
		name, err := networkName(&all[i])
		switch {
		case err != nil:
			return err
		case name == "":
			return errors.New("one of several 'network_infos' has no name: name a network of the engine")
		case seen[name]:
			return errJoinedTwice(name)
		case len(all[i].PortMappings) > 0:
			return errors.New("'port_mappings' of a network beside the first one are not served: an engine chooses the network that ports lead into; put them into the first one")
		}
		seen[name] = true
		x := map[string]any{"name": name}
		if err := engineAddresses(&all[i], wire.DockerUser, x); err != nil {
			return err
		}
		networks = append(networks, x)
	}
	config["network"] = networks
	return nil
}

// engineAddresses asks the engine for addresses. What else a network may be told, the engine has nothing for.
func engineAddresses(info *wire.NetworkInfo, mode wire.DockerNetwork, config map[string]any) error {
	if len(info.Groups) > 0 || info.Labels != nil && len(info.Labels.Labels) > 0 {
		return errors.New("'groups' and 'labels' of 'network_infos' are for the plugins of a CNI network, and an engine has none: leave them out, or use a container of the type MESOS")
	}
	all, err := wished(info)
	if err != nil {
		return err
	}
	for _, text := range all {
		key := "ipv4_address"
		if structs.AddressIn(text).Is6() {
			key = "ipv6_address"
		}
		switch {
		case mode != wire.DockerUser:
			return fmt.Errorf("an address can be asked for with 'DockerInfo.network' USER, and it is %s", mode)
		case strings.Contains(text, "/"):
			return fmt.Errorf("'%.100s' of 'ip_addresses': an engine knows the length of its network: leave that out", text)
		case config[key] != nil:
			return errors.New("'ip_addresses' asks for two addresses of one protocol, and an engine gives one")
		}
		config[key] = text
	}
	return nil
}

// publish maps ports of the node into the container.
func (b *building) publish(all []wire.PortMapping, mode wire.DockerNetwork, config map[string]any) error {
	if len(all) == 0 {
		return nil
	}
	if mode != wire.DockerBridge && mode != wire.DockerUser {
		return fmt.Errorf("'port_mappings' need 'DockerInfo.network' BRIDGE or USER, and it is %s", mode)
	}
	if b.group == nil {
		return errors.New("'port_mappings' are for the container of a task, and not of an executor")
	}
	mappings, err := mappingsOf(nil, all, "")
	if err != nil {
		return err
	}
	if rest := through(b.ports, mappings); len(rest) > 0 {
		return notHeld(rest[0])
	}
	var labels []any
	for _, m := range mappings {
		label := portLabel(m.from)
		if m.protocol != structs.UDP {
			labels = append(labels, label)
		}
		if m.protocol == structs.UDP || m.protocol == "" && slices.ContainsFunc(all, func(x wire.PortMapping) bool {
			return int(x.HostPort) == m.from && strings.EqualFold(wire.TextOf(x.Protocol), structs.UDP)
		}) {
			labels = append(labels, label+"/udp")
		}
	}
	config["ports"] = labels
	return nil
}

// Options of "docker run" that are settings of the docker driver, by what those take: one text, yes or no, a list that each one adds to,
// or a name with a value.
var (
	parameterTexts = map[string]string{"cpuset-cpus": "cpuset_cpus", "ipc": "ipc_mode", "pid": "pid_mode", "runtime": "runtime", "userns": "userns_mode",
		"workdir": "work_dir", "hostname": "hostname", "log-driver": "log_driver",
		"volume-driver": "volume_driver", "ip": "ipv4_address", "ip6": "ipv6_address"}
	parameterFlags = map[string]string{"init": "init", "read-only": "read_only", "privileged": "privileged"}
	parameterLists = map[string]string{"add-host": "extra_hosts", "cap-add": "cap_add", "cap-drop": "cap_drop", "device": "devices", "dns": "dns",
		"dns-search": "dns_search", "group-add": "group_add", "net-alias": "network_aliases", "network-alias": "network_aliases",
		"security-opt": "security_opt", "volume": "volumes"}
	parameterMaps = map[string]string{"label": "labels", "log-opt": "log_options", "sysctl": "sysctls", "ulimit": "ulimit"}
)

// parameters are options of "docker run".
func (b *building) parameters(all []wire.Parameter, config map[string]any) error {
	for _, p := range all {
		key, value := strings.TrimLeft(p.Key, "-"), literal(p.Value)
		name, value2, pair := strings.Cut(value, "=")
		switch {
		case parameterTexts[key] != "":
			config[parameterTexts[key]] = value
		case parameterFlags[key] != "":
			yes, err := strconv.ParseBool(p.Value)
			if err != nil && p.Value != "" {
				return fmt.Errorf("'DockerInfo.parameters': %s is true or false, and not '%.100s'", key, p.Value)
			}
			config[parameterFlags[key]] = yes || p.Value == ""
		case parameterLists[key] != "":
			list, _ := config[parameterLists[key]].([]any)
			config[parameterLists[key]] = append(list, value)
		case parameterMaps[key] != "":
			m, _ := config[parameterMaps[key]].(map[string]any)
			if m == nil {
				m = map[string]any{}
			}
			if !pair {
				value2 = ""
			}
			m[name] = value2
			config[parameterMaps[key]] = m
		case key == "tmpfs":
			if err := tmpfs(p.Value, config); err != nil {
				return fmt.Errorf("'DockerInfo.parameters': %s: %w", key, err)
			}
		case key == "shm-size":
			size, err := dockerBytes(p.Value)
			if err != nil {
				return fmt.Errorf("'DockerInfo.parameters': %s: %w", key, err)
			}
			config["shm_size"] = int(size)
		case key == "pids-limit":
			n, err := strconv.Atoi(p.Value)
			if err != nil {
				return fmt.Errorf("'DockerInfo.parameters': %s is a number, and not '%.100s'", key, p.Value)
			}
			config["pids"] = n
		case key == "env":
			if !pair || name == "" {
				return fmt.Errorf("'DockerInfo.parameters': '%.100s' of env is not NAME=VALUE", p.Value)
			}
			if b.task.Env == nil {
				b.task.Env = map[string]string{}
			}
			b.task.Env[name] = value2
		case key == "user":
			b.task.User = p.Value
		default:
			return fmt.Errorf("'DockerInfo.parameters': '%.100s' is not served: what is are options of 'docker run' that the docker driver has settings for, and not resources, ports, names and the network", p.Key)
		}
	}
	return nil
}

// tmpfs is "TARGET" or "TARGET:OPTIONS".
func tmpfs(value string, config map[string]any) error {
	target, options, some := strings.Cut(value, ":")
	m := map[string]any{"type": "tmpfs", "target": path.Clean(literal(target))}
	for option := range strings.SplitSeq(options, ",") {
		size, sized := strings.CutPrefix(option, "size=")
		switch {
		case sized:
			n, err := dockerBytes(size)
			if err != nil {
				return err
			}
			m["size"] = int(n)
		case option == "ro":
			m["read_only"] = true
		case some && option != "rw":
			return fmt.Errorf("its option '%.100s' is not served: what is are size, ro and rw", option)
		}
	}
	list, _ := config["mount"].([]any)
	config["mount"] = append(list, m)
	return nil
}

// dockerBytes reads a size as "docker run" does: a number with b, k, m or g behind it.
func dockerBytes(s string) (structs.Bytes, error) {
	shift := 0
	digits := strings.TrimRight(strings.ToLower(s), "b")
	switch {
	case strings.HasSuffix(digits, "k"):
		shift = 10
	case strings.HasSuffix(digits, "m"):
		shift = 20
	case strings.HasSuffix(digits, "g"):
		shift = 30
	}
	if shift > 0 {
		digits = digits[:len(digits)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("'%.100s' is no size, such as 64m", s)
	}
	return structs.Bytes(n) << shift, nil
}
