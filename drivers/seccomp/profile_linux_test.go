//go:build linux && (amd64 || arm64)

package seccomp

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A file's owner cannot take it out of the quota of its project, and may ask for all else; who administers the system anyway may ask for
// everything.
func TestProjectsStay(t *testing.T) {
	p, err := Default([]string{"CAP_CHOWN"})
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(request uint64) bool {
		return plain(p, "ioctl", [6]uint64{0, request}) == retAllow
	}
	for kind := range uint64(256) {
		for direction := range uint64(4) {
			request := direction<<30 | 0x20<<16 | kind<<8 | 2
			if want := direction != 1 || kind != 'X' && kind != 'f'; allowed(request) != want || allowed(1<<32|request) != want {
				t.Errorf("request %#x is allowed: %v", request, !want)
			}
		}
	}
	for name, request := range map[string]uint64{"FS_IOC_FSSETXATTR": 0x401c5820, "FS_IOC_SETFLAGS": 0x40086602} {
		if allowed(request) {
			t.Errorf("%s is allowed", name)
		}
	}
	if p, err = Default([]string{"CAP_SYS_ADMIN"}); err != nil || !slices.ContainsFunc(p.Syscalls, func(s specs.LinuxSyscall) bool {
		return slices.Contains(s.Names, "ioctl") && len(s.Args) == 0
	}) {
		t.Errorf("%v", err)
	}
}
