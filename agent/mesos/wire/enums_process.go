package wire

// The enums of what flows through containers, by the names and numbers of Mesos.

// AttachInputType says what a record of a stream of input is.
type AttachInputType int32

const (
	AttachInputUnknown   AttachInputType = 0
	AttachInputContainer AttachInputType = 1
	AttachInputProcess   AttachInputType = 2
)

var namesAttachInputType = map[int32]string{
	0: "UNKNOWN",
	1: "CONTAINER_ID",
	2: "PROCESS_IO",
}

// Names returns the names of all values.
func (AttachInputType) Names() map[int32]string { return namesAttachInputType }

func (x AttachInputType) String() string { return namesAttachInputType[int32(x)] }

// ProcessIOType says whether something is read and written, or about it.
type ProcessIOType int32

const (
	ProcessIOUnknown ProcessIOType = 0
	ProcessIOData    ProcessIOType = 1
	ProcessIOControl ProcessIOType = 2
)

var namesProcessIOType = map[int32]string{
	0: "UNKNOWN",
	1: "DATA",
	2: "CONTROL",
}

// Names returns the names of all values.
func (ProcessIOType) Names() map[int32]string { return namesProcessIOType }

func (x ProcessIOType) String() string { return namesProcessIOType[int32(x)] }

// ProcessDataType says which stream a piece of data is of.
type ProcessDataType int32

const (
	DataUnknown ProcessDataType = 0
	DataStdin   ProcessDataType = 1
	DataStdout  ProcessDataType = 2
	DataStderr  ProcessDataType = 3
)

var namesProcessDataType = map[int32]string{
	0: "UNKNOWN",
	1: "STDIN",
	2: "STDOUT",
	3: "STDERR",
}

// Names returns the names of all values.
func (ProcessDataType) Names() map[int32]string { return namesProcessDataType }

func (x ProcessDataType) String() string { return namesProcessDataType[int32(x)] }

// ProcessControlType says what a control message is about.
type ProcessControlType int32

const (
	ControlUnknown   ProcessControlType = 0
	ControlTTY       ProcessControlType = 1
	ControlHeartbeat ProcessControlType = 2
)

var namesProcessControlType = map[int32]string{
	0: "UNKNOWN",
	1: "TTY_INFO",
	2: "HEARTBEAT",
}

// Names returns the names of all values.
func (ProcessControlType) Names() map[int32]string { return namesProcessControlType }

func (x ProcessControlType) String() string { return namesProcessControlType[int32(x)] }
