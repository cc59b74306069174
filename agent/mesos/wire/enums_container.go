package wire

// The enums of executors and containers, by the names and numbers of Mesos.

// ExecutorCallType is what an executor asks for.
type ExecutorCallType int32

const (
	ExecutorCallUnknown   ExecutorCallType = 0
	ExecutorCallSubscribe ExecutorCallType = 1
	ExecutorCallUpdate    ExecutorCallType = 2
	ExecutorCallMessage   ExecutorCallType = 3
	ExecutorCallHeartbeat ExecutorCallType = 4
)

var namesExecutorCallType = map[int32]string{
	0: "UNKNOWN",
	1: "SUBSCRIBE",
	2: "UPDATE",
	3: "MESSAGE",
	4: "HEARTBEAT",
}

// Names returns the names of all values.
func (ExecutorCallType) Names() map[int32]string { return namesExecutorCallType }

func (x ExecutorCallType) String() string { return namesExecutorCallType[int32(x)] }

// ExecutorEventType is what an executor is told.
type ExecutorEventType int32

const (
	ExecutorEventUnknown      ExecutorEventType = 0
	ExecutorEventSubscribed   ExecutorEventType = 1
	ExecutorEventLaunch       ExecutorEventType = 2
	ExecutorEventKill         ExecutorEventType = 3
	ExecutorEventAcknowledged ExecutorEventType = 4
	ExecutorEventMessage      ExecutorEventType = 5
	ExecutorEventError        ExecutorEventType = 6
	ExecutorEventShutdown     ExecutorEventType = 7
	ExecutorEventLaunchGroup  ExecutorEventType = 8
	ExecutorEventHeartbeat    ExecutorEventType = 9
)

var namesExecutorEventType = map[int32]string{
	0: "UNKNOWN",
	1: "SUBSCRIBED",
	2: "LAUNCH",
	3: "KILL",
	4: "ACKNOWLEDGED",
	5: "MESSAGE",
	6: "ERROR",
	7: "SHUTDOWN",
	8: "LAUNCH_GROUP",
	9: "HEARTBEAT",
}

// Names returns the names of all values.
func (ExecutorEventType) Names() map[int32]string { return namesExecutorEventType }

func (x ExecutorEventType) String() string { return namesExecutorEventType[int32(x)] }

// CheckType is how something is checked.
type CheckType int32

const (
	CheckByUnknown CheckType = 0
	CheckByCommand CheckType = 1
	CheckByHTTP    CheckType = 2
	CheckByTCP     CheckType = 3
)

var namesCheckType = map[int32]string{
	0: "UNKNOWN",
	1: "COMMAND",
	2: "HTTP",
	3: "TCP",
}

// Names returns the names of all values.
func (CheckType) Names() map[int32]string { return namesCheckType }

func (x CheckType) String() string { return namesCheckType[int32(x)] }

// SecretType is where a secret is.
type SecretType int32

const (
	SecretByUnknown   SecretType = 0
	SecretByReference SecretType = 1
	SecretByValue     SecretType = 2
)

var namesSecretType = map[int32]string{
	0: "UNKNOWN",
	1: "REFERENCE",
	2: "VALUE",
}

// Names returns the names of all values.
func (SecretType) Names() map[int32]string { return namesSecretType }

func (x SecretType) String() string { return namesSecretType[int32(x)] }

// ImageType is the kind of an image.
type ImageType int32

const (
	ImageAPPC   ImageType = 1
	ImageDocker ImageType = 2
)

var namesImageType = map[int32]string{
	1: "APPC",
	2: "DOCKER",
}

// Names returns the names of all values.
func (ImageType) Names() map[int32]string { return namesImageType }

func (x ImageType) String() string { return namesImageType[int32(x)] }

// VolumeMode is what may be done with a volume.
type VolumeMode int32

const (
	VolumeRW VolumeMode = 1
	VolumeRO VolumeMode = 2
)

var namesVolumeMode = map[int32]string{
	1: "RW",
	2: "RO",
}

// Names returns the names of all values.
func (VolumeMode) Names() map[int32]string { return namesVolumeMode }

func (x VolumeMode) String() string { return namesVolumeMode[int32(x)] }

// VolumeSourceType is what a volume is.
type VolumeSourceType int32

const (
	SourceUnknown      VolumeSourceType = 0
	SourceDockerVolume VolumeSourceType = 1
	SourceSandboxPath  VolumeSourceType = 2
	SourceSecret       VolumeSourceType = 3
	SourceHostPath     VolumeSourceType = 4
	SourceCSIVolume    VolumeSourceType = 5
)

var namesVolumeSourceType = map[int32]string{
	0: "UNKNOWN",
	1: "DOCKER_VOLUME",
	2: "SANDBOX_PATH",
	3: "SECRET",
	4: "HOST_PATH",
	5: "CSI_VOLUME",
}

// Names returns the names of all values.
func (VolumeSourceType) Names() map[int32]string { return namesVolumeSourceType }

func (x VolumeSourceType) String() string { return namesVolumeSourceType[int32(x)] }

// CSIMode is who may use a volume of a storage plugin at the same time.
type CSIMode int32

const (
	CSISingleNodeWriter      CSIMode = 1
	CSISingleNodeReaderOnly  CSIMode = 2
	CSIMultiNodeReaderOnly   CSIMode = 3
	CSIMultiNodeSingleWriter CSIMode = 4
	CSIMultiNodeMultiWriter  CSIMode = 5
)

var namesCSIMode = map[int32]string{
	0: "UNKNOWN",
	1: "SINGLE_NODE_WRITER",
	2: "SINGLE_NODE_READER_ONLY",
	3: "MULTI_NODE_READER_ONLY",
	4: "MULTI_NODE_SINGLE_WRITER",
	5: "MULTI_NODE_MULTI_WRITER",
}

// Names returns the names of all values.
func (CSIMode) Names() map[int32]string { return namesCSIMode }

func (x CSIMode) String() string { return namesCSIMode[int32(x)] }

// SandboxPathType is whose sandbox a path is in.
type SandboxPathType int32

const (
	SandboxUnknown SandboxPathType = 0
	SandboxSelf    SandboxPathType = 1
	SandboxParent  SandboxPathType = 2
)

var namesSandboxPathType = map[int32]string{
	0: "UNKNOWN",
	1: "SELF",
	2: "PARENT",
}

// Names returns the names of all values.
func (SandboxPathType) Names() map[int32]string { return namesSandboxPathType }

func (x SandboxPathType) String() string { return namesSandboxPathType[int32(x)] }

// PropagationMode is how mounts spread.
type PropagationMode int32

const (
	PropagationUnknown         PropagationMode = 0
	PropagationHostToContainer PropagationMode = 1
	PropagationBidirectional   PropagationMode = 2
)

var namesPropagationMode = map[int32]string{
	0: "UNKNOWN",
	1: "HOST_TO_CONTAINER",
	2: "BIDIRECTIONAL",
}

// Names returns the names of all values.
func (PropagationMode) Names() map[int32]string { return namesPropagationMode }

func (x PropagationMode) String() string { return namesPropagationMode[int32(x)] }

// DockerNetwork is the network of a container of the Docker engine.
type DockerNetwork int32

const (
	DockerHost   DockerNetwork = 1
	DockerBridge DockerNetwork = 2
	DockerNone   DockerNetwork = 3
	DockerUser   DockerNetwork = 4
)

var namesDockerNetwork = map[int32]string{
	1: "HOST",
	2: "BRIDGE",
	3: "NONE",
	4: "USER",
}

// Names returns the names of all values.
func (DockerNetwork) Names() map[int32]string { return namesDockerNetwork }

func (x DockerNetwork) String() string { return namesDockerNetwork[int32(x)] }

// IPProtocol is a version of IP.
type IPProtocol int32

const (
	IPv4 IPProtocol = 1
	IPv6 IPProtocol = 2
)

var namesIPProtocol = map[int32]string{
	1: "IPv4",
	2: "IPv6",
}

// Names returns the names of all values.
func (IPProtocol) Names() map[int32]string { return namesIPProtocol }

func (x IPProtocol) String() string { return namesIPProtocol[int32(x)] }

// Visibility is who may find something.
type Visibility int32

const (
	VisibleFramework Visibility = 0
	VisibleCluster   Visibility = 1
	VisibleExternal  Visibility = 2
)

var namesVisibility = map[int32]string{
	0: "FRAMEWORK",
	1: "CLUSTER",
	2: "EXTERNAL",
}

// Names returns the names of all values.
func (Visibility) Names() map[int32]string { return namesVisibility }

func (x Visibility) String() string { return namesVisibility[int32(x)] }

// IpcMode is whose IPC namespace a container has.
type IpcMode int32

var namesIpcMode = map[int32]string{
	0: "UNKNOWN",
	1: "PRIVATE",
	2: "SHARE_PARENT",
}

// Names returns the names of all values.
func (IpcMode) Names() map[int32]string { return namesIpcMode }

func (x IpcMode) String() string { return namesIpcMode[int32(x)] }

// RLimitType is what a limit bounds.
type RLimitType int32

var namesRLimitType = map[int32]string{
	0:  "UNKNOWN",
	1:  "RLMT_AS",
	2:  "RLMT_CORE",
	3:  "RLMT_CPU",
	4:  "RLMT_DATA",
	5:  "RLMT_FSIZE",
	6:  "RLMT_LOCKS",
	7:  "RLMT_MEMLOCK",
	8:  "RLMT_MSGQUEUE",
	9:  "RLMT_NICE",
	10: "RLMT_NOFILE",
	11: "RLMT_NPROC",
	12: "RLMT_RSS",
	13: "RLMT_RTPRIO",
	14: "RLMT_RTTIME",
	15: "RLMT_SIGPENDING",
	16: "RLMT_STACK",
}

// Names returns the names of all values.
func (RLimitType) Names() map[int32]string { return namesRLimitType }

func (x RLimitType) String() string { return namesRLimitType[int32(x)] }

// LinuxCapability is a capability of Linux.
type LinuxCapability int32

var namesLinuxCapability = map[int32]string{
	0:    "UNKNOWN",
	1000: "CHOWN",
	1001: "DAC_OVERRIDE",
	1002: "DAC_READ_SEARCH",
	1003: "FOWNER",
	1004: "FSETID",
	1005: "KILL",
	1006: "SETGID",
	1007: "SETUID",
	1008: "SETPCAP",
	1009: "LINUX_IMMUTABLE",
	1010: "NET_BIND_SERVICE",
	1011: "NET_BROADCAST",
	1012: "NET_ADMIN",
	1013: "NET_RAW",
	1014: "IPC_LOCK",
	1015: "IPC_OWNER",
	1016: "SYS_MODULE",
	1017: "SYS_RAWIO",
	1018: "SYS_CHROOT",
	1019: "SYS_PTRACE",
	1020: "SYS_PACCT",
	1021: "SYS_ADMIN",
	1022: "SYS_BOOT",
	1023: "SYS_NICE",
	1024: "SYS_RESOURCE",
	1025: "SYS_TIME",
	1026: "SYS_TTY_CONFIG",
	1027: "MKNOD",
	1028: "LEASE",
	1029: "AUDIT_WRITE",
	1030: "AUDIT_CONTROL",
	1031: "SETFCAP",
	1032: "MAC_OVERRIDE",
	1033: "MAC_ADMIN",
	1034: "SYSLOG",
	1035: "WAKE_ALARM",
	1036: "BLOCK_SUSPEND",
	1037: "AUDIT_READ",
	1038: "PERFMON",
	1039: "BPF",
	1040: "CHECKPOINT_RESTORE",
}

// Names returns the names of all values.
func (LinuxCapability) Names() map[int32]string { return namesLinuxCapability }

func (x LinuxCapability) String() string { return namesLinuxCapability[int32(x)] }
