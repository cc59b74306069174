package config

import (
	"encoding/base64"
	"maps"
	"net"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/drivers/exec"
	"github.com/proffer/proffer/structs"
)

func (c *Config) validate(p *structs.Problems) {
	for _, x := range []struct{ path, name string }{{"region", c.Region}, {"datacenter", c.Datacenter}, {"node_name", c.NodeName}} {
		if !structs.ValidName(x.name) {
			p.Add(x.path, "%q is not a name", x.name).Advise("up to 128 letters, digits, - _ and ., a letter or digit first")
		}
	}
	if !c.IsServer() && !c.IsClient() {
		p.Add("", "this agent would be neither server nor client").
			Advise("give -dev, -server or -client, or write a server or client block")
	}
	switch {
	case c.DataDir == "" && !c.Dev:
		p.Add("data_dir", "a data folder is needed").Advise("such as /var/lib/proffer; only -dev does without")
	case c.DataDir != "" && !filepath.IsAbs(c.DataDir):
		p.Add("data_dir", "%q is not absolute", c.DataDir)
	case c.DataDir != "" && filepath.Dir(c.DataDir) == filepath.Clean(c.DataDir):
		p.Add("data_dir", "%s is the root of the file system", c.DataDir).Advise("such as /var/lib/proffer")
	}
	for i, address := range c.Join {
		if !validHost(address) {
			p.Add("join["+strconv.Itoa(i)+"]", "%q is not a host or host:port", address)
		}
	}
	c.ports(p)
	if !slices.Contains(logLevels, c.LogLevel) {
		e := p.Add("log_level", "%q is not debug, info, warn or error", c.LogLevel)
		if near := structs.Nearest(strings.ToLower(c.LogLevel), logLevels); near != "" {
			e.Advise("did you mean %q?", near)
		}
	}
	if n := len(c.Token); n > 0 && (n < 16 || n > 1024) {
		p.Add("token", "it has %d characters", n).Advise("16 to 1024; make one with: head -c 24 /dev/urandom | base64")
	}
	if strings.ContainsFunc(string(c.Token), func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.Add("token", "it has characters that an HTTP header cannot carry").Advise("letters, digits and punctuation of ASCII")
	}
	for i, key := range c.Encrypt {
		if raw, err := base64.StdEncoding.DecodeString(key.Reveal()); err != nil || len(raw) != 32 {
			p.Add("encrypt["+strconv.Itoa(i)+"]", "it is not base64 of 32 bytes").Advise("make one with: head -c 32 /dev/urandom | base64")
		}
	}
	if len(c.Encrypt) == 0 && c.EncryptFile == "" && !c.Dev {
		p.Add("encrypt", "the cluster port needs a key, the same on every agent of the region").
			Advise("make one with: head -c 32 /dev/urandom | base64")
	}
	duration(p, "lease", c.Lease, time.Second, 10*time.Minute)
	c.Mesos.validate(p)
	if c.Server != nil {
		c.Server.validate(p)
	}
	if c.Client != nil {
		c.Client.validate(p)
	}
}

var logLevels = []string{"debug", "info", "warn", "error"}

func (c *Config) ports(p *structs.Problems) {
	type listener struct {
		path, address string
		port          int
	}
	list := []listener{{"http_port", c.HTTPAddress, c.HTTPPort}, {"cluster_port", c.Bind, c.ClusterPort}}
	if c.IsClient() {
		list = append(list, listener{"executor_port", c.ExecutorAddress, c.ExecutorPort})
	}
	var shared structs.Range
	if c.IsClient() {
		shared, _ = structs.ParseRange(c.Client.PortRange)
	}
	for i, x := range list {
		if x.port < 1 || x.port > 65535 {
			p.Add(x.path, "%d is not a port (1 to 65535)", x.port)
			continue
		}
		for _, other := range list[:i] {
			if x.port == other.port && (x.address == other.address || isAny(x.address) || isAny(other.address)) {
				p.Add(x.path, "port %d is taken by %s", x.port, other.path)
			}
		}
		if int64(x.port) >= shared.First && int64(x.port) <= shared.Last {
			p.Add(x.path, "port %d is in client.port_range (%s), which is given to tasks", x.port, c.Client.PortRange)
		}
	}
}

func isAny(address string) bool {
	ip := net.ParseIP(address)
	return ip != nil && ip.IsUnspecified()
}

// validHost takes a host name or address, with an optional port.
func validHost(s string) bool {
	host := s
	if h, port, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return false
		}
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "" || len(host) > 255 {
		return false
	}
	return net.ParseIP(host) != nil || !strings.ContainsFunc(host, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
	})
}

func (s *Server) validate(p *structs.Problems) {
	if n := s.BootstrapExpect; n != 0 && n != 1 && n != 3 && n != 5 && n != 7 {
		p.Add("server.bootstrap_expect", "%d servers", n).Advise("1, 3, 5 or 7: an even number survives no more failures than one less")
	}
	number(p, "server.max_finished", s.MaxFinished, 1, 10_000_000)
	duration(p, "server.finished_age", s.FinishedAge, time.Second, 10*365*24*time.Hour)
	duration(p, "server.node_age", s.NodeAge, time.Minute, 10*365*24*time.Hour)
	duration(p, "server.orphan_age", s.OrphanAge, time.Second, 10*365*24*time.Hour)
	number(p, "server.max_jobs", s.MaxJobs, 1, 10_000_000)
	duration(p, "server.keep_room_after", s.KeepRoomAfter, time.Second, 10*365*24*time.Hour)
	for i, name := range s.FairShareExclude {
		if !structs.ValidName(name) || name == "ports" {
			p.Add("server.fair_share_exclude["+strconv.Itoa(i)+"]", "%q is not a resource that counts in shares", name).
				Advise("cpu, memory, disk, or the name of a custom resource, such as gpus")
		}
	}
	if o := s.Offers; o != nil {
		duration(p, "server.offers.timeout", o.Timeout, time.Second, 24*time.Hour)
		structs.CheckSmallest(p, "server.offers.smallest", o.Smallest)
		number(p, "server.offers.most", o.Most, 0, 1_000_000)
		if o.MostShare < 0 || o.MostShare > 1000 {
			p.Add("server.offers.most_share", "%s is out of range (0 to 1)", o.MostShare)
		}
		if o.Backoff != nil {
			duration(p, "server.offers.backoff", *o.Backoff, 0, time.Hour)
		}
	}
	r := s.Raft
	if r == nil {
		return
	}
	duration(p, "server.raft.heartbeat_timeout", r.HeartbeatTimeout, 50*time.Millisecond, time.Minute)
	duration(p, "server.raft.election_timeout", r.ElectionTimeout, 50*time.Millisecond, time.Minute)
	duration(p, "server.raft.leader_lease", r.LeaderLease, 5*time.Millisecond, time.Minute)
	if r.ElectionTimeout < r.HeartbeatTimeout {
		p.Add("server.raft.election_timeout", "%s is less than heartbeat_timeout (%s)", r.ElectionTimeout, r.HeartbeatTimeout)
	}
	if r.LeaderLease > r.HeartbeatTimeout {
		p.Add("server.raft.leader_lease", "%s is more than heartbeat_timeout (%s)", r.LeaderLease, r.HeartbeatTimeout).
			Advise("otherwise there could be two leaders for a while")
	}
	number(p, "server.raft.snapshot_threshold", r.SnapshotThreshold, 16, 100_000_000)
	duration(p, "server.raft.snapshot_interval", r.SnapshotInterval, time.Second, 24*time.Hour)
	number(p, "server.raft.trailing_logs", r.TrailingLogs, 1, 100_000_000)
}

func (l *Client) validate(p *structs.Problems) {
	for _, m := range []struct {
		path  string
		names map[string]string
	}{{"client.meta", l.Meta}, {"client.attributes", l.Attributes}} {
		for _, name := range slices.Sorted(maps.Keys(m.names)) {
			if !structs.ValidName(name) {
				p.Add(m.path+"."+name, "%q is not a name", name).Advise("letters, digits, - _ and .")
			}
			if len(m.names[name]) > 4096 {
				p.Add(m.path+"."+name, "the value is longer than 4096 bytes")
			}
		}
	}
	l.Resources.validate(p, "client.resources")
	l.Reserved.validate(p, "client.reserved")
	seen, static := map[string]bool{}, l.ReservedFor()
	for _, r := range l.Reserve {
		at := "client.reserve." + r.Role
		if seen[r.Role] {
			p.Add(at, "the role has two blocks")
		}
		seen[r.Role] = true
		amount, err := r.amounts().amount()
		if err != nil {
			p.Add(at+".ports", "%s", err)
			delete(static, r.Role)
		}
		notBytes(amount, p, at)
		if beyond := structs.OfPorts(amount.PortRanges()).Sub(structs.OfPorts([]structs.Range{l.Ports()})); !beyond.IsZero() {
			p.Add(at+".ports", "%s are not in client.port_range", beyond)
		}
	}
	structs.CheckStatic("client.reserve", static, p)
	named := map[string]bool{}
	for _, v := range l.HostVolumes {
		at := "client.host_volume." + v.Name
		switch {
		case !structs.ValidName(v.Name) || len(v.Name) > 120:
			p.Add(at, "%q is not a name for a volume", v.Name).Advise("up to 120 letters, digits, - _ and ., a letter or digit first")
		case named[v.Name]:
			p.Add(at, "the volume has two blocks")
		case !filepath.IsAbs(v.Path):
			p.Add(at+".path", "%q is not an absolute path", v.Path)
		}
		structs.CheckPropagation(p, at+".propagation", v.Propagation)
		named[v.Name] = true
	}
	if modes := []string{"auto", "quota", "measured", "off"}; !slices.Contains(modes, l.DiskLimit) {
		p.Add("client.disk_limit", "%q is not auto, quota, measured or off", l.DiskLimit)
	}
	diskProblems(l.Disks, p)
	if r, err := structs.ParseRange(l.PortRange); err != nil {
		p.Add("client.port_range", "%s", err)
	} else if r.First < 1 || r.Last > 65535 {
		p.Add("client.port_range", "%q is not within 1-65535", l.PortRange)
	}
	for i, host := range l.Hosts {
		if net.ParseIP(host) == nil {
			p.Add("client.hosts["+strconv.Itoa(i)+"]", "%q is not an IP address", host)
		}
	}
	for i, name := range l.Drivers {
		if !structs.ValidName(name) {
			p.Add("client.drivers["+strconv.Itoa(i)+"]", "%q is not the name of a driver", name)
		}
	}
	for i, name := range l.ShareHost {
		if name != "pid" && name != "ipc" {
			p.Add("client.host_namespaces["+strconv.Itoa(i)+"]", "%q is not pid or ipc", name)
		}
	}
	for i, path := range l.HostPaths {
		if err := exec.CheckHostPath(path); err != nil {
			p.Add("client.host_paths["+strconv.Itoa(i)+"]", "%s", err)
		}
	}
	if dir := l.Profiles; dir != "" && !filepath.IsAbs(dir) {
		p.Add("client.seccomp_profiles", "%q is not an absolute path", dir)
	}
	if part := l.CgroupParent; part == "." || path.Clean(part) != part || !filepath.IsLocal(part) || strings.ContainsAny(part, " \x00\n") {
		p.Add("client.cgroup_parent", "%q is not a path below the root of cgroups, such as proffer", part)
	}
	l.Docker.validate(p)
	l.OCI.validate(p)
	l.Artifact.validate(p)
	l.validateNetworks(p)
	validateHealth(l.Health, p)
	if g := l.GC; g != nil {
		number(p, "client.gc.max_allocs", g.MaxAllocs, 1, 1_000_000)
		duration(p, "client.gc.max_age", g.MaxAge, time.Second, 10*365*24*time.Hour)
		number(p, "client.gc.disk_use", g.DiskUse, 1, 100)
		number(p, "client.gc.disk_full", g.DiskFull, 1, 100)
		duration(p, "client.gc.interval", g.Interval, time.Second, 24*time.Hour)
	}
	if r := l.Revocable; r != nil {
		if m := r.Margin; m != nil && (*m < 0 || *m > 1000) {
			p.Add("client.revocable.margin", "%s is not from 0 to 1", *m)
		}
		duration(p, "client.revocable.hold", r.Hold, time.Second, 24*time.Hour)
		duration(p, "client.revocable.decay", r.Decay, time.Second, 24*time.Hour)
		duration(p, "client.revocable.every", r.Every, time.Second, time.Hour)
	}
}

func (a *Amounts) validate(p *structs.Problems, at string) {
	if a == nil {
		return
	}
	r, err := a.amount()
	if err != nil {
		p.Add(at+".ranges", "%s", err)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Sets)) {
		if !structs.ValidName(name) {
			p.Add(at+".sets."+name, "%q is not a name", name)
		}
		for _, item := range a.Sets[name] {
			if !structs.ValidName(item) {
				p.Add(at+".sets."+name, "%q is not a name", item)
			}
		}
	}
	if _, ports := a.Ranges["ports"]; ports {
		p.Add(at+".ranges.ports", "ports are no custom range").Advise("client.port_range says which ports tasks get")
	}
	r.Problems(at, p)
	notBytes(r, p, at)
}

// notBytes refuses sizes that lack their unit.
func notBytes(r structs.Resources, p *structs.Problems, at string) {
	for _, size := range []struct {
		path string
		v    structs.Bytes
	}{{"memory", r.Memory}, {"disk", r.Disk}} {
		if size.v > 0 && size.v < 1<<20 {
			p.Add(at+"."+size.path, "%s is less than 1MiB", size.v).Advise("a bare number is bytes; write a unit, such as \"512MiB\"")
		}
	}
}

func (r *Reserve) amounts() *Amounts {
	out := &Amounts{CPU: r.CPU, Memory: r.Memory, Disk: r.Disk, Custom: r.Custom}
	if r.Ports != "" {
		out.Ranges = map[string]string{"ports": r.Ports}
	}
	return out
}

// ReservedFor returns what is set aside for roles.
func (l *Client) ReservedFor() map[string]*structs.Resources {
	var out map[string]*structs.Resources
	for _, r := range l.Reserve {
		if out == nil {
			out = make(map[string]*structs.Resources, len(l.Reserve))
		}
		amount := r.amounts().Amount()
		out[r.Role] = &amount
	}
	return out
}

// Amount returns a as resources; amounts that are not named are zero. It is valid after Finish. A nil a is nothing.
func (a *Amounts) Amount() structs.Resources {
	r, _ := a.amount()
	return r
}

func (a *Amounts) amount() (r structs.Resources, err error) {
	if a == nil {
		return r, nil
	}
	if a.CPU != nil {
		r.CPU = *a.CPU
	}
	if a.Memory != nil {
		r.Memory = *a.Memory
	}
	if a.Disk != nil {
		r.Disk = *a.Disk
	}
	r.Custom = maps.Clone(a.Custom)
	for _, name := range slices.Sorted(maps.Keys(a.Ranges)) {
		all, why := structs.ParseRanges(a.Ranges[name])
		if why != nil && err == nil {
			err = structs.Errorf(structs.Invalid, "", "%s: %w", name, why)
		}
		r = r.Add(structs.Resources{Ranges: map[string][]structs.Range{name: all}})
	}
	for name, items := range a.Sets {
		r = r.Add(structs.Resources{Sets: map[string][]string{name: items}})
	}
	return r, err
}

// Ports returns the port range. It is valid after Finish.
func (l *Client) Ports() structs.Range {
	r, _ := structs.ParseRange(l.PortRange)
	return r
}

func number(p *structs.Problems, at string, v, low, high int) {
	if v < low || v > high {
		p.Add(at, "%d is out of range (%d to %d)", v, low, high)
	}
}

func duration(p *structs.Problems, at string, d structs.Duration, low, high time.Duration) {
	if d.Std() < low || d.Std() > high {
		p.Add(at, "%s is out of range (%s to %s)", d, structs.Duration(low), structs.Duration(high))
	}
}
