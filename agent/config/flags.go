package config

import (
	"flag"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Flags are the command-line flags of an agent.
type Flags struct {
	set    *flag.FlagSet
	files  []string
	join   []string
	dev    bool
	server bool
	client bool
	given  []setting
}

// setting is a flag that sets one value of a Config.
type setting struct {
	flag, path string
	apply      func(*Config)
}

// Bind defines the flags of an agent in set. Read the result, by Config, after set.Parse.
func Bind(set *flag.FlagSet) *Flags {
	f := &Flags{set: set}
	set.Func("config", "`file` or folder of configuration, HCL or JSON; may be repeated, later ones win", func(s string) error {
		f.files = append(f.files, s)
		return nil
	})
	set.BoolVar(&f.dev, "dev", false, "server and client in one process that keeps nothing; needs no configuration")
	set.BoolVar(&f.server, "server", false, "be a server: part of the control plane")
	set.BoolVar(&f.client, "client", false, "be a client: run work")
	set.Func("join", "`address` (host or host:port) of an agent to join; may be repeated or a list with commas", func(s string) error {
		for one := range strings.SplitSeq(s, ",") {
			if one = strings.TrimSpace(one); one != "" {
				f.join = append(f.join, one)
			}
		}
		return nil
	})
	f.text("node-name", "node_name", "`name` of this agent (default the host name)", func(c *Config) *string { return &c.NodeName })
	f.text("region", "region", "`name` of the region (default global)", func(c *Config) *string { return &c.Region })
	f.text("datacenter", "datacenter", "`name` of the datacenter (default dc1)", func(c *Config) *string { return &c.Datacenter })
	f.text("bind", "bind", "`address` of the cluster port, or a go-sockaddr template (default 0.0.0.0)", func(c *Config) *string { return &c.Bind })
	f.text("advertise", "advertise", "`address` by which others reach this agent, or a template", func(c *Config) *string { return &c.Advertise })
	f.text("log-level", "log_level", "`level`: debug, info, warn or error (default info)", func(c *Config) *string { return &c.LogLevel })
	f.func1("data-dir", "data_dir", "`folder` for everything that is kept", func(s string) (func(*Config), error) {
		abs, err := filepath.Abs(s)
		return func(c *Config) { c.DataDir = abs }, err
	})
	f.number("http-port", "http_port", "`port` of the HTTP API (default 5050)", func(c *Config) *int { return &c.HTTPPort })
	f.number("executor-port", "executor_port", "`port` of the executor API (default 5051)", func(c *Config) *int { return &c.ExecutorPort })
	f.number("cluster-port", "cluster_port", "cluster `port` (default 5052)", func(c *Config) *int { return &c.ClusterPort })
	f.number("bootstrap-expect", "server.bootstrap_expect", "`number` of servers that form the first quorum: 1, 3, 5 or 7", func(c *Config) *int {
		return &c.server().BootstrapExpect
	})
	set.BoolFunc("log-json", "log JSON lines", func(s string) error {
		yes, err := strconv.ParseBool(s)
		f.given = append(f.given, setting{"log-json", "log_json", func(c *Config) { c.LogJSON = yes }})
		return err
	})
	return f
}

func (f *Flags) func1(name, path, usage string, parse func(string) (func(*Config), error)) {
	f.set.Func(name, usage, func(s string) error {
		apply, err := parse(s)
		f.given = append(f.given, setting{name, path, apply})
		return err
	})
}

func (f *Flags) text(name, path, usage string, field func(*Config) *string) {
	f.func1(name, path, usage, func(s string) (func(*Config), error) { return func(c *Config) { *field(c) = s }, nil })
}

func (f *Flags) number(name, path, usage string, field func(*Config) *int) {
	f.func1(name, path, usage, func(s string) (func(*Config), error) {
		n, err := strconv.Atoi(s)
		if err != nil {
			err = structs.Errorf(structs.Invalid, "", "%q is not a whole number", s)
		}
		return func(c *Config) { *field(c) = n }, err
	})
}

// Config reads the files that -config names, lets flags win, and finishes: defaults, address templates, validation. The error
// lists all problems, each with the file:line or the flag that caused it. It may be called again, for a reload.
func (f *Flags) Config() (*Config, *Sources, error) {
	c, s, err := Load(f.files)
	if err != nil {
		return nil, nil, err
	}
	f.apply(c, s)
	if err := c.Finish(s); err != nil {
		return nil, nil, err
	}
	return c, s, nil
}

func (f *Flags) apply(c *Config, s *Sources) {
	serverInFiles := c.Server != nil
	for _, x := range f.given {
		x.apply(c)
		s.Values.Set(x.path, "-"+x.flag)
	}
	if len(f.join) > 0 {
		c.Join = f.join
		s.Values.Set("join", "-join")
	}
	f.set.Visit(func(given *flag.Flag) {
		switch given.Name {
		case "dev":
			c.Dev = f.dev
		case "server":
			c.server().Enabled = &f.server
			s.Values.Set("server.enabled", "-server")
		case "client":
			c.client().Enabled = &f.client
			s.Values.Set("client.enabled", "-client")
		}
	})
	if c.Dev && !serverInFiles && !f.has("server") && c.Server != nil {
		c.Server.Enabled = nil // it was made by a flag that tunes it
	}
}

func (f *Flags) has(name string) (found bool) {
	f.set.Visit(func(given *flag.Flag) { found = found || given.Name == name })
	return found
}

func (c *Config) server() *Server {
	if c.Server == nil {
		// A flag that tunes the server does not make this agent one.
		no := false
		c.Server = &Server{Enabled: &no}
	}
	return c.Server
}

func (c *Config) client() *Client {
	if c.Client == nil {
		no := false
		c.Client = &Client{Enabled: &no}
	}
	return c.Client
}
