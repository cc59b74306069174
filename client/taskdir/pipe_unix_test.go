//go:build unix

package taskdir_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/structs"
)

// A pipe that a task put in the place of what a template wrote, and holds open, is not waited for: whoever asks could not stop the task.
func TestWrittenDoesNotWait(t *testing.T) {
	s := subject(t, func(s *taskdir.Subject) {
		s.Task.Templates = []*structs.Template{{Destination: "local/a", Data: "x"}}
	})
	sc := scope(t, s)
	texts, err := sc.Texts()
	must(t, err)
	must(t, sc.Write(texts))
	if !sc.Written(texts[0]) {
		t.Fatal("it was not written")
	}
	path := s.Dir.Task("web") + "/local/a"
	must(t, os.Remove(path))
	must(t, syscall.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	written := make(chan bool)
	go func() { written <- sc.Written(texts[0]) }()
	select {
	case is := <-written:
		if is {
			t.Error("a pipe counts as what was written")
		}
	case <-time.After(time.Minute):
		t.Error("it is still waited for")
	}
	pipe.Close()
}
