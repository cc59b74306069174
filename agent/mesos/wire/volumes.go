package wire

// Persistent volumes, the disks that they are on, and what becomes of operations on them.

// DiskInfo says what a disk resource is beyond an amount: a volume (Persistence), and on which disk (Source); the agent's own
// without one.
type DiskInfo struct {
	Persistence *Persistence `w:"persistence,1"`
	Volume      *Volume      `w:"volume,2"`
	Source      *DiskSource  `w:"source,3"`
}

type Persistence struct {
	ID        string  `w:"id,1,required"`
	Principal *string `w:"principal,2"`
}

type DiskSource struct {
	Type     DiskType  `w:"type,1,required"`
	Path     *DiskRoot `w:"path,2"`
	Mount    *DiskRoot `w:"mount,3"`
	ID       *string   `w:"id,4"`
	Metadata *Labels   `w:"metadata,5"`
	Profile  *string   `w:"profile,6"`
	Vendor   *string   `w:"vendor,7"`
}

type DiskRoot struct {
	Root *string `w:"root,1"`
}

// Volumes is the payload of CREATE and of DESTROY.
type Volumes struct {
	Volumes []Resource `w:"volumes,1"`
}

type GrowVolume struct {
	Volume   Resource `w:"volume,1,required"`
	Addition Resource `w:"addition,2,required"`
}

type ShrinkVolume struct {
	Volume   Resource `w:"volume,1,required"`
	Subtract Scalar   `w:"subtract,2,required"`
}

type CreateDisk struct {
	Source  Resource `w:"source,1,required"`
	Target  DiskType `w:"target_type,2,required"`
	Profile *string  `w:"target_profile,3"`
}

type DestroyDisk struct {
	Source Resource `w:"source,1,required"`
}

// OperationNews says what became of an operation.
type OperationNews struct {
	Status OperationStatus `w:"status,1,required"`
}

type OperationStatus struct {
	ID        *ID            `w:"operation_id,1"`
	State     OperationState `w:"state,2,required"`
	Message   *string        `w:"message,3"`
	Converted []Resource     `w:"converted_resources,4"`
	UUID      *UUID          `w:"uuid,5"`
	AgentID   *ID            `w:"agent_id,6"`
	Provider  *ID            `w:"resource_provider_id,7"`
}

// UUID is 16 bytes.
type UUID struct {
	Value []byte `w:"value,1,required"`
}

type AckOperation struct {
	AgentID     *ID    `w:"agent_id,1"`
	Provider    *ID    `w:"resource_provider_id,2"`
	UUID        []byte `w:"uuid,3,required"`
	OperationID ID     `w:"operation_id,4,required"`
}

type ReconcileOps struct {
	Operations []ReconcileOp `w:"operations,1"`
}

type ReconcileOp struct {
	OperationID ID  `w:"operation_id,1,required"`
	AgentID     *ID `w:"agent_id,2"`
	Provider    *ID `w:"resource_provider_id,3"`
}

// DiskType is the kind of a disk.
type DiskType int32

const (
	DiskUnknown DiskType = 0
	DiskPath    DiskType = 1
	DiskMount   DiskType = 2
	DiskBlock   DiskType = 3
	DiskRaw     DiskType = 4
)

var namesDiskType = map[int32]string{0: "UNKNOWN", 1: "PATH", 2: "MOUNT", 3: "BLOCK", 4: "RAW"}

// Names returns the names of all values.
func (DiskType) Names() map[int32]string { return namesDiskType }

func (x DiskType) String() string { return namesDiskType[int32(x)] }

// OperationState is what became of an operation.
type OperationState int32

const (
	OperationUnsupported    OperationState = 0
	OperationPending        OperationState = 1
	OperationFinished       OperationState = 2
	OperationFailed         OperationState = 3
	OperationError          OperationState = 4
	OperationDropped        OperationState = 5
	OperationUnreachable    OperationState = 6
	OperationGoneByOperator OperationState = 7
	OperationRecovering     OperationState = 8
	OperationNotKnown       OperationState = 9
)

var namesOperationState = map[int32]string{0: "OPERATION_UNSUPPORTED", 1: "OPERATION_PENDING", 2: "OPERATION_FINISHED", 3: "OPERATION_FAILED",
	4: "OPERATION_ERROR", 5: "OPERATION_DROPPED", 6: "OPERATION_UNREACHABLE", 7: "OPERATION_GONE_BY_OPERATOR", 8: "OPERATION_RECOVERING",
	9: "OPERATION_UNKNOWN"}

// Names returns the names of all values.
func (OperationState) Names() map[int32]string { return namesOperationState }

func (x OperationState) String() string { return namesOperationState[int32(x)] }
