package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/seccomp"
	"github.com/proffer/proffer/structs"
)

// profile is a seccomp profile under which nothing can make a folder.
const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}`

// Profiles are the seccomp profiles that the driver of a Harness with Profiles has.
func Profiles(t *testing.T) *seccomp.Profiles {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "no-folders.json"), []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	good, bad, err := seccomp.Read(dir)
	if len(good) != 1 || bad != nil || err != nil {
		t.Fatal(bad, err)
	}
	p := &seccomp.Profiles{}
	p.Set(good)
	return p
}

// profiles: a task that names a profile is under it, with all that is run in it, and others are not; one that the node lacks starts nothing.
func profiles(s *suite) {
	if f := s.d.Fingerprint(s.ctx); f.Attributes[structs.AttrSeccomp+"no-folders"] == "" {
		s.Errorf("the driver does not say that it has the profile: %v", f.Attributes)
	}
	with := func(script Script, name string) *drivers.Spec {
		spec := s.spec(script)
		spec.Task.Config[structs.SeccompKey] = name
		return spec
	}
	if exit := s.wait(s.start(s.spec(Script{Folder: true, Stdout: "x"}))); exit.Code != 0 {
		s.Errorf("without the profile: %+v", exit)
	}
	if exit := s.wait(s.start(with(Script{Folder: true, Stdout: "x"}, "no-folders"))); exit.Code != 33 {
		s.Errorf("a task made a folder under the profile: %+v", exit)
	}
	task := s.start(with(Script{Forever: true}, "no-folders"))
	var out bytes.Buffer
	exit, err := task.Exec(s.ctx, drivers.Command{Args: []string{"sh", "-c", "mkdir /tmp/made && exit 5; touch /tmp/made; ls /tmp/made"}, Stdout: &out})
	if err != nil || exit.Code != 0 || out.String() != "/tmp/made\n" {
		s.Errorf("a command in it: %+v, %v, %q", exit, err, out.String())
	}
	_, err = s.d.Start(s.ctx, with(Script{}, "no-such-profile"))
	s.kind("a profile that the node does not have", err, structs.NotFound)
}
