package mesos

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/mesos/wire"
	"github.com/proffer/proffer/server"
	"github.com/proffer/proffer/structs"
)

var both = []wire.Encoding{wire.JSON, wire.Protobuf}

// sent is a message as it arrives in an encoding.
func sent[T any](t *testing.T, encoding wire.Encoding, message *T) *T {
	t.Helper()
	var out T
	if err := encoding.Unmarshal(encoding.Marshal(message), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

// drawn says what a task is given beside what it runs.
func drawn(l *server.Launch, err error) string {
	if err != nil {
		return "refused: " + err.Error()
	}
	var b strings.Builder
	if n := l.Group.Network; n != nil {
		fmt.Fprintf(&b, "in %s %s", n.Mode, n.Hostname)
		if n.Addresses != nil || n.Groups != nil || n.Labels != nil {
			fmt.Fprintf(&b, "%v %v %v", n.Addresses, n.Groups, n.Labels)
		}
		for _, x := range n.Further {
			fmt.Fprintf(&b, ", %s as %s %v %v %v", x.Name, x.Interface, x.Addresses, x.Groups, x.Labels)
		}
		b.WriteString("; ")
	}
	if x := l.External; x.Executor != "" {
		fmt.Fprintf(&b, "holds %d of %v, lacks %v; ", x.Own.Ports, ports(x.OwnPorts), l.Missing)
	}
	if len(l.Ports) > 0 {
		fmt.Fprintf(&b, "%d ports %v; ", l.Resources.Ports, ports(l.Ports))
	}
	for i, v := range l.Volumes {
		if o := v.Outside; o != nil {
			fmt.Fprintf(&b, "borrows %s of %s, %s %d %s%v %v", o.CSI.External, o.CSI.Plugin, o.Access, o.CSI.Mode, o.CSI.FSType, o.CSI.MountFlags, o.CSI.Context)
			for _, name := range slices.Sorted(maps.Keys(o.CSI.Secrets)) {
				fmt.Fprintf(&b, " %s=%s", name, o.CSI.Secrets[name])
			}
			for _, name := range slices.Sorted(maps.Keys(v.References)) {
				fmt.Fprintf(&b, " %s=%s#%s", name, v.References[name].Variable, v.References[name].Item)
			}
			if v.Own {
				b.WriteString(" own")
			}
			if l.Group.Volumes[i].ReadOnly {
				b.WriteString(" ro")
			}
			b.WriteString("; ")
		}
	}
	for _, t := range l.Group.Tasks {
		config := maps.Clone(t.Config)
		for _, usual := range []string{"command", "args", "entrypoint", "image", "work_dir"} {
			delete(config, usual)
		}
		fmt.Fprintf(&b, "%s %v", t.Driver, config)
		for _, x := range t.Binds {
			fmt.Fprintf(&b, " %s:%s>%s", x.From, x.Source, x.Destination)
			if x.ReadOnly {
				b.WriteString(" ro")
			}
			b.WriteString(string(x.Propagation))
		}
		for _, m := range t.VolumeMounts {
			fmt.Fprintf(&b, " %s>%s", m.Volume, m.Destination)
			if m.ReadOnly {
				b.WriteString(" ro")
			}
		}
		for _, m := range t.ImageMounts {
			fmt.Fprintf(&b, " image:%s>%s", m.Image, m.Destination)
			if m.Writable {
				b.WriteString(" rw")
			}
			if m.ForcePull {
				b.WriteString(" pulled")
			}
			if m.Auth != nil {
				b.WriteString(" in clear")
			}
		}
		for _, f := range t.Tmpfs {
			fmt.Fprintf(&b, " %s=%s", f.Destination, f.Size)
		}
		for _, x := range t.Templates {
			value := x.Secret.Variable + "#" + x.Secret.Item
			for s := range l.External.Sent() {
				if s.Name == x.Secret.Sealed {
					value = "value"
					if s.Sealed.Key != "" || string(s.Sealed.Data) != secret {
						value = "another value"
					}
				}
			}
			fmt.Fprintf(&b, " %s %s %s=%s", x.Destination, x.Perms, x.Secret.Env, value)
			if x.Secret.Mount != "" {
				b.WriteString(" for " + x.Secret.Mount)
			}
		}
		b.WriteString("; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func ports(list []structs.AssignedPort) (out []string) {
	for _, p := range list {
		text := fmt.Sprintf("%s=%d->%d", p.Label, p.Port, p.To)
		if p.Network != "" {
			text += " of " + p.Network
		}
		out = append(out, text)
	}
	return out
}

// stored is a volume that a storage has.
func stored(at string, mode wire.VolumeMode, change func(*wire.CSIStaticProvisioning)) wire.Volume {
	x := &wire.CSIStaticProvisioning{VolumeID: "vol-1", Context: map[string]*string{"folder": new("vol-1")}, Capability: wire.CSICapability{
		Mount: &wire.CSIMount{FSType: new("ext4"), Flags: []string{"noatime"}}, Access: wire.CSIAccessMode{Mode: wire.CSISingleNodeWriter}}}
	if change != nil {
		change(x)
	}
	return wire.Volume{ContainerPath: at, Mode: mode, Source: &wire.VolumeSource{Type: new(wire.SourceCSIVolume), CSI: &wire.CSIVolume{Plugin: "folders", Static: x}}}
}

const secret = "hunter2"

var (
	value = &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte(secret)}}
	cafe  = func() *wire.MesosInfo {
		return &wire.MesosInfo{Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "cafe"}}}
	}
)

func reference(name string, key *string) *wire.Secret {
	return &wire.Secret{Type: new(wire.SecretByReference), Reference: &wire.SecretReference{Name: name, Key: key}}
}

func volumeFrom(at string, s wire.VolumeSource) wire.Volume {
	return wire.Volume{ContainerPath: at, Mode: wire.VolumeRW, Source: &s}
}

func onHost(at, from string, mode wire.VolumeMode) wire.Volume {
	return wire.Volume{ContainerPath: at, HostPath: &from, Mode: mode}
}

func sandbox(at string, kind wire.SandboxPathType, from string) wire.Volume {
	return volumeFrom(at, wire.VolumeSource{Type: new(wire.SourceSandboxPath), SandboxPath: &wire.SandboxPath{Type: &kind, Path: from}})
}

func secretAt(at string, s *wire.Secret) wire.Volume {
	return volumeFrom(at, wire.VolumeSource{Type: new(wire.SourceSecret), Secret: s})
}

func capabilitiesOf(numbers ...wire.LinuxCapability) *wire.CapabilityInfo {
	return &wire.CapabilityInfo{Capabilities: numbers}
}

// What containers of tasks ask for beside what they run, and what becomes of it, in both encodings.
func TestWhatContainersAskFor(t *testing.T) {
	in := func(change func(*wire.ContainerInfo)) *wire.TaskInfo {
		return taskInfo("one", func(t *wire.TaskInfo) {
			t.Resources = append(t.Resources, wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: 31000, End: 31001}}}})
			t.Container = &wire.ContainerInfo{Type: wire.ContainerMesos}
			change(t.Container)
		})
	}
	docker := func(change func(*wire.ContainerInfo, *wire.DockerInfo)) *wire.TaskInfo {
		return in(func(c *wire.ContainerInfo) {
			c.Type, c.Docker = wire.ContainerDocker, &wire.DockerInfo{Image: "cafe"}
			change(c, c.Docker)
		})
	}
	seen := func(all ...wire.Volume) *wire.TaskInfo { return in(func(c *wire.ContainerInfo) { c.Volumes = all }) }
	limited := func(all ...wire.RLimit) *wire.TaskInfo {
		return in(func(c *wire.ContainerInfo) { c.RLimits = &wire.RLimitInfo{RLimits: all} })
	}
	linux := func(l *wire.LinuxInfo) *wire.TaskInfo { return in(func(c *wire.ContainerInfo) { c.Linux = l }) }
	imaged := func(x *wire.TaskInfo) *wire.TaskInfo { x.Container.Mesos = cafe(); return x }
	private := func(with *wire.DockerImage) *wire.Image {
		with.Name = "cafe"
		return &wire.Image{Type: wire.ImageDocker, Docker: with}
	}
	asking := func(with *wire.DockerImage, beside ...wire.Volume) *wire.TaskInfo {
		return in(func(c *wire.ContainerInfo) {
			c.Mesos, c.Volumes = &wire.MesosInfo{Image: private(with)}, beside
		})
	}
	engine := func(x *wire.TaskInfo) *wire.TaskInfo {
		x.Container.Type, x.Container.Docker = wire.ContainerDocker, &wire.DockerInfo{Image: "cafe"}
		return x
	}
	net := func(n ...wire.NetworkInfo) *wire.TaskInfo { return in(func(c *wire.ContainerInfo) { c.Networks = n }) }
	mapped := func(name string, maps ...wire.PortMapping) wire.NetworkInfo {
		return wire.NetworkInfo{Name: wire.Optional(name), PortMappings: maps}
	}
	with := func(key, value string) *wire.TaskInfo {
		return docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters = []wire.Parameter{{Key: key, Value: value}}
		})
	}
	env := func(v wire.Variable) *wire.TaskInfo {
		return taskInfo("one", func(t *wire.TaskInfo) { t.Command.Environment = &wire.Environment{Variables: []wire.Variable{v}} })
	}
	const held = "2 ports [=31000->0 =31001->0]; "
	nofile, core := new(wire.RLimitType(10)), new(wire.RLimitType(2))
	for _, c := range []struct {
		name string
		task *wire.TaskInfo
		want string
	}{
		{"paths of the node", seen(onHost("/data", "/srv/data", wire.VolumeRW), onHost("conf", "/srv/conf/", wire.VolumeRO)),
			held + "exec map[] host:/srv/data>/data host:/srv/conf>/local/conf ro"},
		{"a path of the sandbox in the place of one of the node", seen(onHost("/data", "mine", wire.VolumeRW)), held + "exec map[] own:mine>/data"},
		{"images", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: cafe().Image}, wire.Volume{ContainerPath: "y", Mode: wire.VolumeRW,
			Image: &wire.Image{Type: wire.ImageDocker, Docker: &wire.DockerImage{Name: "models:7"}, Cached: new(false)}}), held + "exec map[] image:cafe>/x image:models:7>/local/y rw pulled"},
		{"an image beside an image", imaged(seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: cafe().Image})), held + "oci map[] image:cafe>/x"},
		{"an image of an engine", engine(seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: cafe().Image})), held + "docker map[network_mode:host] image:cafe>/x"},
		{"images with credentials", asking(&wire.DockerImage{Config: value}, wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: private(&wire.DockerImage{Config: value})},
			wire.Volume{ContainerPath: "y", Mode: wire.VolumeRO, Image: private(&wire.DockerImage{Config: reference("eng/pull", nil)})},
			wire.Volume{ContainerPath: "/z", Mode: wire.VolumeRO, Image: private(&wire.DockerImage{Credential: &wire.Credential{Principal: "me", Secret: new("x")}})}),
			held + "oci map[] image:cafe>/x image:cafe>/local/y image:cafe>/z secrets/image-1 0444 =value secrets/image-2 0444 =value for /x" +
				" secrets/image-3 0444 =eng/pull# for /local/y secrets/image-4 0444 =another value for /z"},
		{"what a storage has", seen(stored("/data", wire.VolumeRW, nil)), held + "borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1]; exec map[] volume-0>/data"},
		{"what a storage has, in two places", imaged(seen(stored("/data", wire.VolumeRO, nil), stored("more", wire.VolumeRW, nil))),
			held + "borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1]; oci map[] volume-0>/data ro volume-0>/local/more"},
		{"what a storage has, for readers", engine(seen(stored("/data", wire.VolumeRO, func(x *wire.CSIStaticProvisioning) { x.Capability.Access.Mode = wire.CSIMultiNodeReaderOnly }))),
			held + "borrows vol-1 of folders, shared 3 ext4[noatime] map[folder:vol-1] ro; docker map[network_mode:host] volume-0>/data ro"},
		{"a device of a storage", seen(stored("/dev/data", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) {
			x.Capability.Mount, x.Capability.Block, x.Capability.Access.Mode = nil, &wire.CSIBlock{}, wire.CSIMultiNodeSingleWriter
		})), held + "borrows vol-1 of folders, single_writer 4 [] map[folder:vol-1]; exec map[] volume-0>/dev/data"},
		{"what a storage has with secrets", imaged(seen(stored("/data", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) {
			x.StageSecrets, x.PublishSecrets = map[string]*wire.Secret{"key": value, "user": reference("db", new("user"))}, map[string]*wire.Secret{"key": reference("eng/web/db", nil)}
		}))), held + "borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1] stage/key=hunter2 publish/key=eng/web/db# stage/user=eng/web/db#user; oci map[] volume-0>/data"},
		{"a path that spreads", seen(volumeFrom("/data", wire.VolumeSource{Type: new(wire.SourceHostPath), HostPath: &wire.HostPath{Path: "/srv", Propagation: &wire.MountPropagation{Mode: new(wire.PropagationBidirectional)}}})),
			held + "exec map[] host:/srv>/databidirectional"},
		{"a path of the sandbox", imaged(seen(sandbox("/data", wire.SandboxSelf, "a/b"))), held + "oci map[] own:a/b>/data"},
		{"secrets as files", imaged(seen(secretAt("/run/s/a", value), secretAt("/run/s/b", reference("db", new("password"))), secretAt("c", reference("eng/web/db", nil)))),
			held + "oci map[] secret:volume-0/a>/run/s/a ro secret:volume-0/b>/run/s/b ro secret:volume-1/c>/local/c ro" +
				" secrets/volume-0/a 0444 =value secrets/volume-0/b 0444 =eng/web/db#password secrets/volume-1/c 0444 =eng/web/db#"},
		{"a secret in the environment", env(wire.Variable{Name: "PASSWORD", Type: new(wire.VariableSecret), Secret: value}), "exec map[] secrets/env-1 0400 PASSWORD=value"},
		{"a volume of the engine", engine(seen(volumeFrom("/data", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: "shop"}}))),
			held + "docker map[mount:[map[read_only:false source:shop target:/data type:volume]] network_mode:host]"},
		{"a volume of a plugin of the engine", engine(seen(volumeFrom("/data", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: "shop", Driver: new("rexray"),
			Options: &wire.Parameters{Parameters: []wire.Parameter{{Key: "size", Value: "5"}, {Key: "type", Value: "${x}"}}}}}))),
			held + "docker map[mount:[map[driver:rexray driver_options:map[size:5 type:$${x}] read_only:false source:shop target:/data type:volume]] network_mode:host]"},
		{"volumes of one driver", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.VolumeDriver, c.Volumes = new("rexray"), []wire.Volume{onHost("/data", "shop", wire.VolumeRO), onHost("/conf", "/srv/conf", wire.VolumeRW)}
		}), held + "docker map[mount:[map[read_only:true source:shop target:/data type:volume]] network_mode:host volume_driver:rexray] host:/srv/conf>/conf"},
		{"an option for a driver of volumes", with("volume-driver", "rexray"), held + "docker map[network_mode:host volume_driver:rexray]"},
		{"limits", limited(wire.RLimit{Type: nofile, Soft: new(uint64(10)), Hard: new(uint64(20))}, wire.RLimit{Type: core}), held + "exec map[rlimits:map[core:unlimited nofile:10:20]]"},
		{"limits of an image", imaged(limited(wire.RLimit{Type: nofile, Soft: new(uint64(10)), Hard: new(^uint64(0))})), held + "oci map[ulimit:map[nofile:10:-1]]"},
		{"capabilities", linux(&wire.LinuxInfo{Effective: capabilitiesOf(1013), Bounding: capabilitiesOf(1013, 1005)}), held + "exec map[cap_add:[net_raw]]"},
		{"capabilities of an image", imaged(linux(&wire.LinuxInfo{Capabilities: capabilitiesOf(1013)})), held + "oci map[cap_add:[net_raw] cap_drop:[all]]"},
		{"no capabilities", imaged(linux(&wire.LinuxInfo{Effective: capabilitiesOf()})), held + "oci map[cap_drop:[all]]"},
		{"bounded capabilities", imaged(linux(&wire.LinuxInfo{Bounding: capabilitiesOf(1000, 1001, 1003, 1004, 1005, 1006, 1007, 1008, 1010, 1031)})), held + "oci map[cap_drop:[sys_chroot]]"},
		{"unconfined", linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Unconfined: new(true)}}), held + "exec map[seccomp:unconfined]"},
		{"shared memory", linux(&wire.LinuxInfo{ShmSize: new(uint32(128)), SharePID: new(false), IPC: new(wire.IpcMode(1))}), held + "exec map[] /dev/shm=128MiB"},
		{"shared memory of an image", imaged(linux(&wire.LinuxInfo{ShmSize: new(uint32(128))})), held + "oci map[shm_size:134217728]"},
		{"what an engine shares", engine(linux(&wire.LinuxInfo{SharePID: new(true), IPC: new(wire.IpcMode(2)), Seccomp: &wire.SeccompInfo{Unconfined: new(true)}})),
			held + "docker map[ipc_mode:host network_mode:host pid_mode:host seccomp:unconfined]"},
		{"a network", in(func(c *wire.ContainerInfo) {
			c.Networks, c.Hostname = []wire.NetworkInfo{mapped("bridge", wire.PortMapping{HostPort: 31001, ContainerPort: 80, Protocol: new("tcp")})}, new("shop")
		}), "in bridge shop; 2 ports [=31000->0 p31001=31001->80]; exec map[]"},
		{"a network of CNI", imaged(net(mapped("lan"))), "in cni/lan ; " + held + "oci map[]"},
		{"what plugins are asked for", net(wire.NetworkInfo{Name: new("lan"), Groups: []string{"shop"}, Labels: &wire.Labels{Labels: []wire.Label{{Key: "app", Value: new("web")}, {Key: "x"}}},
			IPAddresses: []wire.IPAddress{{Protocol: new(wire.IPv4)}, {IPAddress: new("10.1.2.3/24")}, {IPAddress: new("fd00::3"), Protocol: new(wire.IPv6)}}}),
			"in cni/lan [10.1.2.3/24 fd00::3] [shop] map[app:web x:]; " + held + "exec map[]"},
		{"addresses of an engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{{Name: new("shop"), IPAddresses: []wire.IPAddress{{IPAddress: new("10.1.2.3")}, {IPAddress: new("fd00::3")}}}}
		}), held + "docker map[ipv4_address:10.1.2.3 ipv6_address:fd00::3 network_mode:shop]"},
		{"networks in order", net(mapped("z"), mapped(""), wire.NetworkInfo{Name: new("a"), Groups: []string{"shop"}, IPAddresses: []wire.IPAddress{{IPAddress: new("10.1.2.3")}}}, mapped("m")),
			"in cni/z , a as eth1 [10.1.2.3] [shop] map[], m as eth2 [] [] map[]; " + held + "exec map[]"},
		{"ports into two networks", imaged(net(mapped("bridge", wire.PortMapping{HostPort: 31000, ContainerPort: 80}), mapped("a", wire.PortMapping{HostPort: 31001, ContainerPort: 81}))),
			"in bridge , a as eth1 [] [] map[]; 2 ports [p31000=31000->80 p31001=31001->81 of a]; oci map[]"},
		{"networks of an engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{mapped("z", wire.PortMapping{HostPort: 31001, ContainerPort: 80, Protocol: new("tcp")}),
				{Name: new("a"), IPAddresses: []wire.IPAddress{{IPAddress: new("10.1.2.3")}}}, mapped("m")}
		}), "2 ports [=31000->0 p31001=31001->80]; docker map[network:[map[ipv4_address:10.1.2.3 name:a] map[name:m]] network_mode:z ports:[p31001]]"},
		{"a network without a name", net(wire.NetworkInfo{}), held + "exec map[]"},
		{"a bridge of the engine", docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network = new(wire.DockerBridge)
			d.PortMappings = []wire.DockerPortMapping{{HostPort: 31000, ContainerPort: 53}, {HostPort: 31000, ContainerPort: 53, Protocol: new("UDP")}, {HostPort: 31001, ContainerPort: 80, Protocol: new("tcp")}}
		}), "2 ports [p31000=31000->53 p31001=31001->80]; docker map[network_mode:bridge ports:[p31000 p31000/udp p31001]]"},
		{"a network of the engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{mapped("shop")}
		}), held + "docker map[network_mode:shop]"},
		{"options", docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters = []wire.Parameter{{Key: "label", Value: "a=b=c"}, {Key: "ulimit", Value: "nofile=1:2"}, {Key: "add-host", Value: "a:1.2.3.4"}, {Key: "--init", Value: "true"},
				{Key: "tmpfs", Value: "/x:size=1m"}, {Key: "shm-size", Value: "64mb"}, {Key: "env", Value: "A=${B}"}, {Key: "volume", Value: "/srv:/x:ro"}}
		}), held + "docker map[extra_hosts:[a:1.2.3.4] init:true labels:map[a:b=c] mount:[map[size:1048576 target:/x type:tmpfs]] network_mode:host shm_size:67108864 ulimit:map[nofile:1:2] volumes:[/srv:/x:ro]]"},

		{"an image with credentials", asking(&wire.DockerImage{Config: value}), held + "oci map[] secrets/image-1 0444 =value"},
		{"an image with credentials of a variable", asking(&wire.DockerImage{Config: reference("eng/pull", nil)}), held + "oci map[] secrets/image-1 0444 =eng/pull#"},
		{"an image with a credential", asking(&wire.DockerImage{Credential: &wire.Credential{Principal: "me", Secret: new("x")}}), held + "oci map[] secrets/image-1 0444 =another value"},
		{"an image with both", asking(&wire.DockerImage{Config: value, Credential: &wire.Credential{Principal: "me"}}), "refused: 'Image.Docker' has a 'config' and a 'credential'"},
		{"two at one path", seen(onHost("/data", "/a", wire.VolumeRW), onHost("/data/", "/b", wire.VolumeRW)), "refused: Container path '/data' is used twice"},
		{"a path of every task", seen(onHost("/proc/x", "/y", wire.VolumeRW)), "refused: Container path '/proc/x' is not supported"},
		{"two sources", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRW, HostPath: new("/y"), Source: &wire.VolumeSource{}}), "refused: the volume at '/x': it has a 'host_path' and a 'source'"},
		{"no source", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRW}), "refused: the volume at '/x': it has neither"},
		{"an image of Appc", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: &wire.Image{Type: wire.ImageAPPC}}), "refused: the volume at '/x': only images of the type DOCKER"},
		{"a mounted image with both", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: private(&wire.DockerImage{Config: value, Credential: &wire.Credential{Principal: "me"}})}),
			"refused: 'Image.Docker' has a 'config' and a 'credential'"},
		{"a mounted image with nothing", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: private(&wire.DockerImage{Config: &wire.Secret{}})}), "refused: the volume at '/x': 'Image.Docker.config': a secret must have"},
		{"an image and a path", seen(wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, HostPath: new("/x"), Image: cafe().Image}), "refused: the volume at '/x': it has an 'image', and a 'host_path'"},
		{"an image over a path", seen(onHost("/x", "/y", wire.VolumeRO), wire.Volume{ContainerPath: "/x", Mode: wire.VolumeRO, Image: cafe().Image}), "refused: the volume at '/x': Container path '/x' is used twice"},
		{"a way out of the sandbox", seen(sandbox("/x", wire.SandboxSelf, "a/../../b")), "refused: the volume at '/x': 'a/../../b' is no path below the sandbox"},
		{"a relative way out", seen(onHost("/x", "../b", wire.VolumeRW)), "refused: the volume at '/x': '../b' is no path"},
		{"a parent of none", seen(sandbox("/x", wire.SandboxParent, "a")), "refused: the volume at '/x': a sandbox_path of the type PARENT"},
		{"nothing of a storage", seen(volumeFrom("/x", wire.VolumeSource{Type: new(wire.SourceCSIVolume), CSI: &wire.CSIVolume{Plugin: "p"}})), "refused: the volume at '/x': 'CSIVolume.static_provisioning' is missing"},
		{"a storage without a plugin", seen(volumeFrom("/x", wire.VolumeSource{Type: new(wire.SourceCSIVolume)})), "refused: the volume at '/x': its source has no 'csi_volume'"},
		{"a secret of nothing of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.StageSecrets = map[string]*wire.Secret{"key": {}} })),
			"refused: the volume at '/x': 'static_provisioning.node_stage_secrets': 'key': a secret must have a 'type'"},
		{"secrets of others of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) {
			x.PublishSecrets = map[string]*wire.Secret{"key": reference("ops/db", nil)}
		})), "refused: the volume at '/x': 'static_provisioning.node_publish_secrets': 'key': work of role 'eng/web' may not read variable 'ops/db'"},
		{"a secret of a storage that is no text", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) {
			x.StageSecrets = map[string]*wire.Secret{"key": {Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte{0xff}}}}
		})), "refused: the volume at '/x': 'static_provisioning.node_stage_secrets': 'key': its value is no text in UTF-8"},
		{"a large secret of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) {
			x.StageSecrets = map[string]*wire.Secret{"key": {Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: make([]byte, 5000)}}}
		})), "refused: the volume at '/x': secrets.stage/key: a name has 1 to 256 bytes and a value up to 4096"},
		{"two secrets of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.StageSecrets = map[string]*wire.Secret{"key": value} }), stored("/y", wire.VolumeRW, nil)),
			"refused: volume 'vol-1' of plugin 'folders' is named twice, and to be used in two ways"},
		{"a writer among readers", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.Capability.Access.Mode = wire.CSISingleNodeReaderOnly })),
			"refused: the volume at '/x': its 'access_mode' is SINGLE_NODE_READER_ONLY"},
		{"files and a device of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.Capability.Block = &wire.CSIBlock{} })),
			"refused: the volume at '/x': its 'volume_capability' has neither 'block' nor 'mount', or both"},
		{"a device that is no device", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.Capability.Mount, x.Capability.Block = nil, &wire.CSIBlock{} })),
			"refused: the volume at '/x': a block device cannot be there"},
		{"a long name of a storage", seen(stored("/x", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.VolumeID = strings.Repeat("x", 2000) })), "refused: the volume at '/x': csi.external: 2000 bytes are more than 1024"},
		{"a volume of a storage in two ways", seen(stored("/x", wire.VolumeRW, nil), stored("/y", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.Context = nil })),
			"refused: volume 'vol-1' of plugin 'folders' is named twice, and to be used in two ways"},
		{"a volume of a storage over a path", seen(onHost("/x", "/y", wire.VolumeRO), stored("/x", wire.VolumeRW, nil)), "refused: Container path '/x' is used twice"},
		{"a volume of no engine", seen(volumeFrom("/x", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: "shop"}})), "refused: the volume at '/x': a DOCKER_VOLUME is"},
		{"a volume of a plugin of no engine", imaged(seen(volumeFrom("/x", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: "shop", Driver: new("rexray")}}))),
			"refused: the volume at '/x': a DOCKER_VOLUME is one of the Docker engine, whose plugins serve its containers alone: run the task in a container of the type DOCKER"},
		{"an option of a volume twice", engine(seen(volumeFrom("/x", wire.VolumeSource{Type: new(wire.SourceDockerVolume), Docker: &wire.DockerVolume{Name: "shop", Options: &wire.Parameters{Parameters: []wire.Parameter{{Key: "a"}, {Key: "a"}}}}}))),
			"refused: the volume at '/x': its 'driver_options' have 'a' twice"},
		{"a volume of a driver that is no name", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.VolumeDriver, c.Volumes = new("rexray"), []wire.Volume{onHost("/x", "a/b", wire.VolumeRW)}
		}), "refused: the volume at '/x': 'a/b' is not the name of a volume"},
		{"a secret of nothing", seen(secretAt("/x/y", &wire.Secret{})), "refused: the volume at '/x/y': a secret must have a 'type'"},
		{"a secret of others", seen(secretAt("/x/y", reference("ops/db", nil))), "refused: the volume at '/x/y': work of role 'eng/web' may not read variable 'ops/db'"},
		{"a secret that is no variable", seen(secretAt("/x/y", reference("a b", nil))), "refused: the volume at '/x/y': 'a b' is not the name of a variable"},
		{"a variable that is text and secret", env(wire.Variable{Name: "A", Type: new(wire.VariableSecret), Value: new("x"), Secret: value}), "refused: Environment variable 'A' must have a 'value' or"},
		{"a secret that no variable can be", env(wire.Variable{Name: "A", Type: new(wire.VariableSecret), Secret: &wire.Secret{Type: new(wire.SecretByValue), Value: &wire.SecretValue{Data: []byte("a\x00")}}}), "refused: Environment variable 'A': its value has a NUL"},
		{"half a limit", limited(wire.RLimit{Type: nofile, Soft: new(uint64(1))}), "refused: RLMT_NOFILE of 'RLimitInfo.rlimits' has one of"},
		{"limits the wrong way round", limited(wire.RLimit{Type: nofile, Soft: new(uint64(2)), Hard: new(uint64(1))}), "refused: RLMT_NOFILE of 'RLimitInfo.rlimits' has a soft limit above"},
		{"a limit twice", limited(wire.RLimit{Type: core}, wire.RLimit{Type: core}), "refused: 'RLimitInfo.rlimits' has RLMT_CORE twice"},
		{"effective beyond bounding", linux(&wire.LinuxInfo{Effective: capabilitiesOf(1013), Bounding: capabilitiesOf(1005)}), "refused: capability NET_RAW is effective, and not among"},
		{"both names of the effective", linux(&wire.LinuxInfo{Effective: capabilitiesOf(), Capabilities: capabilitiesOf(1005)}), "refused: 'LinuxInfo.capability_info' is what"},
		{"a profile", linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("web.json")}}), held + "exec map[seccomp:web]"},
		{"a profile of an image", imaged(linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("web")}})), held + "oci map[seccomp:web]"},
		{"a profile of an engine", engine(linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("web.json")}})), held + "docker map[network_mode:host seccomp:web]"},
		{"a profile and none", linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("web"), Unconfined: new(true)}}), "refused: 'SeccompInfo' has a 'profile_name' and is"},
		{"a profile elsewhere", linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("../web.json")}}), "refused: '../web.json' is not the name of a seccomp profile"},
		{"a profile of all", linux(&wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Profile: new("default.json")}}), "refused: the seccomp profile 'default.json' cannot be"},
		{"processes of the node", linux(&wire.LinuxInfo{SharePID: new(true)}), held + "exec map[pid_mode:host]"},
		{"memory of the node", imaged(linux(&wire.LinuxInfo{IPC: new(wire.IpcMode(2))})), held + "oci map[ipc_mode:host]"},
		{"memory of the node of a size", linux(&wire.LinuxInfo{IPC: new(wire.IpcMode(2)), ShmSize: new(uint32(1))}), "refused: 'LinuxInfo.shm_size' is for 'ipc_mode' PRIVATE"},
		{"no memory", linux(&wire.LinuxInfo{ShmSize: new(uint32(0))}), "refused: 'LinuxInfo.shm_size' is 0"},
		{"a port of others", net(mapped("bridge", wire.PortMapping{HostPort: 31002, ContainerPort: 80})), "refused: host port 31002 is mapped and not among the 'ports' of the task"},
		{"a port to nowhere", net(mapped("", wire.PortMapping{HostPort: 31000, ContainerPort: 80})), "refused: mapped ports, a host name, groups, labels and addresses need a network"},
		{"a port to two", net(mapped("bridge", wire.PortMapping{HostPort: 31000, ContainerPort: 80}, wire.PortMapping{HostPort: 31000, ContainerPort: 81, Protocol: new("udp")})), "refused: host port 31000 is mapped to 80 and to 81"},
		{"a protocol that is none", net(mapped("bridge", wire.PortMapping{HostPort: 31000, ContainerPort: 80, Protocol: new("sctp")})), "refused: 'sctp' is no protocol"},
		{"a port that is none", net(mapped("bridge", wire.PortMapping{HostPort: 31000, ContainerPort: 80000})), "refused: host port 31000 is mapped to 80000"},
		{"a network twice", net(mapped("a"), mapped("b"), mapped("a")), "refused: Attempted to join the network 'a' multiple times"},
		{"the bridge twice", net(mapped("bridge"), mapped("bridge")), "refused: Attempted to join the network 'bridge' multiple times"},
		{"the bridge beside another", net(mapped("a"), mapped("bridge")), "refused: the network bridge is the first one of a container"},
		{"nine networks", net(slices.Collect(func(yield func(wire.NetworkInfo) bool) {
			for i := range 9 {
				yield(mapped(fmt.Sprint("n", i)))
			}
		})...), "refused: network.cni: with that of mode, 9 networks are more than 8"},
		{"a port into two networks", net(mapped("a", wire.PortMapping{HostPort: 31000, ContainerPort: 80}), mapped("b", wire.PortMapping{HostPort: 31000, ContainerPort: 80})),
			"refused: host port 31000 is mapped into two networks"},
		{"an address twice in a further network", net(mapped("a"), wire.NetworkInfo{Name: new("b"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4")}, {IPAddress: new("1.2.3.4/8")}}}),
			"refused: network.cni.b.addresses[1]: 1.2.3.4 is there twice"},
		{"ports into a further network of an engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{mapped("a"), mapped("b", wire.PortMapping{HostPort: 31000, ContainerPort: 80})}
		}), "refused: 'port_mappings' of a network beside the first one are not served"},
		{"a network of an engine twice", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{mapped("a"), mapped("a")}
		}), "refused: Attempted to join the network 'a' multiple times"},
		{"networks beside that of the node", docker(func(c *wire.ContainerInfo, _ *wire.DockerInfo) {
			c.Networks = []wire.NetworkInfo{mapped("host"), mapped("a")}
		}), "refused: 2 'network_infos' need 'DockerInfo.network' BRIDGE or USER, and it is HOST"},
		{"an address that is none", net(wire.NetworkInfo{Name: new("a"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3")}}}), "refused: '1.2.3' of 'ip_addresses' is no address"},
		{"an address of another protocol", net(wire.NetworkInfo{Name: new("a"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4"), Protocol: new(wire.IPv6)}}}), "refused: '1.2.3.4' of 'ip_addresses' is no address of its protocol"},
		{"an address twice", net(wire.NetworkInfo{Name: new("a"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4")}, {IPAddress: new("1.2.3.4/8")}}}), "refused: network.addresses[1]: 1.2.3.4 is there twice"},
		{"an address of the bridge", net(wire.NetworkInfo{Name: new("bridge"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4")}}}), "refused: 'groups', 'labels' and addresses that are asked for are for the plugins"},
		{"a label twice", net(wire.NetworkInfo{Name: new("a"), Labels: &wire.Labels{Labels: []wire.Label{{Key: "a"}, {Key: "a"}}}}), "refused: 'NetworkInfo.labels' have a key twice"},
		{"labels of an engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{{Name: new("shop"), Labels: &wire.Labels{Labels: []wire.Label{{Key: "a"}}}}}
		}), "refused: 'groups' and 'labels' of 'network_infos' are for the plugins"},
		{"an address of the engine's bridge", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerBridge), []wire.NetworkInfo{{IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4")}}}}
		}), "refused: an address can be asked for with 'DockerInfo.network' USER, and it is BRIDGE"},
		{"two addresses of an engine", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, c.Networks = new(wire.DockerUser), []wire.NetworkInfo{{Name: new("shop"), IPAddresses: []wire.IPAddress{{IPAddress: new("1.2.3.4")}, {IPAddress: new("1.2.3.5")}}}}
		}), "refused: 'ip_addresses' asks for two addresses of one protocol"},
		{"a host name of the node's network", in(func(c *wire.ContainerInfo) { c.Hostname = new("x") }), "refused: 'ContainerInfo.hostname' needs a network"},
		{"ports of the node's network", docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) {
			d.PortMappings = []wire.DockerPortMapping{{HostPort: 31000, ContainerPort: 53}}
		}), "refused: 'port_mappings' need 'DockerInfo.network' BRIDGE or USER, and it is HOST"},
		{"ports of others of an engine", docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Network, d.PortMappings = new(wire.DockerBridge), []wire.DockerPortMapping{{HostPort: 31005, ContainerPort: 53}}
		}), "refused: host port 31005 is mapped and not among"},
		{"a network of the engine without a name", docker(func(_ *wire.ContainerInfo, d *wire.DockerInfo) { d.Network = new(wire.DockerUser) }), "refused: 'DockerInfo.network' USER needs the name"},
		{"an option that is a resource", with("memory", "1g"), "refused: 'DockerInfo.parameters': 'memory' is not served"},
		{"an option of tmpfs", with("tmpfs", "/x:uid=7"), "refused: 'DockerInfo.parameters': tmpfs: its option 'uid=7'"},
		{"a size in bytes", with("shm-size", "4294967296"), held + "docker map[network_mode:host shm_size:4294967296]"},
		{"a size that nothing holds", with("shm-size", "9223372036854775807k"), "refused: 'DockerInfo.parameters': shm-size: '9223372036854775807k' is no size"},
		{"seccomp beside another option", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters, c.Linux = []wire.Parameter{{Key: "security-opt", Value: "no-new-privileges"}}, &wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Unconfined: new(true)}}
		}), held + "docker map[network_mode:host seccomp:unconfined security_opt:[no-new-privileges]]"},
		{"seccomp in two places", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters, c.Linux = []wire.Parameter{{Key: "security-opt", Value: "seccomp=unconfined"}}, &wire.LinuxInfo{Seccomp: &wire.SeccompInfo{Unconfined: new(true)}}
		}), "refused: 'LinuxInfo.seccomp' says what 'DockerInfo.parameters' says, too"},
		{"shared memory in two places", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters, c.Linux = []wire.Parameter{{Key: "shm-size", Value: "1m"}}, &wire.LinuxInfo{ShmSize: new(uint32(2))}
		}), "refused: 'LinuxInfo.shm_size' says what 'DockerInfo.parameters' says, too"},
		{"processes in two places", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters, c.Linux = []wire.Parameter{{Key: "pid", Value: "container:x"}}, &wire.LinuxInfo{SharePID: new(true)}
		}), "refused: 'LinuxInfo.share_pid_namespace' says what 'DockerInfo.parameters' says, too"},
		{"a size that is none", with("shm-size", "much"), "refused: 'DockerInfo.parameters': shm-size: 'much' is no size"},
		{"capabilities in two places", docker(func(c *wire.ContainerInfo, d *wire.DockerInfo) {
			d.Parameters, c.Linux = []wire.Parameter{{Key: "cap-add", Value: "CHOWN"}}, &wire.LinuxInfo{Effective: capabilitiesOf(1000)}
		}), "refused: capabilities are in 'DockerInfo.parameters' and in 'LinuxInfo'"},
	} {
		f := &structs.Framework{ID: "f", Name: "shop", User: "root", Roles: []string{"eng/web"}}
		for _, encoding := range both {
			if got := drawn(launchOf(f, sent(t, encoding, c.task))); got != c.want && !(strings.HasPrefix(c.want, "refused") && strings.HasPrefix(got, c.want)) {
				t.Errorf("%s as %s:\n got  %s\n want %s", c.name, encoding.ContentType(), got, c.want)
			}
		}
	}
}

// What executors ask for: of a pod for its tasks, of a custom one for its process.
func TestWhatContainersOfExecutorsAskFor(t *testing.T) {
	held := func(x *wire.TaskInfo, first, last uint64) {
		x.Resources = append(x.Resources, wire.Resource{Name: "ports", Type: wire.ValueRanges, Ranges: &wire.Ranges{Range: []wire.Range{{Begin: first, End: last}}}})
	}
	pod := func(c *wire.ContainerInfo, tasks ...*wire.TaskInfo) *wire.LaunchGroup {
		c.Type = wire.ContainerMesos
		g := &wire.LaunchGroup{Executor: wire.ExecutorInfo{ExecutorID: wire.ID{Value: "p"}, Type: new(wire.ExecutorDefault), Container: c}}
		for _, x := range tasks {
			g.Tasks.Tasks = append(g.Tasks.Tasks, *x)
		}
		return g
	}
	one := func(all ...wire.Volume) *wire.TaskInfo {
		return taskInfo("a", func(x *wire.TaskInfo) { x.Container = &wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: all} })
	}
	image := func(x *wire.TaskInfo) *wire.TaskInfo { x.Container.Mesos = cafe(); return x }
	says := func(x *wire.TaskInfo, l *wire.LinuxInfo) *wire.TaskInfo { x.Container.Linux = l; return x }
	shares := func(x *wire.TaskInfo) *wire.TaskInfo {
		return says(x, &wire.LinuxInfo{SharePID: new(true), IPC: new(wire.IpcMode(2))})
	}
	custom := func(c *wire.ContainerInfo, command *wire.CommandInfo, tasks ...*wire.TaskInfo) *wire.LaunchGroup {
		g := pod(&wire.ContainerInfo{}, tasks...)
		g.Executor.Type, g.Executor.Command, g.Executor.Container = new(wire.ExecutorCustom), command, c
		return g
	}
	ported := taskInfo("a", func(x *wire.TaskInfo) { held(x, 31000, 31001) })
	bridge := func(to ...wire.PortMapping) *wire.ContainerInfo {
		return &wire.ContainerInfo{Type: wire.ContainerMesos, Networks: []wire.NetworkInfo{{Name: new("bridge"), PortMappings: to}}}
	}
	run := &wire.CommandInfo{Value: new("run"), Environment: &wire.Environment{Variables: []wire.Variable{{Name: "A", Type: new(wire.VariableSecret), Secret: value}}}}
	for _, c := range []struct {
		name  string
		group *wire.LaunchGroup
		want  string
	}{
		{"what tasks share", pod(&wire.ContainerInfo{}, one(sandbox("/data", wire.SandboxParent, "shared"))), "holds 0 of [], lacks []; exec map[ipc_mode:alloc] shared:shared>/data"},
		{"what the executor mounts in its sandbox", pod(&wire.ContainerInfo{Volumes: []wire.Volume{onHost("store", "/srv/store", wire.VolumeRO), secretAt("key", value)}},
			one(sandbox("/data", wire.SandboxParent, "store/a"), sandbox("/key", wire.SandboxParent, "key"))),
			"holds 0 of [], lacks []; exec map[ipc_mode:alloc] host:/srv/store/a>/data ro secret:volume-0/key>/key ro secrets/volume-0/key 0400 =value"},
		{"what the executor mounts in its root", pod(&wire.ContainerInfo{Volumes: []wire.Volume{onHost("/data", "/srv", wire.VolumeRW)}}, one(), image(one())),
			"holds 0 of [], lacks []; exec map[ipc_mode:alloc] host:/srv>/data; oci map[ipc_mode:alloc] /dev/shm=64MiB"},
		{"what a storage has for two tasks of a pod", pod(&wire.ContainerInfo{}, one(stored("/data", wire.VolumeRO, nil)), image(one(stored("/store", wire.VolumeRO, nil)))),
			"holds 0 of [], lacks []; borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1] ro; exec map[ipc_mode:alloc] volume-0>/data ro; oci map[ipc_mode:alloc] volume-0>/store ro /dev/shm=64MiB"},
		{"what a storage has for an executor", custom(&wire.ContainerInfo{Type: wire.ContainerMesos, Volumes: []wire.Volume{stored("/data", wire.VolumeRW, nil)}}, &wire.CommandInfo{Value: new("run")}, taskInfo("a", nil)),
			"holds 0 of [], lacks []; borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1] own; exec map[] volume-0>/data"},
		{"what a storage has for all of a pod", pod(&wire.ContainerInfo{Volumes: []wire.Volume{stored("/data", wire.VolumeRW, func(x *wire.CSIStaticProvisioning) { x.StageSecrets = map[string]*wire.Secret{"key": value} })}}, one()),
			"holds 0 of [], lacks []; borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1] stage/key=hunter2 own; exec map[ipc_mode:alloc] volume-0>/data"},
		{"what a storage has in the sandbox of a pod", pod(&wire.ContainerInfo{Volumes: []wire.Volume{stored("data", wire.VolumeRW, nil)}}, one(), image(one(sandbox("/x", wire.SandboxParent, "data"), stored("/y", wire.VolumeRO, nil)))),
			"holds 0 of [], lacks []; borrows vol-1 of folders, exclusive 1 ext4[noatime] map[folder:vol-1] own; exec map[ipc_mode:alloc]; oci map[ipc_mode:alloc] volume-0>/x volume-0>/y ro /dev/shm=64MiB"},
		{"what a storage has below that", pod(&wire.ContainerInfo{Volumes: []wire.Volume{stored("data", wire.VolumeRW, nil)}}, one(sandbox("/x", wire.SandboxParent, "data/x"))),
			"refused: the volume at '/x': 'data/x' is below the volume 'data' of the executor: name that"},
		{"an image that the executor mounts", pod(&wire.ContainerInfo{Volumes: []wire.Volume{{ContainerPath: "/data", Mode: wire.VolumeRO, Image: cafe().Image}}}, one(), image(one())),
			"holds 0 of [], lacks []; exec map[ipc_mode:alloc] image:cafe>/data; oci map[ipc_mode:alloc] /dev/shm=64MiB"},
		{"an image that the tasks of an executor write to", pod(&wire.ContainerInfo{Volumes: []wire.Volume{{ContainerPath: "/data", Mode: wire.VolumeRW, Image: cafe().Image}}}, one()),
			"refused: of the executor: the volume at '/data': an 'image' that an executor mounts for its tasks is for reading"},
		{"an image in the sandbox of the executor", pod(&wire.ContainerInfo{Volumes: []wire.Volume{{ContainerPath: "data", Mode: wire.VolumeRO, Image: cafe().Image}}}, one(sandbox("/x", wire.SandboxParent, "data"))),
			"refused: the volume at '/x': of the executor: an 'image' of an executor has no folder in its sandbox"},
		{"ports into a pod", pod(bridge(wire.PortMapping{HostPort: 31001, ContainerPort: 80}), ported), "in bridge ; holds 1 of [p31001=31001->80], lacks []; 1 ports [=31000->0]; exec map[ipc_mode:alloc]"},
		{"ports into a pod that lives", pod(bridge(wire.PortMapping{HostPort: 31001, ContainerPort: 80}), one()), "in bridge ; holds 0 of [], lacks [31001]; exec map[ipc_mode:alloc]"},
		{"an executor with a secret in a network", custom(bridge(wire.PortMapping{HostPort: 31001, ContainerPort: 80}), run, ported),
			"in bridge ; holds 1 of [p31001=31001->80], lacks []; 1 ports [=31000->0]; exec map[] secrets/env-1 0400 A=value"},

		{"a network of a task of a pod", pod(&wire.ContainerInfo{}, taskInfo("a", func(x *wire.TaskInfo) { x.Container = bridge() })), "refused: tasks of a group have the network"},
		{"limits of no process", pod(&wire.ContainerInfo{RLimits: &wire.RLimitInfo{}}, one()), "refused: 'ContainerInfo.rlimit_info' of a default executor"},
		{"rights of no process", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{Effective: capabilitiesOf(1000)}}, one()), "refused: Capabilities and seccomp in 'ContainerInfo.linux_info' of a default executor"},
		{"what tasks of a pod share", pod(&wire.ContainerInfo{}, shares(one()), image(shares(one())), one()),
			"holds 0 of [], lacks []; exec map[ipc_mode:alloc pid_mode:alloc]; oci map[ipc_mode:alloc pid_mode:alloc]; exec map[ipc_mode:alloc]"},
		{"what a task of a pod has for itself", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{IPC: new(wire.IpcMode(2))}}, says(one(), &wire.LinuxInfo{IPC: new(wire.IpcMode(1))}),
			says(one(), &wire.LinuxInfo{ShmSize: new(uint32(1))})), "holds 0 of [], lacks []; exec map[]; exec map[] /dev/shm=1MiB"},
		{"memory of an image in a pod", pod(&wire.ContainerInfo{}, image(says(one(), &wire.LinuxInfo{SharePID: new(false)})), image(says(one(), &wire.LinuxInfo{IPC: new(wire.IpcMode(2))}))),
			"holds 0 of [], lacks []; oci map[ipc_mode:alloc] /dev/shm=64MiB; oci map[ipc_mode:alloc]"},
		{"memory of a pod", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{IPC: new(wire.IpcMode(1)), ShmSize: new(uint32(128))}}, shares(one()), one()),
			"holds 0 of [], lacks []; exec map[ipc_mode:alloc pid_mode:alloc shm_size:134217728]; exec map[ipc_mode:alloc shm_size:134217728]"},
		{"what a pod has of the node", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{SharePID: new(true), IPC: new(wire.IpcMode(2))}}, shares(one()), one()),
			"holds 0 of [], lacks []; exec map[ipc_mode:host pid_mode:host]; exec map[ipc_mode:host]"},
		{"memory of the node of a size for a pod", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{IPC: new(wire.IpcMode(2)), ShmSize: new(uint32(1))}}, one()), "refused: 'LinuxInfo.shm_size' is for 'ipc_mode' PRIVATE"},
		{"no memory for a pod", pod(&wire.ContainerInfo{Linux: &wire.LinuxInfo{ShmSize: new(uint32(0))}}, one()), "refused: 'LinuxInfo.shm_size' is 0"},
		{"what an executor has of the node", custom(&wire.ContainerInfo{Type: wire.ContainerMesos, Linux: &wire.LinuxInfo{SharePID: new(true)}}, &wire.CommandInfo{Value: new("run")}, taskInfo("a", nil)),
			"holds 0 of [], lacks []; exec map[pid_mode:host]"},
		{"a folder in a secret", pod(&wire.ContainerInfo{Volumes: []wire.Volume{secretAt("key", value)}}, one(sandbox("/data", wire.SandboxParent, "key/x"))), "refused: the volume at '/data': 'key' of the executor is a secret"},
		{"a secret in a task of an executor", custom(nil, &wire.CommandInfo{Value: new("run")}, taskInfo("a", func(x *wire.TaskInfo) { x.Command.Environment = run.Environment })),
			"holds 0 of [], lacks []; exec map[]"},
		{"ports of an engine's executor", custom(&wire.ContainerInfo{Type: wire.ContainerDocker, Docker: &wire.DockerInfo{Image: "cafe", Network: new(wire.DockerBridge),
			PortMappings: []wire.DockerPortMapping{{HostPort: 31000, ContainerPort: 80}}}}, &wire.CommandInfo{Value: new("run")}, ported), "refused: 'port_mappings' are for the container of a task"},
	} {
		for _, encoding := range both {
			l, err := groupOf(spark, sent(t, encoding, c.group))
			if got := drawn(l, err); got != c.want && !(strings.HasPrefix(c.want, "refused") && strings.HasPrefix(got, c.want)) {
				t.Errorf("%s as %s:\n got  %s\n want %s", c.name, encoding.ContentType(), got, c.want)
			}
			if err == nil && strings.Contains(string(l.External.Info)+jsonOf(t, l.External), secret) {
				t.Errorf("%s: what is recorded of the executor has the secret", c.name)
			}
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Work with a secret is shown without it.
func TestValuesAreShownToNobody(t *testing.T) {
	l, err := launchOf(spark, taskInfo("one", func(x *wire.TaskInfo) {
		x.Command.Environment = &wire.Environment{Variables: []wire.Variable{{Name: "A", Type: new(wire.VariableSecret), Secret: value}}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%s %s", jsonOf(t, l.Group), jsonOf(t, l.External))
	for _, i := range []wire.DockerImage{{Name: "cafe", Config: value}, {Name: "cafe", Credential: &wire.Credential{Principal: "me", Secret: new(secret)}}} {
		custom := func() *wire.TaskInfo {
			image := func() *wire.Image { return &wire.Image{Type: wire.ImageDocker, Docker: new(i)} }
			c := func() *wire.ContainerInfo {
				return &wire.ContainerInfo{Type: wire.ContainerMesos, Mesos: &wire.MesosInfo{Image: image()},
					Volumes: []wire.Volume{{ContainerPath: "/x", Mode: wire.VolumeRO, Image: image()}}}
			}
			return taskInfo("one", func(x *wire.TaskInfo) {
				x.Container = c()
				x.Executor = &wire.ExecutorInfo{ExecutorID: wire.ID{Value: "e"}, Command: x.Command, Container: c()}
				x.Command = nil
			})
		}
		l, err := launchOf(spark, custom())
		if err != nil {
			t.Fatal(err)
		}
		if len(l.External.Secrets) != 2 || len(l.External.Tasks[0].Secrets) != 2 {
			t.Errorf("%d and %d secrets", len(l.External.Secrets), len(l.External.Tasks[0].Secrets))
		}
		shown += fmt.Sprintf("%s %s %s %s %s", jsonOf(t, l.Group), l.External.Info, l.External.Tasks[0].Info, l.External.Framework, l.External.Tasks[0].About)
	}
	if strings.Contains(shown, secret) || strings.Contains(shown, "aHVudGVyMg") {
		t.Errorf("it is in %s", shown)
	}
	if n := len(l.External.Tasks[0].Secrets); n != 1 {
		t.Errorf("the task has %d secrets", n)
	}
}
