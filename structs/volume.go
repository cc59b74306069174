package structs

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Volume is storage that outlives the work which uses it: a folder on the disk of one node, or none yet, when nothing has used
// it. Records are immutable.
type Volume struct {
	Name      string       `json:"name"`                // unique in the region
	ID        VolumeID     `json:"id"`                  // of this volume and of no later one of the name
	Node      NodeID       `json:"node"`                // where it is; empty: wherever the first work that uses it goes
	NodeName  string       `json:"node_name"`           //
	Size      Bytes        `json:"size"`                // taken of the disk as long as it exists
	Disk      string       `json:"disk,omitempty"`      // of the node, by name, that it is on; empty: that of its data folder
	Access    VolumeAccess `json:"access"`              //
	Role      string       `json:"role"`                // whose work may use it, with that of the roles below
	Job       string       `json:"job,omitempty"`       // that made it, with its first allocation
	Framework FrameworkID  `json:"framework,omitempty"` // that made it
	Principal string       `json:"principal,omitempty"` // who made it
	// Persistence is what frameworks of the role call it, who are offered it with its node; empty: they are not. It is made of disk
	// that is reserved for the role there with Labels, and of no other volume of the role on the node.
	Persistence string `json:"persistence,omitempty"`
	// ContainerPath is where its framework wants tasks to see it; they may say otherwise.
	ContainerPath string            `json:"container_path,omitempty"`
	Orphaned      Time              `json:"orphaned,omitempty"` // when its framework went; zero: it did not
	Labels        map[string]string `json:"labels,omitempty"`
	Status        VolumeStatus      `json:"status"`
	Deleted       Time              `json:"deleted,omitempty"` // when it was deleted
	Purge         Time              `json:"purge,omitempty"`   // of a deleted one: from then on its data is removed
	Made          Time              `json:"made"`
	CSI           *CSIVolume        `json:"csi,omitempty"` // nil: it is on a disk of a node

	CreateIndex uint64 `json:"create_index"`
	ModifyIndex uint64 `json:"modify_index"`
}

// VolumeAccess says which allocations may use a volume at the same time.
type VolumeAccess string

const (
	AccessExclusive    VolumeAccess = "exclusive"     // one
	AccessSingleWriter VolumeAccess = "single_writer" // one that writes, and any that read
	AccessShared       VolumeAccess = "shared"        // any that read and write
)

// VolumeStatus says what becomes of a volume.
type VolumeStatus string

const (
	VolumeReady   VolumeStatus = "ready"
	VolumeDeleted VolumeStatus = "deleted" // nothing may use it; its data is there until Purge, and it may be undeleted
	VolumePurging VolumeStatus = "purging" // its node removes the data, and then it is gone
)

// Bounds of volumes.
const (
	MaxVolumes       = 100_000 // of a region
	MaxVolumesOfNode = 1_000
	MaxGroupVolumes  = 32 // of a group
	MaxMounts        = 24 // of a task, tmpfs included
	MaxVolumeSize    = Bytes(1 << 50)
)

// MadeDisk reports whether v is a disk of a node that was made of a raw one.
func (v *Volume) MadeDisk() bool { return v.CSI != nil && v.CSI.Raw != nil }

// VolumeSet is the set resource whose items are the volumes on a node which one allocation holds alone.
const VolumeSet = "volume"

// Kinds of storage that a group asks for.
const (
	HostVolume       = "host"
	PersistentVolume = "persistent"
)

// GroupVolume is storage that a group asks for and that its tasks may mount.
type GroupVolume struct {
	Name     string       `json:"name" hcl:"label" change:"replace" doc:"What the tasks call it."`
	Type     string       `json:"type,omitempty" change:"replace" doc:"host (a folder that the configuration of the node names) or persistent (a volume of the region). Default persistent."`
	Source   string       `json:"source,omitempty" change:"replace" doc:"The name of the host_volume of the node, or of the volume. Default: the name here."`
	ReadOnly bool         `json:"read_only,omitempty" change:"replace" doc:"No task of the group writes to it."`
	Size     Bytes        `json:"size,omitempty" change:"replace" doc:"Of a persistent volume: it is made with this size when there is none of that name. Without it, work waits until there is one."`
	Access   VolumeAccess `json:"access,omitempty" change:"replace" doc:"Of a persistent volume, who may use it at the same time: exclusive (one allocation), single_writer (one that writes, any that read) or shared (any). Default exclusive."`
	Disk     string       `json:"disk,omitempty" change:"replace" doc:"Of a persistent volume that is made: the disk of the node, as its configuration names it, that it is on. Without it, that of the data folder."`
	PerAlloc bool         `json:"per_alloc,omitempty" change:"replace" doc:"Each allocation has a volume of its own, whose name ends with a dot and the index of the allocation."`

	Plugin     string            `json:"plugin,omitempty" change:"replace" doc:"Of a persistent volume that is made: the storage plugin that makes it, by the id of its csi_plugin. Without it, the volume is on a disk of a node."`
	Parameters map[string]string `json:"parameters,omitempty" hcl:"map" change:"replace" doc:"With plugin: what it makes the volume with."`
	FSType     string            `json:"fs_type,omitempty" change:"replace" doc:"With plugin: the file system that it makes on the volume. Without it, as the plugin likes."`
	MountFlags []string          `json:"mount_flags,omitempty" change:"replace" doc:"With plugin: flags that it mounts the volume with."`
	AccessType string            `json:"access_type,omitempty" change:"replace" doc:"Of a volume of a plugin: mount (tasks see its files) or block (they see it as a block device, at a path below /dev). Without it: mount."`
}

// VolumeMount is where a task sees a volume of its group.
type VolumeMount struct {
	Volume      string `json:"volume,omitempty" doc:"The name of a volume block of the group."`
	Destination string `json:"destination,omitempty" doc:"Where the task sees it, an absolute path such as /data; below /dev, such as /dev/data, for a volume with access_type block."`
	ReadOnly    bool   `json:"read_only,omitempty" doc:"The task cannot write to it."`

	Propagation Propagation `json:"propagation,omitempty" doc:"Of a host volume, what becomes of mounts that are made below it while the task runs: private (nobody else sees them), host-to-task (the task sees those of the host) or bidirectional (the host sees those of the task, too; the node has to allow it). Without it: private."`
}

// SharedMemory is where the file system in memory is that every task has, of 64MiB; tasks of external frameworks may have another one.
const SharedMemory = "/dev/shm"

// Tmpfs is a file system in memory.
type Tmpfs struct {
	Destination string `json:"destination,omitempty" doc:"Where the task sees it, an absolute path such as /scratch."`
	Size        Bytes  `json:"size,omitempty" doc:"How much fits; it counts as memory of the task. Default 64MiB."`
}

// AllocVolume is a volume that an allocation has claimed: it holds it until it has ended, or until the task of an executor has that brought it.
type AllocVolume struct {
	Group    string       `json:"group"` // the name of the volume block
	Name     string       `json:"name"`
	ID       VolumeID     `json:"id"`
	Size     Bytes        `json:"size"`
	Disk     string       `json:"disk,omitempty"` // of the node, by name; empty: that of its data folder
	Access   VolumeAccess `json:"access"`
	ReadOnly bool         `json:"read_only,omitempty"`
	Plugin   string       `json:"plugin,omitempty"` // that mounts it; empty: it is a folder on the disk of the node
	Task     string       `json:"task,omitempty"`   // of an executor, that brought it and has it alone; empty: the allocation has it
}

// PathsMeet reports whether two absolute, clean paths are the same, or one is below the other.
func PathsMeet(a, b string) bool {
	below := func(x, y string) bool { return strings.HasPrefix(x, strings.TrimSuffix(y, "/")+"/") }
	return a == b || below(a, b) || below(b, a)
}

// Claim returns what an allocation claimed of a volume, or nil.
func (a *Allocation) Claim(id VolumeID) *AllocVolume {
	for i := range a.Volumes {
		if a.Volumes[i].ID == id {
			return &a.Volumes[i]
		}
	}
	return nil
}

// VolumeName is the volume that an allocation with an index uses.
func (v *GroupVolume) VolumeName(index int) string {
	if v.PerAlloc {
		return v.Source + "." + strconv.Itoa(index)
	}
	return v.Source
}

// Names reports whether an allocation of the group may use the volume of that name.
func (v *GroupVolume) Names(name string) bool {
	rest, found := strings.CutPrefix(name, v.Source)
	if !found || !v.PerAlloc {
		return found && rest == ""
	}
	index, dotted := strings.CutPrefix(rest, ".")
	n, err := strconv.Atoi(index)
	return dotted && err == nil && n >= 0 && v.VolumeName(n) == name
}

// Alone reports whether a claim keeps others away that hold one which does so, too: at most one such claim is held.
func (a VolumeAccess) Alone(readOnly bool) bool {
	return a == AccessExclusive || a == AccessSingleWriter && !readOnly
}

// Alone reports whether no other allocation like those of the group may have the volume at the same time.
func (v *GroupVolume) Alone() bool {
	return v.Type == PersistentVolume && v.Access.Alone(v.ReadOnly)
}

// Fenced reports whether the group has volumes that no other allocation may have: then it must have ended before another one begins.
func (g *Group) Fenced() bool {
	return slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Alone() })
}

// unfenced adds that a task cannot be fenced. When a volume of the group implies that it has to be, nobody wrote on_lost: then the volume
// is what there is to read about.
func (g *Group) unfenced(p *Problems, at string, t *Task, why string) {
	alone := slices.IndexFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Alone() })
	if alone < 0 {
		p.Add(at+".on_lost", "task %q cannot be fenced by the %s driver: %s", t.Name, t.Driver, why).Advise("use another driver, or another on_lost")
		return
	}
	p.Add(at+".on_lost", "volume %q is for one allocation at a time, which implies on_lost = \"fence\", and task %q cannot be fenced by the %s driver: %s",
		g.Volumes[alone].Name, t.Name, t.Driver, why).
		Advise("set on_lost = \"replace\": then the node lets nobody have the volume until the task is gone; or use another driver; or let the volume be shared")
}

// Volume returns the volume block of that name, or nil.
func (g *Group) Volume(name string) *GroupVolume {
	for _, v := range g.Volumes {
		if v != nil && v.Name == name {
			return v
		}
	}
	return nil
}

// Persistent returns the persistent volumes that g asks for.
func (g *Group) Persistent() (out []*GroupVolume) {
	for _, v := range g.Volumes {
		if v.Type == PersistentVolume {
			out = append(out, v)
		}
	}
	return out
}

// PerAlloc reports whether the allocations of g need different volumes.
func (g *Group) PerAlloc() bool {
	return slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v.Type == PersistentVolume && v.PerAlloc })
}

// Mounts returns how much of a task is mounted beside its folders.
func (t *Task) Mounts() int { return len(t.VolumeMounts) + len(t.Tmpfs) + len(t.ImageMounts) }

// InMemory is the memory that the file systems of a task may take.
func (t *Task) InMemory() (sum Bytes) {
	for _, f := range t.Tmpfs {
		if f.Destination != SharedMemory { // which every task has one of
			sum += f.Size
		}
	}
	return sum
}

func (v *GroupVolume) canonicalize() {
	setDefault(&v.Type, PersistentVolume)
	setDefault(&v.Source, v.Name)
	if v.Type == PersistentVolume {
		setDefault(&v.Access, AccessExclusive)
	}
}

// Problems returns what is wrong with v as a wish, all at once.
func (v *Volume) Problems() (p Problems) {
	checkVolumeName(&p, "name", v.Name)
	checkAccess(&p, "access", v.Access)
	if v.CSI == nil || v.CSI.External == "" || v.Size != 0 { // that of one which is there may be left unsaid
		checkVolumeSize(&p, "size", v.Size)
	}
	if v.CSI != nil {
		v.csiProblems(&p, "csi")
	}
	if !ValidRole(v.Role) {
		p.Add("role", "%.520q is not a valid role", v.Role).Advise("use up to eight names joined by slashes")
	}
	if v.Disk != "" && !ValidDiskName(v.Disk) {
		p.Add("disk", "%.200q is not the name of a disk", v.Disk)
	}
	if v.CSI != nil && v.CSI.Raw == nil && (v.Disk != "" || v.Persistence != "") {
		p.Add("disk", "a volume of a plugin is on no disk of a node").Advise("leave disk and persistence out")
	}
	if v.Persistence != "" && !ValidOutsideID(v.Persistence) {
		p.Add("persistence", "%.300q is no persistence id", v.Persistence).Advise("up to 255 bytes without control characters, / and \\")
	}
	if len(v.ContainerPath) > 1024 {
		p.Add("container_path", "%d bytes are more than 1024", len(v.ContainerPath))
	}
	checkLabels(&p, v.Labels, v.Principal)
	return p
}

// checkLabels adds what is wrong with labels, and with who made something.
func checkLabels(p *Problems, labels map[string]string, principal string) {
	if len(labels) > MaxReservationLabels {
		p.Add("labels", "%d are more than %d", len(labels), MaxReservationLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name == "" || len(name) > MaxLabel || len(labels[name]) > MaxLabel {
			p.Add(fmt.Sprintf("labels.%.64s", name), "a name has 1 to %d bytes and a value up to %d", MaxLabel, MaxLabel)
		}
	}
	if len(principal) > MaxLabel {
		p.Add("principal", "%d bytes are more than %d", len(principal), MaxLabel)
	}
}

func checkVolumeName(p *Problems, at, name string) {
	if !ValidName(name) || len(name) > 120 {
		p.Add(at, "%q is not the name of a volume", name).Advise("up to 120 letters, digits, - _ and ., a letter or digit first")
	}
}

func checkAccess(p *Problems, at string, a VolumeAccess) {
	checkOneOf(p, at, string(a), string(AccessExclusive), string(AccessSingleWriter), string(AccessShared))
}

func checkVolumeSize(p *Problems, at string, size Bytes) {
	if size < minSize || size > MaxVolumeSize {
		p.Add(at, "%s is out of range (1MiB to 1PiB)", size).adviseUnit(size)
	}
}

// volumeProblems adds what is wrong with the storage of a group.
func (g *Group) volumeProblems(p *Problems, at string, drivers ConfigChecks) {
	if len(g.Volumes) > MaxGroupVolumes {
		p.Add(at+".volume", "%d volumes are more than %d", len(g.Volumes), MaxGroupVolumes)
	}
	seen, sources := names{}, map[string]string{}
	for i, v := range g.Volumes {
		if v == nil {
			p.Add(index(at+".volume", i), "a volume is missing (null)")
			continue
		}
		seen.check(p, at+".volume", "a volume", i, v.Name)
		object := at + ".volume." + v.Name
		checkOneOf(p, object+".type", v.Type, HostVolume, PersistentVolume)
		checkVolumeName(p, object+".source", v.Source)
		if v.Type == HostVolume {
			if v.Size != 0 || v.Access != "" || v.PerAlloc || v.Disk != "" || v.Plugin != "" || v.AccessType != "" {
				p.Add(object, "size, access, access_type, disk, plugin and per_alloc are for persistent volumes").Advise("leave them out, or set type = \"persistent\"")
			}
			continue
		}
		if other, twice := sources[v.Source]; twice {
			p.Add(object+".source", "it is the volume of %q, too", other).Advise("mount one volume block twice instead")
		}
		sources[v.Source] = v.Name
		checkAccess(p, object+".access", v.Access)
		if v.Size != 0 {
			checkVolumeSize(p, object+".size", v.Size)
		}
		if v.Disk != "" && (v.Size == 0 || !ValidDiskName(v.Disk)) {
			p.Add(object+".disk", "%.200q is not the name of a disk, or there is no size", v.Disk).Advise("name a disk of the nodes, and say how large the volume is")
		}
		v.pluginProblems(p, object)
		if v.Size != 0 && v.ReadOnly {
			p.Add(object+".size", "a group that only reads makes no volume").Advise("make it with volume create, or by the job that writes to it")
		}
		if v.Alone() && g.OnLost != OnLostFence && !slices.ContainsFunc(g.Tasks, func(t *Task) bool { return t != nil && drivers[t.Driver].Unfenced != "" }) {
			p.Add(at+".on_lost", "volume %q is for one allocation at a time: one whose node is cut off must have ended before another one begins", v.Name).
				Advise("leave on_lost out, or set on_lost = \"fence\"; or let the volume be shared")
		}
		if g.Count != nil && *g.Count > 1 && v.Alone() && !v.PerAlloc {
			p.Add(object, "one allocation at a time can have it, and count is %d", *g.Count).Advise("set per_alloc = true, or another access")
		}
	}
}

// mountProblems adds what is wrong with what a task mounts.
func (t *Task) mountProblems(p *Problems, at string, g *Group) {
	if n := t.Mounts(); n > MaxMounts {
		p.Add(at+".volume_mount", "%d mounts are more than %d", n, MaxMounts)
	}
	if len(t.Binds) > 0 {
		p.Add(at+".binds", "they are those of external frameworks").Advise("use volume blocks of the group and volume_mount")
	}
	var taken []string
	target := func(at, destination string, bad func(string) string) {
		switch why := bad(destination); {
		case why != "":
			p.Add(at+".destination", "%s", why)
		case slices.Contains(taken, destination):
			p.Add(at+".destination", "there are two mounts at %q", destination)
		default:
			taken = append(taken, destination)
		}
	}
	for i, m := range t.VolumeMounts {
		object := index(at+".volume_mount", i)
		if m == nil {
			p.Add(object, "a mount is missing (null)")
			continue
		}
		bad := BadMountTarget
		if v := g.Volume(m.Volume); v.Block() {
			bad = badDevice
		}
		target(object, m.Destination, bad)
		m.propagationProblems(p, object, g)
		m.blockProblems(p, object, t, g)
		if !slices.ContainsFunc(g.Volumes, func(v *GroupVolume) bool { return v != nil && v.Name == m.Volume }) {
			p.Add(object+".volume", "the group has no volume %q", m.Volume).Advise("write volume %q { … } in the group", m.Volume)
		}
	}
	for i, f := range t.Tmpfs {
		object := index(at+".tmpfs", i)
		if f == nil {
			p.Add(object, "a tmpfs is missing (null)")
			continue
		}
		target(object, f.Destination, BadMountTarget)
		if f.Size < 4<<10 || f.Size > 1<<42 {
			p.Add(object+".size", "%s is out of range (4KiB to 4TiB)", f.Size).adviseUnit(f.Size)
		}
	}
	for i, m := range t.ImageMounts {
		object := index(at+".image_mount", i)
		if m == nil {
			p.Add(object, "an image_mount is missing (null)")
			continue
		}
		target(object, m.Destination, BadMountTarget)
		m.problems(p, object, t)
	}
}

// ownFolders are what every task has of its own: nothing else is mounted at or below them.
var ownFolders = []string{"/proc", "/sys", "/dev", "/tmp", "/local", "/secrets", "/alloc", "/.proffer"}

// BadMountTarget says why nothing can be mounted at a path in a task; empty: it can.
func BadMountTarget(p string) string {
	switch {
	case !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\x00:,\\") || len(p) > 1024:
		return fmt.Sprintf("%q is not an absolute path", p)
	case path.Clean(p) != p:
		return fmt.Sprintf("%q is to be written as %q", p, path.Clean(p))
	case p == "/":
		return "nothing can be mounted at the root"
	}
	for _, own := range ownFolders {
		if p == own || strings.HasPrefix(p, own+"/") {
			return fmt.Sprintf("nothing can be mounted at %q: every task has a %s of its own", p, own)
		}
	}
	return ""
}
