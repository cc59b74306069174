package structs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// CSIPlugin makes a task a plugin of the Container Storage Interface.
type CSIPlugin struct {
	ID       string `json:"id,omitempty" doc:"What volumes call the plugin. All tasks with the same id are one plugin."`
	Type     string `json:"type,omitempty" doc:"What the task serves of it: node, controller or both. Default both."`
	MountDir string `json:"mount_dir,omitempty" doc:"Where the task sees the folder in which it makes its socket, csi.sock; CSI_ENDPOINT says where that is. Default /csi."`
}

// What a plugin's task serves.
const (
	PluginNode       = "node"
	PluginController = "controller"
	PluginBoth       = "both"
)

// ServesNode reports whether the task mounts volumes on its node.
func (c *CSIPlugin) ServesNode() bool { return c.Type != PluginController }

// ServesController reports whether the task asks the storage for volumes.
func (c *CSIPlugin) ServesController() bool { return c.Type != PluginNode }

// Plugin reports whether a task of the group is a storage plugin.
func (g *Group) Plugin() bool {
	return slices.ContainsFunc(g.Tasks, func(t *Task) bool { return t != nil && t.CSIPlugin != nil })
}

func (c *CSIPlugin) canonicalize() {
	setDefault(&c.Type, PluginBoth)
	setDefault(&c.MountDir, "/csi")
}

func (c *CSIPlugin) problems(p *Problems, at string) {
	if !ValidName(c.ID) || len(c.ID) > maxPluginName {
		p.Add(at+".id", "%q is not the name of a plugin", c.ID).Advise("up to %d letters, digits, - _ and ., a letter or digit first", maxPluginName)
	}
	checkOneOf(p, at+".type", c.Type, PluginNode, PluginController, PluginBoth)
	if why := BadMountTarget(c.MountDir); why != "" {
		p.Add(at+".mount_dir", "%s", why)
	}
}

// Bounds of plugins.
const (
	MaxNodePlugins = 64 // of a node
	maxPluginName  = 64 // bytes
	maxCSIText     = 256
	maxCSIExternal = 1 << 10
	maxCSIMap      = 64 // names
	maxCSIValue    = 4 << 10
	maxCSIBytes    = 32 << 10 // of all names and values
)

// NodePlugin is what a node says of a storage plugin that runs on it.
type NodePlugin struct {
	Vendor  string `json:"vendor"` // what it calls itself
	Version string `json:"version,omitempty"`
	// HasController says that volumes of it go through a controller, which may run elsewhere.
	HasController bool                  `json:"has_controller,omitempty"`
	Node          *PluginNodePart       `json:"node,omitempty"`       // nil: it does not mount volumes here
	Controller    *PluginControllerPart `json:"controller,omitempty"` // nil: its controller does not run here
}

// PluginNodePart is the part of a plugin that mounts volumes.
type PluginNodePart struct {
	Healthy    bool              `json:"healthy"`
	Why        string            `json:"why,omitempty"`         // why not
	ID         string            `json:"id"`                    // what the storage calls the node
	MaxVolumes int64             `json:"max_volumes,omitempty"` // 0: no bound
	Topology   map[string]string `json:"topology,omitempty"`
	Stages     bool              `json:"stages,omitempty"`
	Expands    bool              `json:"expands,omitempty"`
}

// PluginControllerPart is the part of a plugin that asks the storage for volumes.
type PluginControllerPart struct {
	Healthy  bool   `json:"healthy"`
	Why      string `json:"why,omitempty"`
	Makes    bool   `json:"makes,omitempty"`
	Attaches bool   `json:"attaches,omitempty"`
	Expands  bool   `json:"expands,omitempty"`
}

// Equal reports whether two say the same.
func (p *NodePlugin) Equal(q *NodePlugin) bool {
	if p == nil || q == nil {
		return p == q
	}
	a, b := *p, *q
	a.Node, a.Controller, b.Node, b.Controller = nil, nil, nil, nil
	return a == b && equalNodePart(p.Node, q.Node) &&
		(p.Controller == nil) == (q.Controller == nil) && (p.Controller == nil || *p.Controller == *q.Controller)
}

func equalNodePart(a, b *PluginNodePart) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Healthy == b.Healthy && a.Why == b.Why && a.ID == b.ID && a.MaxVolumes == b.MaxVolumes && a.Stages == b.Stages &&
		a.Expands == b.Expands && maps.Equal(a.Topology, b.Topology)
}

// CSIVolume is what a volume is in the storage that a plugin reaches.
type CSIVolume struct {
	Plugin    string `json:"plugin"`
	External  string `json:"external,omitempty"`  // what the storage calls it; empty: it is not made yet
	Made      bool   `json:"made,omitempty"`      // it was made for the region, and goes with its record
	Unchecked bool   `json:"unchecked,omitempty"` // its storage was not asked yet whether it has it, and may be used so
	// Borrowed says that work of an external framework named it, which nobody registered: its record goes when no node has it attached any more.
	Borrowed bool `json:"borrowed,omitempty"`
	// Mode is how a borrowed one is to be used, as CSI numbers its access modes; 0: as the access of the volume says.
	Mode       int64             `json:"mode,omitempty"`
	Block      bool              `json:"block,omitempty"`       // it is used as a block device, and not by its files
	FSType     string            `json:"fs_type,omitempty"`     // empty: as the plugin likes
	MountFlags []string          `json:"mount_flags,omitempty"` //
	Parameters map[string]string `json:"parameters,omitempty"`  // to make it
	Context    map[string]string `json:"context,omitempty"`     // what the plugin said of it
	// Secrets are those of a volume on its way to be sealed, or to a plugin; what the region records has Sealed in their place. Names of those of a
	// borrowed one begin with the call that they are for, see SecretsOf.
	Secrets Secrets `json:"-" codec:"secrets,omitempty"`
	Sealed  Sealed  `json:"-" codec:"sealed,omitempty"`
	// Topology has the places that it can be reached from; empty: everywhere.
	Topology []Segments `json:"topology,omitempty"`
	Capacity Bytes      `json:"capacity,omitempty"` // that it has; 0: not known
	Error    string     `json:"error,omitempty"`    // of the last call to its plugin, when that failed
	// Raw says of what raw disk of its node it was made, and that it is a disk of that node itself; nil: it is none.
	Raw *RawVolume `json:"raw,omitempty"`
	// Attached has the nodes that may use it, from before the storage is asked for that until it has taken it back.
	Attached map[NodeID]*Attachment `json:"attached,omitempty"`
}

// RawVolume is what a volume that is a disk of a node is beside that. Frameworks have it made of a raw disk, and are offered it whole until one of
// them makes it a persistent volume; when that is destroyed it is made anew, so that nothing of it is left.
type RawVolume struct {
	Pool string `json:"pool"` // the raw disk
	// Framework waits for what becomes of its Operation, which is under way; empty: none is.
	Framework FrameworkID `json:"framework,omitempty"`
	Operation string      `json:"operation,omitempty"`
	Fault     string      `json:"fault,omitempty"`  // why it could not be made, and is to be raw again
	Unmade    bool        `json:"unmade,omitempty"` // a framework wants it to be raw again
	Anew      bool        `json:"anew,omitempty"`   // it is removed to be made anew
}

// Segments is a place in the topology of a storage.
type Segments map[string]string

// Secrets are given to plugins and shown to nobody.
type Secrets map[string]string

// Calls of plugins that the secrets of a borrowed volume are for. A framework has none for others.
const (
	StageCall      = "stage"
	PublishCall    = "publish"
	ControllerCall = "controller"
)

// SecretsOf are those that a call is given: all, but of a borrowed volume those alone whose names have the call before a slash, without that.
func (c *CSIVolume) SecretsOf(call string) Secrets {
	if !c.Borrowed {
		return c.Secrets
	}
	var out Secrets
	for name, value := range c.Secrets {
		if rest, is := strings.CutPrefix(name, call+"/"); is {
			if out == nil {
				out = Secrets{}
			}
			out[rest] = value
		}
	}
	return out
}

// Check adds what is wrong with them. It shows no value.
func (s Secrets) Check(p *Problems) { checkCSIMap(p, "secrets", s) }

// String hides them.
func (s Secrets) String() string { return fmt.Sprintf("%d secrets", len(s)) }

// GoString hides them.
func (s Secrets) GoString() string { return s.String() }

// Attachment is what the storage was asked for about one node.
type Attachment struct {
	NodeName string            `json:"node_name"`
	PluginID string            `json:"plugin_id"` // of the node, as the storage calls it
	State    AttachState       `json:"state"`
	Called   bool              `json:"called,omitempty"`  // the storage was told; of one that is attaching: it has to be
	Context  map[string]string `json:"context,omitempty"` // what it answered
	Since    Time              `json:"since"`             // of State
	Index    uint64            `json:"index"`             // at which State was set: answers to older calls do not count
	// Unfenced is an allocation that may write to the volume there although the region lost it: its node is cut off and does not end it by
	// itself. It goes when its end is known, or nothing of it can be left.
	Unfenced AllocID `json:"unfenced,omitempty"`
}

// Stuck reports whether something may still write to the volume there and nobody can take it back: its plugin has no controller that could.
func (a *Attachment) Stuck() bool { return a.Unfenced != "" && !a.Called }

// AttachState is how far an attachment is.
type AttachState string

const (
	Attaching AttachState = "attaching"
	Attached  AttachState = "attached"
	Detaching AttachState = "detaching"
)

// VolumeMaking is the status of a volume that its plugin makes.
const VolumeMaking VolumeStatus = "making"

// For returns v as a node needs it: with no other attachment, and with what its plugin is given while it is attached there.
func (v *Volume) For(node NodeID) *Volume {
	if v.CSI == nil {
		return v
	}
	own, csi := *v, *v.CSI
	csi.Attached, csi.Parameters = nil, nil
	if a := v.CSI.Attached[node]; a != nil {
		csi.Attached = map[NodeID]*Attachment{node: a}
	} else {
		csi.Secrets, csi.Sealed = nil, Sealed{}
	}
	own.CSI = &csi
	return &own
}

// Plugged reports whether a has volumes of plugins.
func (a *Allocation) Plugged() bool {
	return slices.ContainsFunc(a.Volumes, func(v AllocVolume) bool { return v.Plugin != "" })
}

// AttachedTo returns the attachment of a node, or nil.
func (v *Volume) AttachedTo(node NodeID) *Attachment {
	if v == nil || v.CSI == nil {
		return nil
	}
	return v.CSI.Attached[node]
}

// Attachments returns the nodes that v is attached to.
func (v *Volume) Attachments() map[NodeID]*Attachment {
	if v.CSI == nil {
		return nil
	}
	return v.CSI.Attached
}

// Unreachable says why a node cannot have a volume of a plugin; empty: it can. It does not depend on where work is. Beside are volumes of the
// plugin that come to the node with it.
func Unreachable(n *Node, volume, plugin string, topology []Segments, beside []string) string {
	p := n.Plugins[plugin]
	switch {
	case p == nil || p.Node == nil:
		return fmt.Sprintf("plugin %q does not run there", plugin)
	case !p.Node.Healthy:
		return fmt.Sprintf("plugin %q is not healthy: %s", plugin, p.Node.Why)
	}
	if len(topology) > 0 && !slices.ContainsFunc(topology, func(s Segments) bool { return s.within(p.Node.Topology) }) {
		return "it cannot be reached from there"
	}
	if _, has := n.Attached[volume]; has || p.Node.MaxVolumes == 0 {
		return ""
	}
	count := int64(0)
	for _, of := range n.Attached {
		if of == plugin {
			count++
		}
	}
	for _, name := range beside {
		if _, has := n.Attached[name]; !has {
			count++
		}
	}
	if count >= p.Node.MaxVolumes {
		return fmt.Sprintf("no more than %d volumes of plugin %q fit", p.Node.MaxVolumes, plugin)
	}
	return ""
}

// within reports whether all of s is so in have.
func (s Segments) within(have map[string]string) bool {
	for name, value := range s {
		if got, ok := have[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// csiProblems adds what is wrong with v as a wish for a plugin.
func (v *Volume) csiProblems(p *Problems, at string) {
	c := v.CSI
	if !ValidName(c.Plugin) || len(c.Plugin) > maxPluginName {
		p.Add(at+".plugin", "%q is not the name of a plugin", c.Plugin).Advise("it is the id of a csi_plugin block")
	}
	if v.Node != "" && c.Raw == nil {
		p.Add("node", "a volume of a plugin is on no node")
	}
	if (v.Disk != "" || v.Persistence != "") && c.Raw == nil {
		p.Add(at, "a volume of a plugin is on no disk, and is not offered to frameworks with one")
	}
	if c.Block && (c.FSType != "" || len(c.MountFlags) > 0) {
		p.Add(at+".block", "a block device has no file system and is not mounted").Advise("leave fs_type and mount_flags out")
	}
	if len(c.FSType) > maxCSIText {
		p.Add(at+".fs_type", "%d bytes are more than %d", len(c.FSType), maxCSIText)
	}
	if len(c.MountFlags) > maxCSIMap {
		p.Add(at+".mount_flags", "%d are more than %d", len(c.MountFlags), maxCSIMap)
	}
	for _, flag := range c.MountFlags {
		if len(flag) > maxCSIText {
			p.Add(at+".mount_flags", "a flag has more than %d bytes", maxCSIText)
		}
	}
	checkCSIMap(p, at+".parameters", c.Parameters)
	c.Secrets.Check(p)
	if most := 2 * maxCSIBytes; len(c.Sealed.Data) > most {
		p.Add("secrets", "%d bytes are more than %d", len(c.Sealed.Data), most)
	}
	CheckSaid(p, c.External, c.Context, c.Topology)
}

// Plugged is the volume that v has a plugin make, as far as its plugin is concerned; nil: it is made on a disk of a node.
func (v *GroupVolume) Plugged() *CSIVolume {
	if v.Plugin == "" {
		return nil
	}
	return &CSIVolume{Plugin: v.Plugin, Made: true, Block: v.Block(), FSType: v.FSType, MountFlags: v.MountFlags, Parameters: v.Parameters}
}

// pluginProblems adds what is wrong with v as a wish for a plugin.
func (v *GroupVolume) pluginProblems(p *Problems, at string) {
	if v.AccessType != "" {
		checkOneOf(p, at+".access_type", v.AccessType, AccessMount, AccessBlock)
	}
	if v.Plugin == "" {
		if v.Block() && v.Size != 0 {
			p.Add(at+".access_type", "a block device is made by a plugin").Advise("name it with plugin")
		}
		if len(v.Parameters) > 0 || v.FSType != "" || len(v.MountFlags) > 0 {
			p.Add(at, "parameters, fs_type and mount_flags are for volumes that a plugin makes").Advise("name it with plugin, or leave them out")
		}
		return
	}
	if v.Size == 0 || v.Disk != "" {
		p.Add(at+".plugin", "a plugin makes a volume with a size, and on no disk of a node").Advise("say its size, or leave plugin out and make it with volume create -plugin")
	}
	(&Volume{CSI: v.Plugged()}).csiProblems(p, at)
}

// CheckSaid adds what is wrong with what a plugin says of a volume: what cannot be kept.
func CheckSaid(p *Problems, external string, context map[string]string, topology []Segments) {
	if len(external) > maxCSIExternal {
		p.Add("csi.external", "%d bytes are more than %d", len(external), maxCSIExternal)
	}
	checkCSIMap(p, "csi.context", context)
	if len(topology) > maxCSIMap {
		p.Add("csi.topology", "%d places are more than %d", len(topology), maxCSIMap)
		return
	}
	sum := 0
	for i, s := range topology {
		checkCSIMap(p, index("csi.topology", i), s)
		for name, value := range s {
			sum += len(name) + len(value)
		}
	}
	if sum > maxCSIBytes {
		p.Add("csi.topology", "%d bytes are more than %d", sum, maxCSIBytes)
	}
}

// checkCSIMap bounds names and values; it shows no value.
func checkCSIMap(p *Problems, at string, m map[string]string) {
	if len(m) > maxCSIMap {
		p.Add(at, "%d names are more than %d", len(m), maxCSIMap)
		return
	}
	sum := 0
	for name, value := range m {
		sum += len(name) + len(value)
		if name == "" || len(name) > maxCSIText || len(value) > maxCSIValue {
			p.Add(fmt.Sprintf("%s.%.64s", at, name), "a name has 1 to %d bytes and a value up to %d", maxCSIText, maxCSIValue)
		}
	}
	if sum > maxCSIBytes {
		p.Add(at, "%d bytes are more than %d", sum, maxCSIBytes)
	}
}

// CheckPlugins adds what is wrong with what a node says of its plugins.
func (n *Node) CheckPlugins(p *Problems) {
	if len(n.Plugins) > MaxNodePlugins {
		p.Add("plugins", "%d are more than %d", len(n.Plugins), MaxNodePlugins)
	}
	for name, x := range n.Plugins {
		if x != nil && x.Node != nil {
			x.Node.Check(p, "plugins."+name)
		}
	}
}

// Check adds what is wrong with what a plugin says of its node.
func (x *PluginNodePart) Check(p *Problems, at string) { checkCSIMap(p, at, x.Topology) }
