//go:build unix

package supervisor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A socket's address holds about a hundred bytes, and the temporary folder of macOS alone takes half of them.
func TestASocketInADeepFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, by := range map[string]func(string) (string, func(), error){"this system": socketPath, "a link": linked} {
		path, done, err := by(dir)
		if err != nil {
			t.Fatal(name, err)
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(name, err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		done()
		if _, err := os.Stat(filepath.Join(dir, socketName)); err != nil {
			t.Error(name, err)
		}
		conn, err := dialSocket(dir)
		if err != nil {
			t.Fatal(name, err)
		}
		conn.Close()
		l.Close()
		if err := os.Remove(filepath.Join(dir, socketName)); err != nil {
			t.Error(name, err)
		}
	}
}
