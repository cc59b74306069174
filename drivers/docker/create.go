package docker

import (
	"archive/tar"
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Labels of a container.
const (
	labelPrefix = "proffer."
	labelOwner  = labelPrefix + "owner" // the node
	labelTask   = labelPrefix + "task"  // Spec.ID
	labelAlloc  = labelPrefix + "alloc"
	labelJob    = labelPrefix + "job"
	labelGroup  = labelPrefix + "group"
	labelJoined = labelPrefix + "networks" // beside network_mode, in order, separated by commas
)

// nameOf is the name of a start's container. An engine has one container of a name: that is what makes a second start a Conflict.
func nameOf(id string) string { return "proffer-" + strings.ReplaceAll(id, "/", "-") }

// create makes the container of a task and returns its id.
func (d *Driver) create(ctx context.Context, spec *drivers.Spec, c *config, img *image) (id string, err error) {
	if spec.Netns != "" && c.network == "bridge" { // it says nothing else
		if err := c.own("task " + spec.ID); err != nil {
			return "", err
		}
		with, err := d.joins(ctx, spec)
		if err != nil {
			return "", err
		}
		joined := *c
		joined.network = "container:" + with
		c = &joined
	}
	own, err := d.describe(spec, c, img)
	if err != nil {
		return "", err
	}
	object := "task " + spec.ID
	make := func(ctx context.Context, api *client.Client) error {
		r, err := api.ContainerCreate(ctx, *own)
		id = r.ID
		return err
	}
	err = d.engine.act(ctx, object, "create its container", make)
	if err != nil && d.roots.unbound(c, own.HostConfig, err) {
		d.log.Info("the engine does not bound the roots of containers: they are measured", "err", err)
		err = d.engine.act(ctx, object, "create its container", make)
	}
	if structs.KindOf(err) == structs.NotFound { // the image went meanwhile: a shortage, that the next try ends
		err = structs.Errorf(structs.Unavailable, object, "%w", err)
	}
	if err != nil {
		return "", err
	}
	t := &task{d: d, id: id, spec: spec.ID}
	if err = d.join(ctx, object, id, c.further); err == nil {
		err = d.give(ctx, spec, id, runsAs(spec, img))
	}
	if err == nil && len(spec.Cores) == 0 && d.runsOn(c.cpuset) != own.HostConfig.CpusetCpus { // cores were given meanwhile
		err = t.move(ctx, c.cpuset)
	}
	if err != nil {
		if gone := t.remove(ctx, true); gone != nil {
			return "", structs.Errorf(structs.Unknown, object, "%w, and its container cannot be removed: %v", err, gone)
		}
		return "", err
	}
	return id, nil
}

// join connects a container with networks of the engine, one after the other, before it starts. One that the engine does not have is seen when
// it starts, as that of network_mode is.
func (d *Driver) join(ctx context.Context, object, id string, all []endpoint) error {
	for i := range all {
		e := &all[i]
		wanted, err := e.settings(object)
		if err != nil {
			return err
		}
		err = d.engine.act(ctx, object, "connect it with the network "+e.name, func(ctx context.Context, api *client.Client) error {
			_, err := api.NetworkConnect(ctx, e.name, client.NetworkConnectOptions{Container: id, EndpointConfig: wanted})
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// runsAs is the user of a container: the task's, or else the image's.
func runsAs(spec *drivers.Spec, img *image) string {
	if spec.Task.User != "" {
		return spec.Task.User
	}
	return img.user
}

// maxPasswd bounds how much of an image's list of users is looked at.
const maxPasswd = 1 << 20

// give gives the task's folders to a user that only the image knows by name. One that it does not know either is for the engine to
// refuse.
func (d *Driver) give(ctx context.Context, spec *drivers.Spec, id, user string) error {
	name, _, _ := strings.Cut(user, ":")
	if _, err := strconv.ParseUint(name, 10, 31); name == "" || name == "root" || err == nil {
		return nil
	}
	uid, gid := 0, 0
	err := d.engine.look(ctx, "task "+spec.ID, "look for its user", func(ctx context.Context, api *client.Client) error {
		r, err := api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: "/etc/passwd"})
		if err != nil {
			return err
		}
		defer r.Content.Close()
		files := tar.NewReader(io.LimitReader(r.Content, maxPasswd))
		if _, err := files.Next(); err != nil {
			return err
		}
		lines := bufio.NewScanner(files)
		for lines.Scan() {
			if f := strings.Split(lines.Text(), ":"); len(f) > 3 && f[0] == name {
				uid, gid = drivers.ImageUser(f[2] + ":" + f[3])
				break
			}
		}
		return lines.Err()
	})
	if err != nil || uid == 0 {
		return nil
	}
	return spec.MakeFolders(uid, gid)
}

// minMemory is the least that engines take.
const minMemory = 6 << 20

// describe says everything of the container.
func (d *Driver) describe(spec *drivers.Spec, c *config, img *image) (*client.ContainerCreateOptions, error) {
	object := "task " + spec.ID
	uid, gid := drivers.ImageUser(runsAs(spec, img))
	if err := spec.MakeFolders(uid, gid); err != nil {
		return nil, err
	}
	labels := map[string]string{labelOwner: d.opts.Owner, labelTask: spec.ID, labelAlloc: string(spec.Alloc), labelJob: spec.Job, labelGroup: spec.Group}
	maps.Copy(labels, c.labels)
	if len(c.further) > 0 {
		names := make([]string, len(c.further))
		for i, e := range c.further {
			names[i] = e.name
		}
		labels[labelJoined] = strings.Join(names, ",")
	}
	conf := &container.Config{Image: img.id, Hostname: c.hostname, User: spec.Task.User, Env: spec.Env, WorkingDir: c.workDir,
		Labels: labels, Entrypoint: c.entrypoint, ExposedPorts: network.PortSet{}}
	if c.command != "" {
		conf.Cmd = append(conf.Cmd, c.command)
	}
	conf.Cmd = append(conf.Cmd, c.args...)
	security, err := d.security(object, c)
	if err != nil {
		return nil, err
	}
	pids := int64(defaultPids)
	if c.pids > 0 {
		pids = c.pids
	}
	host := &container.HostConfig{
		LogConfig:   container.LogConfig{Type: "local", Config: map[string]string{"max-size": "16m", "max-file": "4", "compress": "false"}},
		NetworkMode: container.NetworkMode(c.network), CapAdd: c.capAdd, CapDrop: c.capDrop, DNSSearch: c.dnsSearch, ExtraHosts: c.extraHosts,
		GroupAdd: c.groups, IpcMode: container.IpcMode(c.ipcMode), PidMode: container.PidMode(c.pidMode), UsernsMode: container.UsernsMode(c.usernsMode),
		Privileged: c.privileged, ReadonlyRootfs: c.readOnly, SecurityOpt: security, ShmSize: int64(c.shm), Sysctls: c.sysctls, Runtime: c.runtime,
		PortBindings: network.PortMap{},
	}
	if c.logDriver != "" { // engines keep a copy that can be read
		host.LogConfig = container.LogConfig{Type: c.logDriver, Config: c.logOptions}
	}
	if c.init {
		host.Init = &c.init
	}
	host.Ulimits, host.PidsLimit = c.ulimits, &pids
	limits(spec.Limits(), &host.Resources)
	if spec.Revocable { // it has the cores that nobody else wants, and goes first for want of memory
		host.CPUShares, host.OomScoreAdj = 2, drivers.RevocableOOMScore
	}
	for _, dev := range c.devices {
		host.Devices = append(host.Devices, container.DeviceMapping{PathOnHost: dev.host, PathInContainer: dev.inside, CgroupPermissions: dev.rights})
	}
	d.assign(spec, &host.Resources)
	if err := d.exclusive(spec, c, &host.Resources, labels); err != nil {
		return nil, err
	}
	for _, text := range c.dns {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, structs.Errorf(structs.Invalid, object+".config.dns", "%q is not an address", text)
		}
		host.DNS = append(host.DNS, a)
	}
	if host.Mounts, err = d.mounts(spec, c); err != nil {
		return nil, err
	}
	if err := publish(spec, c, conf, host); err != nil {
		return nil, err
	}
	if err := c.options.apply(host); err != nil {
		return nil, structs.Errorf(structs.Invalid, object+".config.options", "%w", err)
	}
	d.roots.bound(spec, host)
	out := &client.ContainerCreateOptions{Config: conf, HostConfig: host, Name: nameOf(spec.ID)}
	wanted, err := c.settings(object)
	if err != nil {
		return nil, err
	}
	if wanted != nil {
		out.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{c.network: wanted}}
	}
	return out, nil
}

// settings are what a container wants in a network, as the engine is told; nil: nothing.
func (e *endpoint) settings(object string) (*network.EndpointSettings, error) {
	if len(e.aliases) == 0 && e.ipv4 == "" && e.ipv6 == "" {
		return nil, nil
	}
	out := &network.EndpointSettings{Aliases: e.aliases}
	if e.ipv4 == "" && e.ipv6 == "" {
		return out, nil
	}
	out.IPAMConfig = &network.EndpointIPAMConfig{}
	for key, to := range map[string]struct {
		text string
		addr *netip.Addr
	}{"ipv4_address": {e.ipv4, &out.IPAMConfig.IPv4Address}, "ipv6_address": {e.ipv6, &out.IPAMConfig.IPv6Address}} {
		var err error
		if to.text == "" {
			continue
		}
		if *to.addr, err = netip.ParseAddr(to.text); err != nil {
			return nil, structs.Errorf(structs.Invalid, object+".config."+e.at+key, "%.100q is not an address", to.text)
		}
	}
	return out, nil
}

// limits makes limits of what the task may use.
func limits(of drivers.Limits, r *container.Resources) {
	if of.CPU > 0 {
		r.CPUShares = max(2, int64(of.CPU)*1024/1000)
	}
	if of.CPULimit > 0 {
		r.CPUPeriod, r.CPUQuota = 100_000, max(1000, int64(of.CPULimit)*100)
	}
	if most := of.Hard(); most > 0 {
		r.Memory = max(minMemory, int64(most))
		r.MemorySwap = r.Memory // no swap beside it
		if of.Memory > 0 && of.Memory < most {
			r.MemoryReservation = max(minMemory, int64(of.Memory))
		}
	}
}

// mounts lists the folders of the task and what else its config mounts.
func (d *Driver) mounts(spec *drivers.Spec, c *config) ([]mount.Mount, error) {
	all := []mount.Mount{
		{Type: mount.TypeBind, Source: spec.AllocDir, Target: "/alloc"},
		{Type: mount.TypeBind, Source: spec.TaskDir + "/local", Target: "/local"},
		{Type: mount.TypeBind, Source: spec.TaskDir + "/secrets", Target: "/secrets"},
	}
	for _, f := range spec.Files {
		all = append(all, mount.Mount{Type: mount.TypeBind, Source: f.Source, Target: f.Target, ReadOnly: f.ReadOnly})
	}
	for _, m := range spec.Mounts {
		out := mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		switch m.Propagation {
		case structs.PropagationHostToTask:
			out.BindOptions = &mount.BindOptions{Propagation: mount.PropagationRSlave}
		case structs.PropagationBidirectional:
			out.BindOptions = &mount.BindOptions{Propagation: mount.PropagationRShared}
		}
		all = append(all, out)
	}
	for _, f := range spec.Task.Tmpfs {
		all = append(all, mount.Mount{Type: mount.TypeTmpfs, Target: f.Destination, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: int64(f.Size), Mode: 0o1777}})
	}
	for i := range c.mounts {
		m := &c.mounts[i]
		out := mount.Mount{Type: mount.Type(m.kind), Source: m.source, Target: m.target, ReadOnly: m.readOnly}
		switch m.kind {
		case mountBind:
			source, err := bind(spec, m)
			if err != nil {
				return nil, err
			}
			out.Source = source
		case mountVolume:
			if m.driver != "" || len(m.options) > 0 {
				out.VolumeOptions = &mount.VolumeOptions{DriverConfig: &mount.Driver{Name: cmp.Or(m.driver, localVolumes), Options: m.options}}
			}
		case mountTmpfs:
			if m.size > 0 {
				out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: int64(m.size)}
			}
		}
		all = append(all, out)
	}
	return all, nil
}

// publish maps ports of the allocation to ports inside.
func publish(spec *drivers.Spec, c *config, conf *container.Config, host *container.HostConfig) error {
	for i, label := range c.ports {
		object := fmt.Sprintf("task %s.config.ports[%d]", spec.ID, i)
		label, proto, _ := strings.Cut(label, "/")
		if proto == "" {
			proto = "tcp"
		}
		found := false
		for _, p := range spec.Ports {
			if p.Label != label {
				continue
			}
			found = true
			to := p.To
			if to == 0 {
				to = p.Port
			}
			inside, err := network.ParsePort(fmt.Sprintf("%d/%s", to, proto))
			if err != nil {
				return structs.Errorf(structs.Invalid, object, "%w", err)
			}
			binding := network.PortBinding{HostPort: strconv.Itoa(p.Port)}
			if p.Host != "" {
				if binding.HostIP, err = netip.ParseAddr(p.Host); err != nil {
					return structs.Errorf(structs.Invalid, object, "the address %q: %w", p.Host, err)
				}
			}
			conf.ExposedPorts[inside] = struct{}{}
			host.PortBindings[inside] = append(host.PortBindings[inside], binding)
		}
		if !found {
			return structs.Errorf(structs.Invalid, object, "the group's network has no port %q", label)
		}
	}
	return nil
}
