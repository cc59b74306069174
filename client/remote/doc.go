// Package remote lets a server reach what a node does for its tasks: logs, files, commands, signals, stats. Serve answers
// on the node's side; Node asks. Each call goes straight to the cluster port of the node.
package remote

import (
	"github.com/proffer/proffer/client"
	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

const (
	logsMethod   = "Node.Logs"
	execMethod   = "Node.Exec"
	readMethod   = "Node.ReadFile"
	packMethod   = "Node.Pack"
	unpackMethod = "Node.Unpack"
	listMethod   = "Node.List"
	statMethod   = "Node.Stat"
	statsMethod  = "Node.Stats"
	signalMethod = "Node.Signal"
	usageMethod  = "Node.Usage"
)

// File is one entry of an allocation's folder.
type File = client.File

// fileRequest names a file of an allocation.
type fileRequest struct {
	Alloc         structs.AllocID
	Path          string
	Offset, Limit int64
}

type packRequest struct {
	Alloc      structs.AllocID
	Path, Name string
}

type taskRequest struct {
	Alloc        structs.AllocID
	Task, Signal string
}

type statsReply struct{ Tasks map[string]*drivers.Stats }

// chunk is a piece of output; the last message of a stream has Done set.
type chunk struct {
	Data []byte
	At   int64 // of logs: the offset of Data; with Done: the offset that was reached
	Done bool
}

// execRequest begins a command; toTask and fromTask messages follow.
type execRequest struct {
	Alloc structs.AllocID
	Task  string
	Args  []string
	Arg0  *string
	Env   []string
	TTY   bool
	Stdin bool
	Size  *drivers.Size
}

// toTask is one message to a command.
type toTask struct {
	Stdin []byte
	EOF   bool
	Size  *drivers.Size
}

// fromTask is one message of a command. Exit, or why there is none, is the last one.
type fromTask struct {
	Stdout, Stderr []byte
	Exit           *drivers.Exit
	Failed         *structs.Error
}

// maxChunk bounds the data in one message.
const maxChunk = 32 << 10
