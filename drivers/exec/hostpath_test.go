package exec

import "testing"

func TestHostPaths(t *testing.T) {
	for _, good := range []string{"/usr", "/etc/ssl", "/var", "/tmpfiles", "/opt/a b"} {
		if err := CheckHostPath(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "usr", "/", "//usr", "/usr/", "/usr/../etc", "/a\x00", "/proc", "/proc/self", "/dev/shm", "/tmp", "/local/x", "/alloc"} {
		if CheckHostPath(bad) == nil {
			t.Errorf("%q is allowed", bad)
		}
	}
}
