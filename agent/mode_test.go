package agent

import (
	"io/fs"
	"testing"
)

func TestModesAreThoseOfLs(t *testing.T) {
	for want, mode := range map[string]fs.FileMode{"-rw-r-----": 0o640, "drwxrwxrwt": fs.ModeDir | fs.ModeSticky | 0o777, "lrwxrwxrwx": fs.ModeSymlink | 0o777,
		"-rwsr-Sr-T": fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o744, "crw-------": fs.ModeDevice | fs.ModeCharDevice | 0o600,
		"brw-------": fs.ModeDevice | 0o600, "prw-------": fs.ModeNamedPipe | 0o600, "srwxr-xr-x": fs.ModeSocket | 0o755} {
		if got := lsMode(mode); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
