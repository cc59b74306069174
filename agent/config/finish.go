package config

import (
	"cmp"
	"encoding/base64"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// Finish sets defaults, reads token_file and encrypt_file, turns address templates into addresses (Bind, HTTPAddress and
// ExecutorAddress are IP addresses then, Advertise is address:port) and validates. The error lists all problems, each with
// its place in s.
func (c *Config) Finish(s *Sources) error {
	var p structs.Problems
	if s == nil {
		s = &Sources{}
	}
	c.defaults()
	c.secrets(&p)
	c.addresses(&p)
	c.validate(&p)
	return s.Values.Locate(p)
}

// IsServer reports whether the agent is a server.
func (c *Config) IsServer() bool {
	return c.Server != nil && c.Server.Enabled != nil && *c.Server.Enabled
}

// IsClient reports whether the agent is a client.
func (c *Config) IsClient() bool {
	return c.Client != nil && c.Client.Enabled != nil && *c.Client.Enabled
}

func (c *Config) defaults() {
	if c.Dev {
		yes := true
		if c.Server == nil {
			c.Server = &Server{Enabled: &yes}
		}
		if c.Client == nil {
			c.Client = &Client{Enabled: &yes}
		}
		setDefault(&c.Server.BootstrapExpect, 1)
		setDefault(&c.Bind, "127.0.0.1")
		c.Client.IsolationNone = true
		// It has no other machine to send work to, and the output of what has ended is what somebody tries it out for: a disk that is
		// fuller than the nodes of a region like it must not take either away.
		setBlock(&c.Client.GC)
		setDefault(&c.Client.GC.DiskUse, 100)
		setDefault(&c.Client.GC.DiskFull, 100)
	}
	setDefault(&c.Region, "global")
	setDefault(&c.Datacenter, "dc1")
	if c.NodeName == "" {
		c.NodeName, _ = os.Hostname()
	}
	setDefault(&c.Bind, "0.0.0.0")
	setDefault(&c.HTTPPort, 5050)
	setDefault(&c.ExecutorPort, 5051)
	setDefault(&c.ClusterPort, 5052)
	setDefault(&c.LogLevel, "info")
	setDefault(&c.Lease, structs.Duration(15*time.Second))
	setBlock(&c.Telemetry)
	setBlock(&c.Mesos)
	if s := c.Server; s != nil {
		setPointer(&s.Enabled, true)
		setDefault(&s.MaxFinished, 10_000)
		setDefault(&s.FinishedAge, structs.Duration(time.Hour))
		setDefault(&s.NodeAge, structs.Duration(72*time.Hour))
		setDefault(&s.OrphanAge, structs.Duration(24*time.Hour))
		setDefault(&s.MaxJobs, 100_000)
		setDefault(&s.KeepRoomAfter, structs.Duration(5*time.Minute))
		setDefault(&s.Sorter, "drf")
		setBlock(&s.Offers)
		setDefault(&s.Offers.Timeout, structs.Duration(30*time.Second))
		setPointer(&s.Offers.Backoff, structs.Duration(30*time.Second))
		setBlock(&s.Raft)
		setDefault(&s.Raft.HeartbeatTimeout, structs.Duration(500*time.Millisecond))
		setDefault(&s.Raft.ElectionTimeout, structs.Duration(500*time.Millisecond))
		setDefault(&s.Raft.LeaderLease, structs.Duration(250*time.Millisecond))
		setDefault(&s.Raft.SnapshotThreshold, 65_536)
		setDefault(&s.Raft.SnapshotInterval, structs.Duration(10*time.Second))
		setDefault(&s.Raft.TrailingLogs, 16_384)
	}
	if l := c.Client; l != nil {
		setPointer(&l.Enabled, true)
		setDefault(&l.PortRange, "20000-32000")
		setDefault(&l.CgroupParent, "proffer")
		setDefault(&l.DiskLimit, "auto")
		setBlock(&l.GC)
		setDefault(&l.GC.MaxAllocs, 1_000)
		setDefault(&l.GC.MaxAge, structs.Duration(24*time.Hour))
		setDefault(&l.GC.DiskUse, 85)
		setDefault(&l.GC.DiskFull, 97)
		for _, h := range l.Health {
			h.finish()
		}
		setDefault(&l.GC.Interval, structs.Duration(time.Minute))
		setBlock(&l.Revocable)
		setPointer(&l.Revocable.Margin, 100)
		setDefault(&l.Revocable.Hold, structs.Duration(5*time.Minute))
		setDefault(&l.Revocable.Decay, structs.Duration(10*time.Minute))
		setDefault(&l.Revocable.Every, structs.Duration(10*time.Second))
		setBlock(&l.Docker)
		l.Docker.defaults()
		setBlock(&l.Network)
		l.Network.defaults()
		setBlock(&l.OCI)
		l.OCI.defaults()
		setBlock(&l.Artifact)
		l.Artifact.defaults()
	}
}

func setDefault[T comparable](v *T, to T) { *v = cmp.Or(*v, to) }

func setPointer[T any](v **T, to T) {
	if *v == nil {
		*v = &to
	}
}

func setBlock[T any](v **T) {
	if *v == nil {
		*v = new(T)
	}
}

// secrets reads the files that hold secrets.
func (c *Config) secrets(p *structs.Problems) {
	lines := func(path, at string) []string {
		src, err := read(path, 64<<10)
		if err != nil {
			e := structs.AsError(err)
			p.Add(at, "%s %s", path, e.Why)
			return nil
		}
		if lines := strings.Fields(string(src)); len(lines) > 0 {
			return lines
		}
		p.Add(at, "%s is empty", path)
		return nil
	}
	if c.TokenFile != "" {
		if c.Token != "" {
			p.Add("token_file", "token is set too").Advise("use one of them")
		} else if words := lines(c.TokenFile, "token_file"); len(words) == 1 {
			c.Token = Secret(words[0])
		} else if len(words) > 1 {
			p.Add("token_file", "%s holds more than one word", c.TokenFile)
		}
	}
	c.Mesos.secrets(p)
	if c.Client != nil {
		c.Client.Docker.secrets(p)
		c.Client.OCI.secrets(p)
		c.Client.Artifact.secrets(p)
	}
	if c.EncryptFile != "" {
		if len(c.Encrypt) > 0 {
			p.Add("encrypt_file", "encrypt is set too").Advise("use one of them")
			return
		}
		for _, key := range lines(c.EncryptFile, "encrypt_file") {
			c.Encrypt = append(c.Encrypt, Secret(key))
		}
	}
}

// Keys returns the keys of encrypt, the one to send with first. It is valid after Finish.
func (c *Config) Keys() [][]byte {
	keys := make([][]byte, len(c.Encrypt))
	for i, key := range c.Encrypt {
		keys[i], _ = base64.StdEncoding.DecodeString(key.Reveal())
	}
	return keys
}

// addresses resolves templates and the defaults that depend on addresses.
func (c *Config) addresses(p *structs.Problems) {
	fail := func(at string, err error) {
		e := *structs.AsError(err)
		e.Object = at
		*p = append(*p, &e)
	}
	bind, err := resolve(c.Bind)
	if err != nil {
		fail("bind", err)
		return
	}
	c.Bind = bind.String()

	switch {
	case c.Advertise != "":
		text, a, err := resolvePort(c.Advertise, c.ClusterPort)
		if err != nil {
			fail("advertise", err)
		} else if a.IsUnspecified() {
			p.Add("advertise", "%s is no address that others could reach", a)
		}
		c.Advertise = text
	case bind.IsUnspecified():
		a, err := ownAddress()
		if err != nil {
			fail("advertise", err)
			break
		}
		c.Advertise = netip.AddrPortFrom(a, uint16(c.ClusterPort)).String()
	default:
		c.Advertise = netip.AddrPortFrom(bind, uint16(c.ClusterPort)).String()
	}

	open := "127.0.0.1"
	if bind.IsLoopback() || c.Token != "" {
		open = c.Bind
	}
	setDefault(&c.HTTPAddress, open)
	near := "127.0.0.1" // executors are on the node, and prove nothing
	if a, err := resolve(c.HTTPAddress); err == nil && a.IsLoopback() {
		near = c.HTTPAddress
	}
	setDefault(&c.ExecutorAddress, near)
	for _, x := range []struct {
		path    string
		address *string
	}{{"http_address", &c.HTTPAddress}, {"executor_address", &c.ExecutorAddress}} {
		a, err := resolve(*x.address)
		if err != nil {
			fail(x.path, err)
			continue
		}
		*x.address = a.String()
		if !a.IsLoopback() && c.Token == "" {
			p.Add(x.path, "%s can be reached by other machines, and there is no token", a).
				Advise("set token or token_file, or use a loopback address")
		}
	}
}

// ClusterAddress is where the cluster port listens.
func (c *Config) ClusterAddress() string {
	return net.JoinHostPort(c.Bind, strconv.Itoa(c.ClusterPort))
}

// HTTPListen is where the HTTP API listens.
func (c *Config) HTTPListen() string {
	return net.JoinHostPort(c.HTTPAddress, strconv.Itoa(c.HTTPPort))
}

// ExecutorListen is where the executor API listens.
func (c *Config) ExecutorListen() string {
	return net.JoinHostPort(c.ExecutorAddress, strconv.Itoa(c.ExecutorPort))
}
