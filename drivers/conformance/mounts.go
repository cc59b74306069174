package conformance

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// mounts: what Mounts and the task's tmpfs say is there, one inside another too, and for reading only what is to be; nothing of it stays
// mounted on the host.
func mounts(s *suite) {
	folder := func(name, content string) string {
		s.Helper()
		dir := filepath.Join(s.dir, "volume-"+name)
		err := os.Mkdir(dir, 0o777)
		if err == nil {
			err = os.Chmod(dir, 0o777)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o644)
		}
		if err != nil {
			s.Fatal(err)
		}
		return dir
	}
	data, fixed := folder("data", "of data"), folder("fixed", "of fixed")
	if err := os.Mkdir(filepath.Join(data, "fixed"), 0o755); err != nil { // of a volume that another is mounted in
		s.Fatal(err)
	}
	spec := s.spec(Script{Forever: true})
	spec.Mounts = []drivers.Mount{{Source: fixed, Target: "/srv/deep/data/fixed", ReadOnly: true}, {Source: data, Target: "/srv/deep/data"}}
	spec.Task.Tmpfs = []*structs.Tmpfs{{Destination: "/scratch", Size: 1 << 20}}
	task := s.start(spec)
	run := func(command string) (int, string) {
		s.Helper()
		var out bytes.Buffer
		exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", command}, Stdout: &out, Stderr: &out})
		if err != nil {
			s.Fatalf("%s: %v", command, err)
		}
		return exit.Code, out.String()
	}
	if code, out := run("cat /srv/deep/data/file /srv/deep/data/fixed/file && echo new >/srv/deep/data/made"); code != 0 || out != "of dataof fixed" {
		s.Errorf("%d, %q", code, out)
	}
	if raw, err := os.ReadFile(filepath.Join(data, "made")); string(raw) != "new\n" {
		s.Errorf("on the host: %q, %v", raw, err)
	}
	if code, out := run("echo x >/srv/deep/data/fixed/file"); code == 0 {
		s.Errorf("it wrote to what is for reading only: %s", out)
	}
	if code, out := run("head -c 500000 /dev/zero >/scratch/a && ! head -c 2000000 /dev/zero >/scratch/b"); code != 0 {
		s.Errorf("the tmpfs takes more than its size, or less: %s", out)
	}
	if err := task.Stop(s.ctx, "SIGKILL", 0); err != nil {
		s.Fatal(err)
	}
	if err := task.Destroy(s.ctx); err != nil {
		s.Fatal(err)
	}
	if raw, err := os.ReadFile("/proc/self/mountinfo"); err == nil && bytes.Contains(raw, []byte(s.dir)) {
		s.Errorf("left on the host: %s", raw)
	}
}
