package logs

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// An empty pipe is not read, not even to see whether it ended: what comes a moment later would be out of the pipe before it is
// in the file, and lost if the process died there. An end that was opened again after the writer went is no different.
func TestAnEmptyPipeIsNotRead(t *testing.T) {
	old := buffers.New
	defer func() { buffers = sync.Pool{New: old} }()
	buffers = sync.Pool{New: func() any { t.Error("bytes were copied"); return old() }}
	from, to := pipe(t)
	defer from.Close()
	w := NewWriter(t.TempDir(), "web", Stdout, Limits{MaxFiles: 2, MaxFileSize: 1 << 20})
	defer w.Close()
	if n, err := w.FromPipe(int(from.Fd())); n != 0 || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("empty: %d, %v", n, err)
	}
	to.WriteString("one\n")
	if n, err := w.FromPipe(int(from.Fd())); n != 4 || err != nil {
		t.Errorf("one line: %d, %v", n, err)
	}
	to.Close()
	again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", from.Fd()), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, end := range []*os.File{from, again} {
		if n, err := w.FromPipe(int(end.Fd())); n != 0 || err != nil {
			t.Errorf("ended: %d, %v", n, err)
		}
	}
}
