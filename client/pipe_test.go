//go:build linux || darwin

package client

import (
	"io"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// TestPipesAreNotRead: opening one would wait until a task writes.
func TestPipesAreNotRead(t *testing.T) {
	bubble(t, func(w *world) {
		w.run("a", w.service("j", nil))
		after(time.Second)
		if err := syscall.Mkfifo(filepath.Join(w.dir, "allocs/a/main/local/pipe"), 0o600); err != nil {
			t.Fatal(err)
		}
		kindIs(t, "read", w.agent.ReadFile(w.t.Context(), "a", "main/local/pipe", 0, 0, io.Discard), structs.Invalid)
		_, err := w.agent.List(w.t.Context(), "a", "main/local/pipe")
		kindIs(t, "list", err, structs.Invalid)
	})
}
