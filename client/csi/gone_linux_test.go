package csi

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
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

// A task that puts a link in the place of its socket again and again never has the node talk to another one.
func TestSocketThatIsSwapped(t *testing.T) {
	folder, err := os.MkdirTemp("", "csi") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(folder, name)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	own, other := listen("own"), listen("other")
	if err := os.Symlink("other", filepath.Join(folder, "link")); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for c, err := own.Accept(); err == nil; c, err = own.Accept() {
			c.Close()
		}
	})
	work.Go(func() {
		if c, err := other.Accept(); err == nil {
			t.Error("it talked to another socket")
			c.Close()
		}
	})
	stop := make(chan struct{})
	work.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			what := []string{"own", "link"}[i%2]
			next := filepath.Join(folder, "next")
			os.Remove(next) // a name of what is there already is not moved over it
			if err := os.Link(filepath.Join(folder, what), next); err == nil {
				os.Rename(next, filepath.Join(folder, socketName))
			}
		}
	})
	for range 3000 {
		if c, err := dial(t.Context(), folder); err == nil {
			c.Close()
		}
	}
	close(stop)
	own.Close()
	other.Close()
	work.Wait()
}
