package wire

// What a task runs in.

type ContainerInfo struct {
	Type     ContainerType `w:"type,1,required"`
	Volumes  []Volume      `w:"volumes,2"`
	Docker   *DockerInfo   `w:"docker,3"`
	Hostname *string       `w:"hostname,4"`
	Mesos    *MesosInfo    `w:"mesos,5"`
	Networks []NetworkInfo `w:"network_infos,7"`
	Linux    *LinuxInfo    `w:"linux_info,8"`
	RLimits  *RLimitInfo   `w:"rlimit_info,9"`
	TTY      *TTYInfo      `w:"tty_info,10"`
}

type DockerInfo struct {
	Image        string              `w:"image,1,required"`
	Network      *DockerNetwork      `w:"network,2,def=\"HOST\""`
	PortMappings []DockerPortMapping `w:"port_mappings,3"`
	Privileged   *bool               `w:"privileged,4,def=false"`
	Parameters   []Parameter         `w:"parameters,5"`
	ForcePull    *bool               `w:"force_pull_image,6"`
	VolumeDriver *string             `w:"volume_driver,7"`
}

type DockerPortMapping struct {
	HostPort      uint32  `w:"host_port,1,required"`
	ContainerPort uint32  `w:"container_port,2,required"`
	Protocol      *string `w:"protocol,3"`
}

type Parameter struct {
	Key   string `w:"key,1,required"`
	Value string `w:"value,2,required"`
}

type Parameters struct {
	Parameters []Parameter `w:"parameter,1"`
}

type MesosInfo struct {
	Image *Image `w:"image,1"`
}

type Image struct {
	Type   ImageType    `w:"type,1,required"`
	Appc   *AppcImage   `w:"appc,2"`
	Docker *DockerImage `w:"docker,3"`
	Cached *bool        `w:"cached,4,def=true"`
}

type AppcImage struct {
	Name   string  `w:"name,1,required"`
	ID     *string `w:"id,2"`
	Labels *Labels `w:"labels,3"`
}

type DockerImage struct {
	Name       string      `w:"name,1,required"`
	Credential *Credential `w:"credential,2"`
	Config     *Secret     `w:"config,3"`
}

type Credential struct {
	Principal string  `w:"principal,1,required"`
	Secret    *string `w:"secret,2"`
}

type Secret struct {
	Type      *SecretType      `w:"type,1"`
	Reference *SecretReference `w:"reference,2"`
	Value     *SecretValue     `w:"value,3"`
}

type SecretReference struct {
	Name string  `w:"name,1,required"`
	Key  *string `w:"key,2"`
}

type SecretValue struct {
	Data []byte `w:"data,1,required"`
}

type Volume struct {
	ContainerPath string        `w:"container_path,1,required"`
	HostPath      *string       `w:"host_path,2"`
	Mode          VolumeMode    `w:"mode,3,required"`
	Image         *Image        `w:"image,4"`
	Source        *VolumeSource `w:"source,5"`
}

type VolumeSource struct {
	Type        *VolumeSourceType `w:"type,1"`
	Docker      *DockerVolume     `w:"docker_volume,2"`
	SandboxPath *SandboxPath      `w:"sandbox_path,3"`
	Secret      *Secret           `w:"secret,4"`
	HostPath    *HostPath         `w:"host_path,5"`
	CSI         *CSIVolume        `w:"csi_volume,6"`
}

type DockerVolume struct {
	Driver  *string     `w:"driver,1"`
	Name    string      `w:"name,2,required"`
	Options *Parameters `w:"driver_options,3"`
}

type SandboxPath struct {
	Type *SandboxPathType `w:"type,1"`
	Path string           `w:"path,2,required"`
}

type HostPath struct {
	Path        string            `w:"path,1,required"`
	Propagation *MountPropagation `w:"mount_propagation,2"`
}

type MountPropagation struct {
	Mode *PropagationMode `w:"mode,1"`
}

type CSIVolume struct {
	Plugin string                 `w:"plugin_name,1,required"`
	Static *CSIStaticProvisioning `w:"static_provisioning,2"`
}

type CSIStaticProvisioning struct {
	VolumeID       string             `w:"volume_id,1,required"`
	Capability     CSICapability      `w:"volume_capability,2,required"`
	StageSecrets   map[string]*Secret `w:"node_stage_secrets,3"`
	PublishSecrets map[string]*Secret `w:"node_publish_secrets,4"`
	Context        map[string]*string `w:"volume_context,5"`
}

type CSICapability struct {
	Block  *CSIBlock     `w:"block,1"`
	Mount  *CSIMount     `w:"mount,2"`
	Access CSIAccessMode `w:"access_mode,3,required"`
}

type CSIBlock struct{}

type CSIMount struct {
	FSType *string  `w:"fs_type,1"`
	Flags  []string `w:"mount_flags,2"`
}

type CSIAccessMode struct {
	Mode CSIMode `w:"mode,1,required"`
}

type NetworkInfo struct {
	Groups       []string      `w:"groups,3"`
	Labels       *Labels       `w:"labels,4"`
	IPAddresses  []IPAddress   `w:"ip_addresses,5"`
	Name         *string       `w:"name,6"`
	PortMappings []PortMapping `w:"port_mappings,7"`
}

type IPAddress struct {
	Protocol  *IPProtocol `w:"protocol,1"`
	IPAddress *string     `w:"ip_address,2"`
}

type PortMapping struct {
	HostPort      uint32  `w:"host_port,1,required"`
	ContainerPort uint32  `w:"container_port,2,required"`
	Protocol      *string `w:"protocol,3"`
}

type LinuxInfo struct {
	Capabilities *CapabilityInfo `w:"capability_info,1"`
	Bounding     *CapabilityInfo `w:"bounding_capabilities,2"`
	Effective    *CapabilityInfo `w:"effective_capabilities,3"`
	SharePID     *bool           `w:"share_pid_namespace,4"`
	Seccomp      *SeccompInfo    `w:"seccomp,5"`
	IPC          *IpcMode        `w:"ipc_mode,6"`
	ShmSize      *uint32         `w:"shm_size,7"`
	ShareCgroups *bool           `w:"share_cgroups,8,def=true"`
}

type CapabilityInfo struct {
	Capabilities []LinuxCapability `w:"capabilities,1"`
}

type SeccompInfo struct {
	Profile    *string `w:"profile_name,1"`
	Unconfined *bool   `w:"unconfined,2"`
}

type RLimitInfo struct {
	RLimits []RLimit `w:"rlimits,1"`
}

type RLimit struct {
	Type *RLimitType `w:"type,1"`
	Hard *uint64     `w:"hard,2"`
	Soft *uint64     `w:"soft,3"`
}

type TTYInfo struct {
	WindowSize *WindowSize `w:"window_size,1"`
}

type WindowSize struct {
	Rows    uint32 `w:"rows,1,required"`
	Columns uint32 `w:"columns,2,required"`
}

// HealthCheck ends a task when it fails too often.
type HealthCheck struct {
	Delay       *float64         `w:"delay_seconds,2,def=15.0"`
	Interval    *float64         `w:"interval_seconds,3,def=10.0"`
	Timeout     *float64         `w:"timeout_seconds,4,def=20.0"`
	Failures    *uint32          `w:"consecutive_failures,5,def=3"`
	GracePeriod *float64         `w:"grace_period_seconds,6,def=10.0"`
	HTTP        *HTTPHealthCheck `w:"http,1"`
	Command     *CommandInfo     `w:"command,7"`
	Type        *CheckType       `w:"type,8"`
	TCP         *TCPHealthCheck  `w:"tcp,9"`
}

type HTTPHealthCheck struct {
	Port     uint32      `w:"port,1,required"`
	Path     *string     `w:"path,2"`
	Scheme   *string     `w:"scheme,3"`
	Statuses []uint32    `w:"statuses,4"`
	Protocol *IPProtocol `w:"protocol,5"`
}

type TCPHealthCheck struct {
	Port     uint32      `w:"port,1,required"`
	Protocol *IPProtocol `w:"protocol,2"`
}

// Check tells how a task is, and ends nothing.
type Check struct {
	Type     *CheckType    `w:"type,1"`
	Command  *CheckCommand `w:"command,2"`
	HTTP     *CheckHTTP    `w:"http,3"`
	Delay    *float64      `w:"delay_seconds,4,def=15.0"`
	Interval *float64      `w:"interval_seconds,5,def=10.0"`
	Timeout  *float64      `w:"timeout_seconds,6,def=20.0"`
	TCP      *CheckTCP     `w:"tcp,7"`
}

type CheckCommand struct {
	Command CommandInfo `w:"command,1,required"`
}

type CheckHTTP struct {
	Port uint32  `w:"port,1,required"`
	Path *string `w:"path,2"`
}

type CheckTCP struct {
	Port uint32 `w:"port,1,required"`
}

// CheckStatus is what a Check found last.
type CheckStatus struct {
	Type    *CheckType          `w:"type,1"`
	Command *CheckStatusCommand `w:"command,2"`
	HTTP    *CheckStatusHTTP    `w:"http,3"`
	TCP     *CheckStatusTCP     `w:"tcp,4"`
}

type CheckStatusCommand struct {
	ExitCode *int32 `w:"exit_code,1"`
}

type CheckStatusHTTP struct {
	StatusCode *uint32 `w:"status_code,1"`
}

type CheckStatusTCP struct {
	Succeeded *bool `w:"succeeded,1"`
}

// DiscoveryInfo says how something is found by others.
type DiscoveryInfo struct {
	Visibility  Visibility `w:"visibility,1,required"`
	Name        *string    `w:"name,2"`
	Environment *string    `w:"environment,3"`
	Location    *string    `w:"location,4"`
	Version     *string    `w:"version,5"`
	Ports       *Ports     `w:"ports,6"`
	Labels      *Labels    `w:"labels,7"`
}

type Ports struct {
	Ports []Port `w:"ports,1"`
}

type Port struct {
	Number     uint32      `w:"number,1,required"`
	Name       *string     `w:"name,2"`
	Protocol   *string     `w:"protocol,3"`
	Visibility *Visibility `w:"visibility,4"`
	Labels     *Labels     `w:"labels,5"`
}
