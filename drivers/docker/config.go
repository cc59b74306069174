package docker

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/schema"
	"github.com/proffer/proffer/structs"
)

// config is what a job writes for a task of this driver.
type config struct {
	image      string
	forcePull  bool
	login      *structs.ImageLogin // nil: the node's
	entrypoint []string
	command    string
	args       []string
	workDir    string
	hostname   string
	init       bool
	readOnly   bool

	network string
	endpoint
	further    []endpoint // networks beside that, in order
	ports      []string   // labels
	extraHosts []string
	dns        []string
	dnsSearch  []string

	mounts  []mountConfig
	labels  map[string]string
	capAdd  []string
	capDrop []string

	privileged bool
	ulimits    []*container.Ulimit
	sysctls    map[string]string
	shm        structs.Bytes
	pids       int64 // 0: the default
	devices    []deviceConfig
	groups     []string
	cpuset     string
	security   []string
	seccomp    string // the name of a profile; see package seccomp
	pidMode    string
	ipcMode    string
	usernsMode string
	runtime    string
	options    *options
	logDriver  string // empty: the driver's own
	logOptions map[string]string
}

// endpoint is what a container wants of a network.
type endpoint struct {
	at         string // place, for messages; empty: the config itself
	name       string // of a further network
	aliases    []string
	ipv4, ipv6 string // addresses in it; empty: the engine chooses
}

// Kinds of mounts.
const (
	mountBind   = "bind"
	mountVolume = "volume"
	mountTmpfs  = "tmpfs"
)

type mountConfig struct {
	at       string // place, for messages
	kind     string
	source   string
	target   string
	readOnly bool
	size     structs.Bytes // of a tmpfs; 0: half of the memory

	driver  string            // of a volume that the engine does not have yet; empty: local
	options map[string]string // that it makes it with
}

type deviceConfig struct{ host, inside, rights string }

// maxPids bounds what a task may ask for; defaultPids is what one has that does not ask: a fork bomb stays its own.
const (
	maxPids     = 1 << 22
	defaultPids = 4096
)

// parse reads a config and collects everything that is wrong with it. object names the place for messages.
func parse(object string, raw map[string]any) (*config, error) {
	b := schema.Read(object, raw)
	c := &config{
		image: b.Required("image", `image = "debian:bookworm"`), forcePull: b.Bool("force_pull"),
		entrypoint: b.Texts("entrypoint"), command: b.Text("command"), args: b.Texts("args"),
		workDir: b.Text("work_dir"), hostname: b.Text("hostname"), init: b.Bool("init"), readOnly: b.Bool("read_only"),
		network: b.Text("network_mode"), ports: b.Texts("ports"),
		endpoint:   endpoint{aliases: b.Texts("network_aliases"), ipv4: b.Text("ipv4_address"), ipv6: b.Text("ipv6_address")},
		extraHosts: b.Texts("extra_hosts"), dns: b.Texts("dns"), dnsSearch: b.Texts("dns_search"),
		labels: b.TextMap("labels"), capAdd: capabilities(b, "cap_add"), capDrop: capabilities(b, "cap_drop"),
		privileged: b.Bool("privileged"), sysctls: b.TextMap("sysctls"), shm: b.Size("shm_size"),
		pids: b.Whole("pids", drivers.MinPids, maxPids, 0), groups: b.Texts("group_add"), cpuset: b.Text("cpuset_cpus"),
		security: b.Texts("security_opt"), pidMode: b.Text("pid_mode"), ipcMode: b.Text("ipc_mode"),
		usernsMode: b.Text("userns_mode"), runtime: b.Text("runtime"),
	}
	c.further = networks(b)
	c.login = b.Login()
	c.seccomp = b.Seccomp()
	c.logDriver, c.logOptions = b.Text("log_driver"), b.TextMap("log_options")
	c.check(b)
	for _, u := range b.Ulimits("ulimit") {
		c.ulimits = append(c.ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	c.mounts = mounts(b, b.Text("volume_driver"))
	c.devices = devices(b)
	c.options = readOptions(b)
	return c, b.Err("the docker driver")
}

func (c *config) check(b *schema.Block) {
	if c.image != "" && !schema.Refers(c.image) {
		if _, err := reference.ParseNormalizedNamed(c.image); err != nil {
			b.Problem("image", "%q is not the name of an image: %w", c.image, err).Advise("such as debian:bookworm or registry.example.com/shop@sha256:…")
		}
	}
	if c.workDir != "" && !schema.Refers(c.workDir) && !path.IsAbs(c.workDir) {
		b.Problem("work_dir", "%q is not absolute", c.workDir)
	}
	if len(c.hostname) > 63 {
		b.Problem("hostname", "it is longer than 63 characters")
	}
	switch c.network {
	case "", "default":
		c.network = "bridge"
	}
	if len(c.ports) > 0 && (c.network == "host" || c.network == "none") {
		b.Problem("ports", "network_mode = %q maps no ports", c.network).Advise("leave ports out: with host, a task listens on the port of the node")
	}
	c.endpoint.check(b)
	c.checkNetworks(b)
	for key, mode := range map[string]string{structs.PIDModeKey: c.pidMode, structs.IPCModeKey: c.ipcMode} {
		if mode == structs.NamespaceAlloc {
			b.Problem(key, "containers of the engine cannot share those of their allocation").Advise("use the driver exec or oci")
		}
	}
	for name := range c.labels {
		if strings.HasPrefix(name, labelPrefix) {
			b.Problem("labels."+name, "names that begin with %s are the driver's", labelPrefix)
		}
	}
	if _, err := drivers.ParseCores(c.cpuset); err != nil && !schema.Refers(c.cpuset) {
		b.Problem("cpuset_cpus", "%w", err).Advise("such as 0-3,8")
	}
	switch {
	case c.seccomp != structs.SeccompDefault && slices.ContainsFunc(c.security, aboutSeccomp):
		b.Problem("security_opt", "seccomp says which profile, too").Advise("leave one out")
	}
	switch {
	case c.logDriver == "" && len(c.logOptions) > 0:
		b.Problem("log_options", "they are those of a log_driver")
	case c.logDriver == "none" || c.logOptions["cache-disabled"] == "true":
		b.Problem("log_driver", "alloc logs would have nothing").Advise("leave it out")
	}
	for i, host := range c.extraHosts {
		if name, address, ok := strings.Cut(host, ":"); !schema.Refers(host) && (!ok || name == "" || address == "") {
			b.Problem(fmt.Sprintf("extra_hosts[%d]", i), "%q is not name:address", host)
		}
	}
	if c.shm != 0 && c.shm < 1<<16 {
		b.Problem("shm_size", "%s is less than 64KiB", c.shm).Advise("a bare number is bytes")
	}
}

// networks reads network blocks: what a container is in beside network_mode.
func networks(b *schema.Block) (out []endpoint) {
	for i, block := range b.Blocks("network") {
		out = append(out, endpoint{at: fmt.Sprintf("network[%d].", i), name: block.Required("name", `name = "storage"`), aliases: block.Texts("aliases"),
			ipv4: block.Text("ipv4_address"), ipv6: block.Text("ipv6_address")})
		block.Close("a network")
	}
	return out
}

// check looks at the addresses that a task wants of a network.
func (e *endpoint) check(b *schema.Block) {
	for _, x := range e.wishes() {
		if x.text == "" || schema.Refers(x.text) {
			continue
		}
		if a, err := netip.ParseAddr(x.text); err != nil || !x.is(a) || a.Zone() != "" {
			b.Problem(e.at+x.key, "%.100q is no such address", x.text)
		}
	}
}

// wished is an address that a task wants, with the setting that says so.
type wished struct {
	key, text string
	is        func(netip.Addr) bool
}

func (e *endpoint) wishes() []wished {
	return []wished{{"ipv4_address", e.ipv4, netip.Addr.Is4}, {"ipv6_address", e.ipv6, netip.Addr.Is6}}
}

// alone reports whether a container of network_mode can be in no network beside it.
func (c *config) alone() bool {
	return c.network == "host" || c.network == "none" || strings.HasPrefix(c.network, "container:")
}

// checkNetworks looks at what a task wants to be in.
func (c *config) checkNetworks(b *schema.Block) {
	for _, x := range c.wishes() {
		if x.text != "" && !schema.Refers(x.text) && (c.alone() || c.network == "bridge") {
			b.Problem(x.key, "network_mode = %q gives none that is asked for", c.network).Advise("name a network that was made on the engine, with a subnet")
		}
	}
	if len(c.further) > structs.MaxNetworks-1 {
		b.Problem("network", "with that of network_mode, %d networks are more than %d", len(c.further)+1, structs.MaxNetworks)
	}
	if len(c.further) > 0 && c.alone() {
		b.Problem("network", "network_mode = %q is alone", c.network).Advise("use bridge, or a network that was made on the engine")
	}
	seen := map[string]bool{c.network: true}
	for i := range c.further {
		e := &c.further[i]
		e.check(b)
		switch {
		case e.name == "" || schema.Refers(e.name):
		case e.name == "host" || e.name == "none" || !structs.ValidName(e.name):
			b.Problem(e.at+"name", "%.100q is not the name of a network that a container can be in beside another one", e.name)
		case seen[e.name]:
			b.Problem(e.at+"name", "the container is in %s already", e.name)
		}
		seen[e.name] = true
	}
}

// aboutSeccomp reports whether an option is about the filter for system calls.
func aboutSeccomp(option string) bool { return strings.HasPrefix(option, "seccomp") }

// wish is the image that a start wants.
func (c *config) wish(newest bool) *wish {
	w := &wish{ref: c.image, newest: newest}
	if c.login != nil {
		w.own = &Credentials{Username: c.login.Username, Password: c.login.Password}
	}
	return w
}

// capabilities reads names of capabilities, with and without CAP_, as the kernel's without it; "all" is one.
func capabilities(b *schema.Block, key string) (out []string) {
	for i, name := range b.Texts(key) {
		short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if short == "" || strings.ContainsFunc(short, func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r == '_') }) {
			b.Problem(fmt.Sprintf("%s[%d]", key, i), "%q is not a capability, such as net_bind_service", name)
			continue
		}
		out = append(out, short)
	}
	return out
}

// localVolumes is the volume driver of the engine itself.
const localVolumes = "local"

// pluginName is what the engine calls a plugin, such as rclone or vieux/sshfs:latest.
var pluginName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$`)

// mounts reads volumes, "source:target" with an optional ":ro", and mount blocks. Volumes that say nothing of their driver have the given one.
func mounts(b *schema.Block, driver string) (out []mountConfig) {
	if driver != "" && !schema.Refers(driver) && !pluginName.MatchString(driver) {
		b.Problem("volume_driver", "%q is not the name of a plugin of the engine", driver)
	}
	for i, text := range b.Texts("volumes") {
		at := fmt.Sprintf("volumes[%d]", i)
		parts := strings.Split(text, ":")
		m := mountConfig{at: at, kind: mountVolume, driver: driver}
		switch {
		case len(parts) == 3 && (parts[2] == "ro" || parts[2] == "rw"):
			m.readOnly = parts[2] == "ro"
			fallthrough
		case len(parts) == 2:
			m.source, m.target = parts[0], parts[1]
		default:
			b.Problem(at, `%q is not "source:target", with ":ro" behind it for reading only`, text)
			continue
		}
		if strings.Contains(m.source, "/") {
			m.kind, m.driver = mountBind, ""
		}
		out = append(out, m)
		m.check(b)
	}
	for i, block := range b.Blocks("mount") {
		m := mountConfig{at: fmt.Sprintf("mount[%d]", i), kind: block.OneOf("type", mountBind, mountVolume, mountTmpfs), source: block.Text("source"),
			target: block.Required("target", `target = "/data"`), readOnly: block.Bool("read_only"), size: block.Size("size"),
			driver: block.Text("driver"), options: block.TextMap("driver_options")}
		if m.kind == mountVolume && m.driver == "" {
			m.driver = driver
		}
		block.Close("a mount")
		out = append(out, m)
		m.check(b)
	}
	return out
}

// ownTargets are what every task has of its own.
var ownTargets = []string{"/local", "/secrets", "/alloc", "/proc", "/sys", "/dev"}

func (m *mountConfig) check(b *schema.Block) {
	if m.target != "" && !schema.Refers(m.target) {
		switch {
		case !path.IsAbs(m.target) || path.Clean(m.target) != m.target || m.target == "/":
			b.Problem(m.at, "the target %q is not an absolute path below the root", m.target)
		case slices.Contains(ownTargets, m.target):
			b.Problem(m.at, "every task has a %s of its own", m.target)
		}
	}
	switch {
	case m.kind == mountTmpfs && m.source != "":
		b.Problem(m.at, "a tmpfs has no source")
	case m.kind != mountTmpfs && m.size != 0:
		b.Problem(m.at, "size is for a tmpfs")
	case m.kind != mountTmpfs && m.source == "":
		b.Problem(m.at, "it has no source").Advise("a folder of the node, one below local/, or the name of a volume")
	case schema.Refers(m.source):
	case m.kind == mountBind && path.IsAbs(m.source) && path.Clean(m.source) != m.source:
		b.Problem(m.at, "%q is to be written as %q", m.source, path.Clean(m.source))
	case m.kind == mountBind && !path.IsAbs(m.source) && !belowLocal(m.source):
		b.Problem(m.at, "%q is neither absolute nor below local/ of the task's folder", m.source)
	case m.kind == mountVolume && !structs.ValidName(m.source):
		b.Problem(m.at, "%q is not the name of a volume", m.source)
	}
	switch {
	case m.kind != mountVolume && (m.driver != "" || len(m.options) > 0):
		b.Problem(m.at, "driver and driver_options are for a volume")
	case m.driver != "" && !schema.Refers(m.driver) && !pluginName.MatchString(m.driver):
		b.Problem(m.at, "%q is not the name of a plugin of the engine", m.driver)
	}
}

// belowLocal reports whether a relative path is local or below it.
func belowLocal(p string) bool {
	clean := path.Clean(p)
	return clean == p && (p == "local" || strings.HasPrefix(p, "local/"))
}

// devices reads "/dev/x", "/dev/x:/dev/y" and "/dev/x:/dev/y:rwm".
func devices(b *schema.Block) (out []deviceConfig) {
	for i, text := range b.Texts("devices") {
		parts := strings.Split(text, ":")
		d := deviceConfig{host: parts[0], inside: parts[0], rights: "rwm"}
		if len(parts) > 1 && parts[1] != "" {
			d.inside = parts[1]
		}
		if len(parts) > 2 {
			d.rights = parts[2]
		}
		if len(parts) > 3 || !schema.Refers(text) && (path.Clean(d.host) != d.host || !strings.HasPrefix(d.host, "/dev/") ||
			!strings.HasPrefix(d.inside, "/") || d.rights == "" || strings.Trim(d.rights, "rwm") != "") {
			b.Problem(fmt.Sprintf("devices[%d]", i), `%q is not "/dev/name", "/dev/name:/dev/other" or that with ":rwm"`, text)
			continue
		}
		out = append(out, d)
	}
	return out
}
