// Package logs keeps the output of tasks in rotating files and serves it, live and after the end.
//
// A stream is the stdout or the stderr of one task of an allocation. Its bytes have global offsets that rotation does
// not change: the file <task>.<stream>.<N> begins at offset N, so a name alone says what a file holds and no index can
// be lost. The supervisor writes, with one Writer a stream; any process may read.
package logs

import (
	"time"

	"github.com/proffer/proffer/structs"
)

// Stream names one output of a task.
type Stream string

const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// Limits bound what a stream keeps on disk.
type Limits struct {
	MaxFiles    int           // at least 1; 0 means 10
	MaxFileSize structs.Bytes // at which a new file is begun; 0 means 10 MiB
	MaxAge      time.Duration // after which a file that is no longer written is removed; 0: never
}
