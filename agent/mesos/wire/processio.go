package wire

// Calls of the operator API of agents about containers in containers, and what flows through them.

// NamedContainer is a call about one container.
type NamedContainer struct {
	ContainerID ContainerID `w:"container_id,1,required"`
}

// LaunchContainer asks for a container within another one.
type LaunchContainer struct {
	ContainerID ContainerID    `w:"container_id,1,required"`
	Command     *CommandInfo   `w:"command,2"`
	Container   *ContainerInfo `w:"container,3"`
}

// LaunchAnyContainer asks for a container that may be within none.
type LaunchAnyContainer struct {
	ContainerID ContainerID        `w:"container_id,1,required"`
	Command     *CommandInfo       `w:"command,2"`
	Resources   []Resource         `w:"resources,3"`
	Container   *ContainerInfo     `w:"container,4"`
	Limits      map[string]*Scalar `w:"limits,5"`
}

type KillContainer struct {
	ContainerID ContainerID `w:"container_id,1,required"`
	Signal      *int32      `w:"signal,2"`
}

// ContainerEnd says how a container ended. ExitStatus is as wait(2) has it.
type ContainerEnd struct {
	ExitStatus *int32        `w:"exit_status,1"`
	State      *TaskState    `w:"state,2"`
	Reason     *StatusReason `w:"reason,3"`
	Message    *string       `w:"message,5"`
}

// AttachContainerInput is one record of a stream: the first one names the container, the others are for it.
type AttachContainerInput struct {
	Type        *AttachInputType `w:"type,1"`
	ContainerID *ContainerID     `w:"container_id,2"`
	ProcessIO   *ProcessIO       `w:"process_io,3"`
}

// ProcessIO is a piece of what a container reads or writes, or something about its terminal.
type ProcessIO struct {
	Type    *ProcessIOType  `w:"type,1"`
	Data    *ProcessData    `w:"data,2"`
	Control *ProcessControl `w:"control,3"`
}

type ProcessData struct {
	Type *ProcessDataType `w:"type,1"`
	Data []byte           `w:"data,2"`
}

type ProcessControl struct {
	Type      *ProcessControlType `w:"type,1"`
	TTY       *TTYInfo            `w:"tty_info,2"`
	Heartbeat *ProcessHeartbeat   `w:"heartbeat,3"`
}

// ProcessHeartbeat says how far apart heartbeats are.
type ProcessHeartbeat struct {
	Interval *DurationInfo `w:"interval,1"`
}
