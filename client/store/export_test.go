package store

import (
	"encoding/binary"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Starts returns the newest start of a task by allocation.
func (s *Store) Starts(task string) map[structs.AllocID]uint64 {
	out := make(map[structs.AllocID]uint64)
	for key := range s.keys(taskPrefix) {
		id, name, _ := strings.Cut(key, "/")
		t := &Task{}
		if found, err := s.load(taskPrefix+key, t); err != nil {
			panic(err)
		} else if found && name == task {
			out[structs.AllocID(id)] = t.Start
		}
	}
	return out
}

const LazyDelay = lazyDelay

// SetCompactFloor makes stores compact small segments too; it returns how to undo that.
func SetCompactFloor(n int64) func() {
	old := compactFloor
	compactFloor = n
	return func() { compactFloor = old }
}

// Reseal makes the checksums of a segment's frames fit again, so that damage reaches the code behind them.
func Reseal(data []byte) {
	for at := len(header); len(data)-at >= frameHeader; {
		size := frameHeader + int(binary.LittleEndian.Uint32(data[at+4:]))
		if size > len(data)-at {
			return
		}
		frame := data[at : at+size]
		binary.LittleEndian.PutUint32(frame[16:], frameSum(frame))
		at += size
	}
}
