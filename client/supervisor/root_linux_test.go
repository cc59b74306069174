//go:build linux && system

package supervisor_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

// rootfs makes a root below local of a task, with busybox and nothing else.
func rootfs(t *testing.T, s *drivers.Spec) string {
	t.Helper()
	who := 65534
	if s.User == "root" {
		who = 0
	}
	if err := s.MakeFolders(who, who); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.TaskDir, "local/rootfs")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open("/bin/busybox")
	if err != nil {
		t.Skip("busybox-static is not installed: ", err)
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, "bin/busybox"), os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(out, in)
	out.Close()
	for _, name := range []string{"sh", "ls", "cat", "id", "mount", "grep", "readlink", "wc", "chroot", "mknod", "echo"} {
		os.Symlink("busybox", filepath.Join(dir, "bin", name))
	}
	return dir
}

// A task whose root is a folder of its own sees that and its folders, and nothing of the host.
func TestARootOfItsOwn(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	script := `ls /; ls /dev; cat /etc/hostname 2>&1; echo x >/local/written; echo y >/tmp/t; cat /proc/1/comm; grep -c . /proc/self/mountinfo >/dev/null
		grep ' / rw' /proc/self/mountinfo | grep -o nosuid,nodev; readlink /proc/self/root; echo z >/dev/null && echo null; cat /proc/kcore | wc -c; exec sleep 1000`
	for _, user := range []string{"nobody", "root"} {
		s := n.spec(script, config("root", "local/rootfs"), func(s *drivers.Spec) { s.User = user })
		dir := rootfs(t, s)
		os.Mkdir(filepath.Join(dir, "suid"), 0o755)
		suid := filepath.Join(dir, "suid/id")
		raw, _ := os.ReadFile(filepath.Join(dir, "bin/busybox"))
		os.WriteFile(suid, raw, 0o755)
		os.Chmod(suid, 0o4755)
		os.Mkdir(filepath.Join(dir, "etc"), 0o755)
		os.Symlink("/../../../../etc/hostname", filepath.Join(dir, "etc/hostname"))
		task := n.start(s)
		got := n.until(s, "\n0\n")
		want := "alloc\nbin\ndev\netc\nlocal\nproc\nsecrets\nsuid\ntmp\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\ncat: can't open '/etc/hostname'"
		if !strings.HasPrefix(got, want) || !strings.Contains(got, "proffer-task\nnosuid,nodev\n/\nnull\n0\n") {
			t.Errorf("as %s:\n%s", user, got)
		}
		if raw, err := os.ReadFile(filepath.Join(s.TaskDir, "local/written")); string(raw) != "x\n" {
			t.Errorf("what it wrote to local: %q, %v", raw, err)
		}
		for command, want := range map[string]string{
			"ls /bin | grep -c busybox": "1\n",
			"/suid/id -u":               map[string]string{"nobody": "65534\n", "root": "0\n"}[user],
			"mknod /local/sda b 8 0 2>/dev/null || echo no":                                                                    "no\n",
			"mount -t tmpfs x /tmp 2>/dev/null || echo no":                                                                     "no\n",
			"chroot /proc/1/root ls / 2>/dev/null || echo no":                                                                  "no\n",
			"(echo x >/proc/sys/kernel/hostname) 2>/dev/null || echo no; (echo x >/proc/sysrq-trigger) 2>/dev/null || echo no": "no\nno\n",
		} {
			var out bytes.Buffer
			if _, err := task.Exec(n.ctx, drivers.Command{Args: []string{"/bin/sh", "-c", command}, Stdout: &out, Stderr: &out}); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != want {
				t.Errorf("as %s: %s: %q", user, command, got)
			}
		}
		if err := task.Stop(n.ctx, "SIGKILL", 0); err != nil {
			t.Error(err)
		}
		if err := task.Destroy(n.ctx); err != nil {
			t.Error(err)
		}
	}
}

// What cannot be a root is refused with the reason, and nothing of the host is mounted on or seen.
func TestRootsThatLeadOut(t *testing.T) {
	needRoot(t)
	n := newNode(t)
	for what, c := range map[string]struct {
		change func(t *testing.T, dir string)
		kind   structs.Kind
	}{
		"none":              {func(t *testing.T, dir string) { os.RemoveAll(dir) }, structs.Invalid},
		"a file":            {func(t *testing.T, dir string) { os.RemoveAll(dir); os.WriteFile(dir, nil, 0o644) }, structs.Invalid},
		"a link to the top": {func(t *testing.T, dir string) { os.RemoveAll(dir); os.Symlink("/", dir) }, structs.Invalid},
		"a link up":         {func(t *testing.T, dir string) { os.RemoveAll(dir); os.Symlink("../../../..", dir) }, structs.Invalid},
		"proc a link":       {func(t *testing.T, dir string) { os.Symlink("/etc", dir+"/proc") }, structs.Invalid},
		"local a link":      {func(t *testing.T, dir string) { os.Symlink("bin", dir+"/local") }, structs.Invalid},
		"dev a file":        {func(t *testing.T, dir string) { os.WriteFile(dir+"/dev", nil, 0o644) }, structs.Invalid},
		"tmp a link up":     {func(t *testing.T, dir string) { os.Symlink("../../tmp", dir+"/tmp") }, structs.Invalid},
	} {
		s := n.spec("echo started", config("root", "local/rootfs"))
		c.change(t, rootfs(t, s))
		if _, err := n.driver.Start(n.ctx, s); structs.KindOf(err) != c.kind || !strings.Contains(err.Error(), "root") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
