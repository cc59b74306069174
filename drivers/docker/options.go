package docker

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// options are further fields of the engine's HostConfig, by the engine's names, for what has no setting of its own.
type options struct {
	raw []byte // JSON of them
	// guarded are those that could give a task more of the node than its limits and its root: they need the node's permission.
	guarded []string
}

// harmless are fields that need no permission.
var harmless = []string{"BlkioWeight", "CpusetMems", "DnsOptions", "MemorySwappiness", "StorageOpt"}

// taken are fields that settings, resources or the driver itself decide, with what decides them.
var taken = map[string]string{
	"Binds": "mount", "Mounts": "mount", "Tmpfs": "mount", "VolumesFrom": "mount", "VolumeDriver": "mount", "NetworkMode": "network_mode",
	"PortBindings": "ports", "PublishAllPorts": "ports", "CapAdd": "cap_add", "CapDrop": "cap_drop", "Privileged": "privileged",
	"Devices": "devices", "ReadonlyRootfs": "read_only", "ShmSize": "shm_size", "Sysctls": "sysctls", "Ulimits": "ulimit", "Init": "init",
	"SecurityOpt": "security_opt", "PidMode": "pid_mode", "IpcMode": "ipc_mode", "UsernsMode": "userns_mode", "Runtime": "runtime",
	"Dns": "dns", "DnsSearch": "dns_search", "ExtraHosts": "extra_hosts", "GroupAdd": "group_add", "PidsLimit": "pids", "CpusetCpus": "cpuset_cpus",
	"Memory": "resources", "MemoryReservation": "resources", "MemorySwap": "resources", "NanoCpus": "resources", "CpuShares": "resources",
	"CpuPeriod": "resources", "CpuQuota": "resources", "OomKillDisable": "resources", "CpuRealtimePeriod": "resources", "CpuRealtimeRuntime": "resources",
	"RestartPolicy": "the group's restart block", "AutoRemove": "the driver", "LogConfig": "logs", "ContainerIDFile": "the driver",
	"ConsoleSize": "the driver", "Links": "network_aliases",
}

// fields are the JSON names of HostConfig.
var fields = fieldsOf(reflect.TypeFor[container.HostConfig]())

func fieldsOf(t reflect.Type) (names []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous:
			names = append(names, fieldsOf(f.Type)...)
		case name != "":
			names = append(names, name)
		default:
			names = append(names, f.Name)
		}
	}
	return names
}

// readOptions takes the engine's own names only, letter by letter, and values of the engine's types.
func readOptions(b *schema.Block) *options {
	m := b.Map("options")
	if len(m) == 0 {
		return nil
	}
	o := &options{}
	good := true
	for _, name := range slices.Sorted(maps.Keys(m)) {
		by, isTaken := taken[name]
		switch {
		case !slices.Contains(fields, name):
			good = false
			p := b.Problem("options."+name, "HostConfig of the engine's API has no such field")
			if near := structs.Nearest(name, fields); near != "" {
				p.Advise("did you mean %s?", near)
			}
		case isTaken:
			good = false
			b.Problem("options."+name, "it is decided by %s", by)
		case !slices.Contains(harmless, name):
			o.guarded = append(o.guarded, name)
		}
	}
	if !good {
		return nil
	}
	raw, err := json.Marshal(m)
	o.raw = raw
	if err == nil {
		err = o.apply(&container.HostConfig{})
	}
	if err != nil {
		b.Problem("options", "it is not as the engine's API has it: %w", err)
	}
	return o
}

// apply sets the fields in a HostConfig. A nil o sets none.
func (o *options) apply(to *container.HostConfig) error {
	if o == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(o.raw))
	d.DisallowUnknownFields()
	return d.Decode(to)
}
