//go:build system

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// stored is a job with a volume at /data.
func stored(job, volume string) string {
	job = strings.Replace(job, "    task ", "    volume \"data\" {\n      "+volume+"\n    }\n    task ", 1)
	return strings.Replace(job, "      config {", "      volume_mount {\n        volume = \"data\"\n        destination = \"/data\"\n      }\n      config {", 1)
}

// TestVolumes: what a job writes to a volume is there for another one, through a kill of the agent and the death of the node, and gone
// when it is deleted. A claim is never stuck, and nothing stays mounted.
func TestVolumes(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	r.lease = "15s" // for longer than an agent needs to be there again
	s := r.agent("s", "-server", "-bootstrap-expect", "1")
	shelf := filepath.Join(r.dir, "shelf")
	mountFor := func(at string) { // shared with whoever has it mounted
		t.Helper()
		err := os.Mkdir(at, 0o755)
		if err == nil {
			err = unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k,mode=755")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
		if err := unix.Mount("", at, "", unix.MS_SHARED, ""); err != nil {
			t.Fatal(err)
		}
	}
	mountFor(shelf)
	if err := os.WriteFile(filepath.Join(shelf, "book"), []byte("of the host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := r.client("c", "-config", r.file("shelf.hcl", fmt.Sprintf("client {\n  host_volume \"shelf\" {\n    path = %q\n    read_only = true\n    propagation = \"host-to-task\"\n  }\n}\n", shelf)))
	r.startAll()
	r.nodes(structs.NodeReady, 1)

	r.submit(stored(service("writer", 1, "echo of the writer >>/data/log; sleep 1000000"), `size = "16MiB"`))
	first := r.allocs("writer", 1)[0]
	written := func(times int) {
		t.Helper()
		await(t, "the volume has what was written", func() error {
			raw, err := os.ReadFile(filepath.Join(c.dir, "client", "volumes", string(first.Volumes[0].ID), "data", "log"))
			if n := strings.Count(string(raw), "of the writer\n"); err != nil || n != times {
				return fmt.Errorf("%d lines, want %d: %v", n, times, err)
			}
			return nil
		})
	}
	written(1)
	if out := s.must("volume", "status", "data"); !strings.Contains(out, "writes, alone") || !strings.Contains(out, `by job "writer"`) {
		t.Errorf("%s", out)
	}
	s.proffer("volume", "delete", "data").has(t, "delete in use", 5, "", "stop the job first")

	// The agent is killed: the claim goes on with the task.
	c.kill()
	c.start()
	r.nodes(structs.NodeReady, 1)
	if again := r.allocs("writer", 1)[0]; again.ID != first.ID || again.Tasks["t"].Restarts > 0 {
		t.Errorf("it was %s and is %s, with %d restarts", first.ID, again.ID, again.Tasks["t"].Restarts)
	}
	r.submit(stored(service("second", 1, "sleep 1000000"), `source = "data"`))
	await(t, "another writer waits", func() error {
		if out := s.must("job", "explain", "second"); !strings.Contains(out, `volume "data" is held by another allocation`) {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.must("job", "stop", "-purge", "second")

	// The node dies: its fence frees the claim, the work waits for the node, and has its data again.
	c.crash()
	r.nodes(structs.NodeLost, 1)
	await(t, "the claim is free", func() error {
		if out := s.must("volume", "status", "data"); !strings.Contains(out, "Nothing uses it.") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	s.proffer("node", "purge", string(first.Node)).has(t, "purge of a node with data", 5, "", "volume delete -purge data")
	c.start()
	r.nodes(structs.NodeReady, 1)
	if again := r.allocs("writer", 1)[0]; again.ID == first.ID || again.Incarnation <= first.Incarnation {
		t.Errorf("%s with fencing number %d goes on as %s with %d", first.ID, first.Incarnation, again.ID, again.Incarnation)
	}
	written(2)

	// Another job reads, with a folder of the host and one in memory.
	s.must("job", "stop", "writer")
	reader := stored(service("reader", 1, "cat /data/log /shelf/book; touch /data/no /shelf/no || echo not written; df -P /scratch | grep -o tmpfs; sleep 1000000"), "read_only = true")
	reader = strings.Replace(reader, "    task ", "    volume \"shelf\" {\n      type = \"host\"\n      read_only = true\n    }\n    task ", 1)
	reader = strings.Replace(reader, "      config {", "      volume_mount {\n        volume = \"shelf\"\n        destination = \"/shelf\"\n        propagation = \"host-to-task\"\n      }\n      tmpfs {\n        destination = \"/scratch\"\n        size = \"1MiB\"\n      }\n      config {", 1)
	r.submit(reader)
	read := r.allocs("reader", 1)[0]
	await(t, "the reader has read", func() error {
		if out := s.must("alloc", "logs", string(read.ID)); !strings.Contains(out, "of the writer\nof the writer\nof the host\nnot written\ntmpfs") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})

	// What the host mounts while it runs, it sees.
	mountFor(filepath.Join(shelf, "late"))
	if err := os.WriteFile(filepath.Join(shelf, "late", "book"), []byte("of the mount\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := s.must("alloc", "exec", string(read.ID), "cat", "/shelf/late/book"); out != "of the mount\n" {
		t.Errorf("%q", out)
	}

	// Deleted softly, taken back, and deleted for good.
	s.must("job", "stop", "reader")
	await(t, "the volume is not in use", func() error {
		if o := s.proffer("volume", "delete", "data"); o.code != 0 {
			return fmt.Errorf("%s", o)
		}
		return nil
	})
	s.must("volume", "undelete", "data")
	written(2)
	s.must("volume", "delete", "-purge", "data")

	// The example of the documentation, whose volume has the same name.
	await(t, "the name is free", func() error {
		if out := s.must("volume", "list"); !strings.Contains(out, "There are no volumes.") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	r.submit(examples(t, "volumes", 5)[0])
	if notes := r.allocs("notes", 1)[0]; len(notes.Volumes) != 1 || notes.Volumes[0].ID == first.Volumes[0].ID || notes.OnLost != "fence" {
		t.Errorf("%+v", notes)
	}
	s.must("job", "stop", "-purge", "notes")
	await(t, "the volume is not in use", func() error {
		if o := s.proffer("volume", "delete", "-purge", "data"); o.code != 0 {
			return fmt.Errorf("%s", o)
		}
		return nil
	})
	await(t, "nothing is left of it", func() error {
		left, err := os.ReadDir(filepath.Join(c.dir, "client", "volumes"))
		if out := s.must("volume", "list"); err != nil || len(left) > 0 || !strings.Contains(out, "There are no volumes.") {
			return fmt.Errorf("%v, %v, %s", err, left, out)
		}
		return nil
	})
	if raw, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(raw), c.dir) {
		t.Errorf("mounts are left: %v\n%s", err, raw)
	}
}
