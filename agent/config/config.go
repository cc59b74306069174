// Package config is the configuration of an agent: what may be written in files and flags, its defaults, and what can
// change without a restart.
package config

import "github.com/proffer/proffer/structs"

// Config is all that an agent can be told. Files are HCL or JSON; see structs/doc.go for the tags.
type Config struct {
	Region     string   `json:"region,omitempty" doc:"The region. Default global."`
	Datacenter string   `json:"datacenter,omitempty" doc:"The datacenter of this machine. Default dc1."`
	NodeName   string   `json:"node_name,omitempty" doc:"The name of this agent, unique in the region. Default: the host name."`
	DataDir    string   `json:"data_dir,omitempty" doc:"Folder for everything that is kept; absolute. Needed unless -dev."`
	Bind       string   `json:"bind,omitempty" doc:"Address that the cluster port listens on: an IP address or a go-sockaddr template. Default 0.0.0.0."`
	Advertise  string   `json:"advertise,omitempty" doc:"Address by which other agents reach this one, with an optional port. Default: bind, or the first private IPv4 address when bind is 0.0.0.0."`
	Join       []string `json:"join,omitempty" change:"reload" doc:"Addresses (host or host:port of the cluster port) of agents to join."`

	HTTPAddress     string `json:"http_address,omitempty" doc:"Address that the HTTP API listens on: an IP address or a go-sockaddr template; another than loopback needs a token. Default: bind when that is a loopback address or there is a token, 127.0.0.1 otherwise."`
	HTTPPort        int    `json:"http_port,omitempty" doc:"Port of the HTTP API. Default 5050."`
	ExecutorAddress string `json:"executor_address,omitempty" doc:"Address that the executor API listens on, as http_address. Executors run on the node and prove nothing: default http_address where that is a loopback address, else 127.0.0.1."`
	ExecutorPort    int    `json:"executor_port,omitempty" doc:"Port of the executor API, on clients. Default 5051."`
	ClusterPort     int    `json:"cluster_port,omitempty" doc:"The cluster port, TCP and UDP. Default 5052."`

	LogLevel  string `json:"log_level,omitempty" change:"reload" doc:"debug, info, warn or error. Default info."`
	LogJSON   bool   `json:"log_json,omitempty" doc:"Log JSON lines."`
	Token     Secret `json:"token,omitempty" change:"reload" doc:"Shared token that every HTTP request must carry."`
	TokenFile string `json:"token_file,omitempty" doc:"File that holds the token; not with token."`

	Encrypt     []Secret         `json:"encrypt,omitempty" doc:"Keys of the cluster port, base64 of 32 bytes, the same everywhere; the first one is used to send, so that keys can be changed one after the other. Needed unless -dev."`
	EncryptFile string           `json:"encrypt_file,omitempty" doc:"File with keys, one a line; not with encrypt."`
	Lease       structs.Duration `json:"lease,omitempty" doc:"How long a node may be silent before its work is taken for lost, 1s to 10m; the same on all servers. A lower one counts for a node once the longer one that it may still hold has passed. Default 15s."`

	Server    *Server    `json:"server,omitempty" hcl:"block" doc:"This agent is a server."`
	Client    *Client    `json:"client,omitempty" hcl:"block" doc:"This agent is a client: it runs work."`
	Telemetry *Telemetry `json:"telemetry,omitempty" hcl:"block" doc:"Metrics."`
	Mesos     *Mesos     `json:"mesos,omitempty" hcl:"block" change:"reload" doc:"The APIs of Mesos, for frameworks and tools that were written for it."`

	Dev bool `json:"-" hcl:"-"` // -dev: in memory or in a temporary folder
}

// Server configures the control plane.
type Server struct {
	Enabled         *bool            `json:"enabled,omitempty" doc:"Default true in a server block."`
	BootstrapExpect int              `json:"bootstrap_expect,omitempty" doc:"How many servers form the first quorum: 1, 3, 5 or 7; 0 only joins a region that exists."`
	MaxFinished     int              `json:"max_finished,omitempty" change:"reload" doc:"How many finished allocations, and how many finished jobs, stay in the state. Default 10000."`
	NodeAge         structs.Duration `json:"node_age,omitempty" change:"reload" doc:"How long nodes that are lost or left stay in the state. Default 72h."`
	OrphanAge       structs.Duration `json:"orphan_age,omitempty" change:"reload" doc:"How long reservations stay whose framework was removed. Default 24h."`
	FinishedAge     structs.Duration `json:"finished_age,omitempty" change:"reload" doc:"How long they stay in the state. Default 1h."`
	MaxJobs         int              `json:"max_jobs,omitempty" change:"reload" doc:"How many jobs that have not ended the region takes: one more is refused. What the leader has counts. Default 100000."`
	KeepRoomAfter   structs.Duration `json:"keep_room_after,omitempty" change:"reload" doc:"How long work may get nothing while others are served before room on a node is kept for it. What the leader has counts. Default 5m."`
	Offers          *Offers          `json:"offers,omitempty" hcl:"block" change:"reload" doc:"How resources are offered to external frameworks. What the leader has counts."`
	Raft            *Raft            `json:"raft,omitempty" hcl:"block" doc:"Timings of Raft; the defaults suit networks up to some 20 ms."`

	Sorter           string   `json:"sorter,omitempty" change:"reload" doc:"How the roles at the top of the tree take turns, and those below where no role says otherwise: drf, random, fifo, or a policy that was compiled in. What the leader has counts. Default drf."`
	FairShareExclude []string `json:"fair_share_exclude,omitempty" change:"reload" doc:"Resources that do not count in shares, such as gpus. What the leader has counts."`
	SealedRoles      bool     `json:"sealed_roles,omitempty" change:"reload" doc:"Roles at the top are made by role apply only, not on first use by a job, a framework or a reservation that names them; default is one of them. What the leader has counts."`
}

// Offers configures offers to external frameworks.
type Offers struct {
	Timeout   structs.Duration       `json:"timeout,omitempty" change:"reload" doc:"How long an offer is held for a framework that does not answer. Default 30s."`
	Smallest  []*structs.QuotaAmount `json:"smallest,omitempty" hcl:"block" change:"reload" doc:"An offer has all that one of these blocks names, unless the framework says otherwise. Default: 0.01 cores, or 32MiB of memory."`
	Most      int                    `json:"most,omitempty" change:"reload" doc:"How many offers a framework may have outstanding. 0: no bound."`
	MostShare structs.Milli          `json:"most_share,omitempty" change:"reload" doc:"A framework whose outstanding offers hold this part of any resource of the region, from 0 to 1, gets no more until it answers. 0: no bound."`
	Backoff   *structs.Duration      `json:"backoff,omitempty" change:"reload" doc:"A framework that leaves offers of a node unused more than three times in a row sees the node less and less often: not for 1s, 2s, 4s and so on, up to this. 0s: always as often as it asks. Default 30s."`
}

// Raft has the timings and bounds of the log.
type Raft struct {
	HeartbeatTimeout  structs.Duration `json:"heartbeat_timeout,omitempty" doc:"Silence of the leader before a follower becomes a candidate. Default 500ms."`
	ElectionTimeout   structs.Duration `json:"election_timeout,omitempty" doc:"How long a candidate waits. Default 500ms."`
	LeaderLease       structs.Duration `json:"leader_lease,omitempty" doc:"How long a leader without its quorum stays leader; at most heartbeat_timeout. Default 250ms."`
	SnapshotThreshold int              `json:"snapshot_threshold,omitempty" doc:"Log entries between snapshots. Default 65536."`
	SnapshotInterval  structs.Duration `json:"snapshot_interval,omitempty" doc:"How often is looked whether a snapshot is due. Default 10s."`
	TrailingLogs      int              `json:"trailing_logs,omitempty" change:"reload" doc:"Log entries kept behind a snapshot at most, for followers that lag; never more than 64 MiB of them. Default 16384."`
}

// Client configures a node.
type Client struct {
	Enabled        *bool             `json:"enabled,omitempty" doc:"Default true in a client block."`
	Meta           map[string]string `json:"meta,omitempty" hcl:"map" change:"reload" doc:"Free names and values that constraints can ask for. Frameworks are offered them as attributes."`
	Attributes     map[string]string `json:"attributes,omitempty" hcl:"map" change:"reload" doc:"Attributes beside those that are found; these win."`
	Resources      *Amounts          `json:"resources,omitempty" hcl:"block" change:"reload" doc:"Resources beside or instead of those that are found."`
	Reserved       *Amounts          `json:"reserved,omitempty" hcl:"block" change:"reload" doc:"Resources kept for the system."`
	Reserve        []*Reserve        `json:"reserve,omitempty" hcl:"block" change:"reload" doc:"Room of this node that is set aside for roles: nobody else gets it."`
	HostVolumes    []*HostVolume     `json:"host_volume,omitempty" hcl:"block" change:"reload" doc:"Folders of the host that jobs may mount."`
	Disks          []*Disk           `json:"disk,omitempty" hcl:"block" change:"reload" doc:"Disks beside that of the data folder: places for volumes, and for nothing else."`
	PortRange      string            `json:"port_range,omitempty" doc:"Host ports that are given out when a job names none; exec and oci tasks bind none that they were not given. Default 20000-32000."`
	Hosts          []string          `json:"hosts,omitempty" doc:"Addresses that tasks may use. Default: the advertised one."`
	Drivers        []string          `json:"drivers,omitempty" doc:"Drivers that may be used. Default: all that are built in, mock only with -dev."`
	IsolationNone  bool              `json:"isolation_none,omitempty" doc:"Lets tasks run with isolation = \"none\"."`
	Unconfined     bool              `json:"seccomp_unconfined,omitempty" doc:"Lets exec and oci tasks run with seccomp = \"unconfined\": every system call, user namespaces among them."`
	ShareHost      []string          `json:"host_namespaces,omitempty" doc:"Namespaces of the node that exec and oci tasks may share: \"pid\", with pid_mode = \"host\", and \"ipc\", with ipc_mode = \"host\". Such a task sees all processes of the node and may signal those of its user, or has the shared memory of the node. Default: none."`
	Profiles       string            `json:"seccomp_profiles,omitempty" change:"reload" doc:"Folder with seccomp profiles, in the format of Docker: tasks name that of NAME.json with seccomp = \"NAME\". It is read at the start and at each reload; the log says what is wrong with a file. Whoever may submit jobs may use all of them."`
	ExecutorSocket bool              `json:"executor_socket,omitempty" doc:"Serves the executor API at a domain socket, too, which every custom executor of a framework sees and is told of in MESOS_DOMAIN_SOCKET."`
	TaskMetrics    int               `json:"task_metrics,omitempty" doc:"For how many tasks, those of the first allocations by ID, the metrics have figures of their own: seven series each. Without it, only what all use together."`
	GPURoot        string            `json:"gpu_root,omitempty" doc:"Where dev, proc/driver/nvidia and usr/bin/nvidia-smi are, for a GPU driver in a folder of its own such as /run/nvidia/driver, instead of the top."`
	HostPaths      []string          `json:"host_paths,omitempty" doc:"Files and folders of the host that every isolated exec task sees, read-only; those that do not exist are left out. Tasks that run keep what they have. Default: /bin, /etc, /lib, /lib32, /lib64, /libx32, /nix/store, /opt, /run/current-system, /run/resolvconf, /run/systemd/resolve, /sbin, /usr."`
	CgroupParent   string            `json:"cgroup_parent,omitempty" doc:"The cgroup that holds those of tasks, below the top of the hierarchy. It is made when it is missing; one that is there keeps its limits. Default proffer."`
	DiskLimit      string            `json:"disk_limit,omitempty" doc:"How the disk that work asks for bounds what it writes: quota (by project quota of the file system of the data folder), measured (what takes more is stopped), auto (quota where there is one, else measured) or off. Default auto."`
	Health         []*HealthCheck    `json:"health,omitempty" hcl:"block" doc:"Commands that tell whether the node is well. While one fails, the node gets no more work."`
	GC             *GC               `json:"gc,omitempty" hcl:"block" change:"reload" doc:"When folders of ended allocations are removed."`
	Network        *Network          `json:"network,omitempty" hcl:"block" doc:"The networks that allocations have of their own."`
	HostNetwork    []*HostNetwork    `json:"host_network,omitempty" hcl:"block" doc:"Addresses of the node, beside hosts, that ports may ask for by a name."`
	OCI            *OCI              `json:"oci,omitempty" hcl:"block" doc:"The oci driver: containers without a daemon."`
	Revocable      *Revocable        `json:"revocable,omitempty" hcl:"block" doc:"What tasks reserve and do not use may run best-effort work, which is stopped when they need it."`
	Artifact       *Artifact         `json:"artifact,omitempty" hcl:"block" doc:"Fetching of artifacts."`
	Docker         *Docker           `json:"docker,omitempty" hcl:"block" doc:"The docker driver."`
}

// Revocable configures how a node estimates what its tasks reserve and do not use.
type Revocable struct {
	Enabled bool             `json:"enabled,omitempty" doc:"Best-effort work runs on what is reserved and not used. Without it, none does."`
	Margin  *structs.Milli   `json:"margin,omitempty" doc:"What a task is taken to need beyond what it uses, as a part of what it reserved: 0 to 1. Default 0.1."`
	Hold    structs.Duration `json:"hold,omitempty" doc:"How long after its start a task is taken to need all that it reserved. Default 5m."`
	Decay   structs.Duration `json:"decay,omitempty" doc:"What a task is taken to need falls by all that it reserved in this time, at the fastest; it rises at once. Default 10m."`
	Every   structs.Duration `json:"every,omitempty" doc:"How often is looked at what tasks use. Default 10s."`
}

// Amounts are resources of a machine.
type Amounts struct {
	CPU    *structs.Milli           `json:"cpu,omitempty" doc:"Cores."`
	Memory *structs.Bytes           `json:"memory,omitempty" doc:"Memory."`
	Disk   *structs.Bytes           `json:"disk,omitempty" doc:"Disk."`
	Custom map[string]structs.Milli `json:"custom,omitempty" hcl:"map" doc:"Any other scalar, such as gpus."`
	Ranges map[string]string        `json:"ranges,omitempty" hcl:"map" doc:"Any range resource, written 1-10,20-30."`
	Sets   map[string][]string      `json:"sets,omitempty" hcl:"map" doc:"Any set resource."`
}

// Disk is a disk beside that of the data folder.
type Disk struct {
	Name string `json:"name" hcl:"label" doc:"What volumes call it. Nodes that are alike call theirs alike."`
	Type string `json:"type,omitempty" doc:"mount: a file system of its own, which one volume has whole; path: a folder, in which volumes share the disk; or raw: storage of a plugin on this node, of which frameworks have disks made."`
	Path string `json:"path,omitempty" doc:"Of mount and path: where the file system is mounted, or the folder; an absolute path. Volumes are in proffer-volumes below it."`

	Plugin     string            `json:"plugin,omitempty" doc:"Of raw: the storage plugin that makes disks of it, by the id of its csi_plugin. Its node and its controller part run on this node."`
	Size       structs.Bytes     `json:"size,omitempty" doc:"Of raw: how much of the storage may be made into disks, in whole MiB. What it has less is missing when disks are made."`
	FSType     string            `json:"fs_type,omitempty" doc:"Of raw: the file system that the plugin makes on disks. Without it, as the plugin likes."`
	Parameters map[string]string `json:"parameters,omitempty" hcl:"map" doc:"Of raw: what the plugin makes disks with."`
}

// HostVolume is a folder of the host that jobs may mount.
type HostVolume struct {
	Name     string `json:"name" hcl:"label" doc:"What jobs call it."`
	Path     string `json:"path,omitempty" doc:"The folder, an absolute path."`
	ReadOnly bool   `json:"read_only,omitempty" doc:"Jobs may only read it."`

	Propagation structs.Propagation `json:"propagation,omitempty" doc:"The most that a mount of it may ask for: private, host-to-task or bidirectional. What is mounted in it later is as writable as on the host. Without it: host-to-task, and private with read_only."`
}

// Reserve is room that is set aside for a role.
type Reserve struct {
	Role   string                   `json:"role" hcl:"label" doc:"The role, such as eng/web; roles below it may use the room, too."`
	CPU    *structs.Milli           `json:"cpu,omitempty" doc:"Cores."`
	Memory *structs.Bytes           `json:"memory,omitempty" doc:"Memory."`
	Disk   *structs.Bytes           `json:"disk,omitempty" doc:"Disk."`
	Ports  string                   `json:"ports,omitempty" doc:"Ports of port_range, written 31000-31009,31020: they are given to work of the role that names them, and to nobody else."`
	Custom map[string]structs.Milli `json:"custom,omitempty" hcl:"map" doc:"Any other scalar, such as gpus."`
}

// GC bounds what ended allocations leave on a node.
type GC struct {
	MaxAllocs int              `json:"max_allocs,omitempty" doc:"Folders of ended allocations that are kept. Default 1000."`
	MaxAge    structs.Duration `json:"max_age,omitempty" doc:"How long they are kept. Default 24h."`
	DiskUse   int              `json:"disk_use,omitempty" doc:"Percent of the disk in use above which the oldest are removed. Default 85; 100 with -dev."`
	DiskFull  int              `json:"disk_full,omitempty" doc:"Percent of the disk in use above which the node gets no more work. Default 97; 100 with -dev."`
	Interval  structs.Duration `json:"interval,omitempty" doc:"How often is looked. Default 1m."`
}

// Telemetry configures metrics.
type Telemetry struct {
	Disabled bool `json:"disabled,omitempty" doc:"No /v1/metrics."`
}
