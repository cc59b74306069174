package taskdir

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// Subject is what a task's environment, templates and references are made from. Nothing in it is changed.
type Subject struct {
	Region string
	Node   *structs.Node
	Alloc  *structs.Allocation
	Job    *structs.Job
	Group  *structs.Group
	Task   *structs.Task
	Dir    Dir
	Owner  Owner
	Seen   drivers.View
	// Addresses are those of the allocation's own network, when its ports are mapped into it or it has none; IPv4 first.
	Addresses []string
	Joined    []structs.JoinedNetwork // beside that one

	Cores   []int // that it has for itself alone
	Devices []structs.AssignedDevice

	// Items gives what is known of a variable or service; nil: nothing. A nil Items knows nothing.
	Items func(session.Ref) *session.Item
}

// below joins without a double slash, for a task folder that is the root.
func below(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

// DefaultPath is PATH unless the task sets it.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Scope is the values that a task can refer to. It is made once for each start.
type Scope struct {
	subject Subject
	env     map[string]string
	meta    map[string]string

	asked     map[session.Ref]*session.Item
	waits     []string // what the present text waits for
	greedy    error    // the present text asks for too much
	absent    bool     // some of it is known not to be there
	secret    bool     // the present text reads a secret
	variables bool     // or a variable
}

// NewScope computes the environment of a task. Its error names the variable that refers to something unknown.
func NewScope(s Subject) (*Scope, error) {
	sc := &Scope{subject: s, env: make(map[string]string, 32+len(s.Task.Env)), meta: make(map[string]string)}
	for _, m := range []map[string]string{s.Job.Meta, s.Group.Meta, s.Task.Meta} {
		for k, v := range m {
			sc.meta[k] = v
		}
	}
	sc.builtIn()
	for name, value := range sc.meta {
		sc.env["PROFFER_META_"+envName(name)] = value
	}
	// A variable may refer to what is built in, not to another variable of the job: there is no order among them.
	set := make(map[string]string, len(s.Task.Env))
	for name, value := range s.Task.Env {
		if strings.ContainsAny(name, "=\x00") || name == "" || strings.Contains(value, "\x00") {
			return nil, structs.Errorf(structs.Invalid, "env "+strconv.Quote(name), "a name has no =, and neither has a NUL")
		}
		v, err := sc.Expand(value)
		if err != nil {
			return nil, structs.Errorf(structs.Invalid, "env "+name, "%w", err)
		}
		set[name] = v
	}
	for name, value := range set {
		sc.env[name] = value
	}
	sc.devices()
	return sc, nil
}

func (sc *Scope) builtIn() {
	s := &sc.subject
	a, e := s.Alloc, sc.env
	shared, own := s.Seen.Shared, s.Seen.Task
	if shared == "" {
		shared = s.Dir.Shared()
	}
	if own == "" {
		own = s.Dir.Task(s.Task.Name)
	}
	if !s.Seen.Image {
		e["PATH"] = DefaultPath
		e["HOME"] = below(own, "local")
		if s.Owner.Name != "" {
			e["USER"] = s.Owner.Name
		}
	}
	e["PROFFER_ALLOC_ID"] = string(a.ID)
	e["PROFFER_JOB"] = a.Job
	e["PROFFER_GROUP"] = a.Group
	e["PROFFER_TASK"] = s.Task.Name
	e["PROFFER_INDEX"] = strconv.Itoa(a.Index)
	e["PROFFER_INCARNATION"] = strconv.FormatUint(a.Incarnation, 10)
	e["PROFFER_NODE_ID"] = string(s.Node.ID)
	e["PROFFER_NODE_NAME"] = s.Node.Name
	e["PROFFER_REGION"] = s.Region
	e["PROFFER_DC"] = s.Node.Datacenter
	e["PROFFER_ROLE"] = a.Role
	e["PROFFER_ALLOC_DIR"] = shared
	e["PROFFER_TASK_DIR"] = own
	e["PROFFER_SECRETS_DIR"] = below(own, "secrets")
	if r := s.Task.Resources; r != nil {
		e["PROFFER_CPU"] = r.CPU.String()
		e["PROFFER_MEMORY"] = strconv.FormatInt(int64(r.Memory), 10)
	}
	sc.addresses()
}

// addresses tells the task of its address and ports: as it sees them itself, and, with HOST in the name, as others do.
func (sc *Scope) addresses() {
	s := &sc.subject
	a, e := s.Alloc, sc.env
	ip := ""
	if len(s.Node.Hosts) > 0 {
		ip = s.Node.Hosts[0]
	}
	mapped := s.Group.Network.Mapped()
	first := func(network string) string {
		if all := structs.AddressesIn(network, s.Addresses, s.Joined); len(all) > 0 {
			return all[0]
		}
		return ""
	}
	own := first("")
	for _, n := range s.Joined {
		e["PROFFER_NETWORK_INTERFACE_"+envName(n.Name)] = n.Interface
		if ip := first(n.Name); ip != "" {
			e["PROFFER_NETWORK_IP_"+envName(n.Name)] = ip
		}
	}
	var unnamed []string
	for _, p := range a.Ports {
		host, port := p.Host, strconv.Itoa(p.Port)
		if host == "" {
			host = ip
		}
		if p.Label == "" {
			unnamed = append(unnamed, port)
			continue
		}
		name := envName(p.Label)
		e["PROFFER_HOST_IP_"+name], e["PROFFER_HOST_PORT_"+name] = host, port
		e["PROFFER_HOST_ADDR_"+name] = net.JoinHostPort(host, port)
		if mapped {
			host, port = first(p.Network), strconv.Itoa(p.Inside())
		}
		e["PROFFER_IP_"+name], e["PROFFER_PORT_"+name] = host, port
		e["PROFFER_ADDR_"+name] = net.JoinHostPort(host, port)
	}
	if len(a.Ports) > 0 && a.Ports[0].Host != "" {
		ip = a.Ports[0].Host
	}
	switch {
	case !s.Group.Network.Own():
	case mapped:
		e["PROFFER_HOST_IP"] = ip
		ip = own
	default:
		ip = ""
	}
	if ip != "" {
		e["PROFFER_IP"] = ip
	}
	if len(unnamed) > 0 {
		e["PROFFER_PORTS"] = strings.Join(unnamed, ",")
	}
}

// envName makes what may stand in the name of a variable.
func envName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, s)
}

// Owner returns whose the task's files are.
func (sc *Scope) Owner() Owner { return sc.subject.Owner }

// Env returns the environment as KEY=VALUE, sorted.
func (sc *Scope) Env() []string {
	out := make([]string, 0, len(sc.env))
	for name, value := range sc.env {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

// Expand replaces ${NAME} by a variable of the environment, ${env.NAME} likewise, ${meta.NAME} by the job's meta,
// ${attr.NAME}, ${node.id|name|datacenter|region|meta.NAME} by what the node is, ${alloc.FIELD} by what template's alloc
// gives. A name of these spaces that does not exist is an error. Anything else in ${} stays as it is: it may be for a shell.
// "$${" is a literal "${".
func (sc *Scope) Expand(text string) (string, error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		end := strings.IndexByte(text[i:], '}')
		if end < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		name := text[i+2 : i+end]
		value, ok, ours := sc.lookup(name)
		switch {
		case ok:
			b.WriteString(text[:i] + value)
		case ours:
			return "", fmt.Errorf("${%s} is not known here", name)
		default:
			b.WriteString(text[:i+end+1])
		}
		text = text[i+end+1:]
	}
}

// lookup resolves a reference; ours tells that it is in a name space of which everything is known.
func (sc *Scope) lookup(name string) (value string, ok, ours bool) {
	if v, ok := sc.env[name]; ok {
		return v, true, true
	}
	n := sc.subject.Node
	space, rest, dotted := strings.Cut(name, ".")
	if !dotted {
		return "", false, strings.HasPrefix(name, "PROFFER_")
	}
	switch space {
	case "env":
		value, ok = sc.env[rest]
	case "meta":
		value, ok = sc.meta[rest]
	case "attr":
		value, ok = n.Attributes[rest]
	case "node":
		switch rest {
		case "id":
			return string(n.ID), true, true
		case "name":
			return n.Name, true, true
		case "datacenter":
			return n.Datacenter, true, true
		case "region":
			return sc.subject.Region, true, true
		}
		if key, found := strings.CutPrefix(rest, "meta."); found {
			value, ok = n.Meta[key]
		}
	case "alloc":
		v, err := sc.alloc(rest)
		return v, err == nil, true
	default:
		return "", false, false
	}
	return value, ok, true
}

// ExpandConfig returns a driver's config with the references in its strings replaced; config itself is not changed.
func (sc *Scope) ExpandConfig(config map[string]any) (map[string]any, error) {
	if !refers(config) {
		return config, nil
	}
	v, err := sc.expandValue(config)
	if err != nil {
		return nil, structs.Errorf(structs.Invalid, "config", "%w", err)
	}
	return v.(map[string]any), nil
}

func refers(v any) bool {
	switch x := v.(type) {
	case string:
		return strings.Contains(x, "${")
	case map[string]any:
		for _, item := range x {
			if refers(item) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, refers)
	case []string:
		return slices.ContainsFunc(x, func(s string) bool { return refers(s) })
	}
	return false
}

func (sc *Scope) expandValue(v any) (any, error) {
	switch x := v.(type) {
	case string:
		return sc.Expand(x)
	case map[string]any:
		out := make(map[string]any, len(x))
		for k, item := range x {
			e, err := sc.expandValue(item)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
			out[k] = e
		}
		return out, nil
	case []any:
		out := make([]any, len(x))
		for i, item := range x {
			e, err := sc.expandValue(item)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	case []string:
		out := make([]string, len(x))
		for i, item := range x {
			e, err := sc.Expand(item)
			if err != nil {
				return nil, err
			}
			out[i] = e
		}
		return out, nil
	}
	return v, nil
}
