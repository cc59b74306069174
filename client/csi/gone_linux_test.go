package csi

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// What a plugin mounted stays as long as it may come back, and is unmounted without it when it does not.
func TestUnmountedWithoutItsPlugin(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	p, err := Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m := &Mounted{Plugin: "p", External: "x", ID: "v1"}
	for _, last := range []string{stageFolder, "a1"} {
		at := p.place(m, last)
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k"); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
	}
	for range 2 { // nobody knows yet that it is gone for good
		if err := p.Unpublish(t.Context(), m, "a1"); structs.KindOf(err) != structs.Unavailable {
			t.Fatalf("%v", err)
		}
	}
	if is, err := mounted(p.place(m, "a1")); err != nil || !is {
		t.Fatalf("mounted: %v, %v", is, err)
	}
	p.Abandon = time.Nanosecond

	// As long as somebody works in it, it is not taken away.
	f, err := os.Create(filepath.Join(p.place(m, "a1"), "open"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Unpublish(t.Context(), m, "a1"); structs.KindOf(err) != structs.Unavailable {
		t.Fatalf("while it is used: %v", err)
	}
	f.Close()
	if err := p.Unpublish(t.Context(), m, "a1"); err != nil {
		t.Fatal(err)
	}
	if err := p.Unstage(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.dir, mountsFolder, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	for range 2 { // it may be repeated
		if p.Unpublish(t.Context(), m, "a1") != nil || p.Unstage(t.Context(), m) != nil {
			t.Error("it cannot be repeated")
		}
	}
}
