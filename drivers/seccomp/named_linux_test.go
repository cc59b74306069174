//go:build linux && (amd64 || arm64)

package seccomp

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"pgregory.net/rapid"

	"github.com/proffer/proffer/structs"
)

// folder writes files and reads them as profiles.
func folder(t *testing.T, files map[string]string) (good []*Profile, bad []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	good, errs, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range errs {
		bad = append(bad, strings.TrimPrefix(err.Error(), dir+"/"))
	}
	return good, bad
}

// The profile that Docker publishes is one here, and means what Default means to every system call but those that Default itself takes away.
func TestDockersOwn(t *testing.T) {
	raw, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	good, bad := folder(t, map[string]string{"docker.json": string(raw), "README.md": "x", ".docker.json.swp": "x"})
	if len(good) != 1 || bad != nil || good[0].Name != "docker" {
		t.Fatalf("%v, %q", good, bad)
	}
	for _, caps := range [][]string{nil, {"CAP_SYS_NICE", "CAP_SYS_CHROOT"}} {
		got, err := good[0].For(caps)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Default(caps)
		if err != nil {
			t.Fatal(err)
		}
		for name := range numbers {
			for _, first := range []uint64{0, 38, 40, 1<<32 | 41, 0x7E020000} {
				args := [6]uint64{first, 1}
				if a, b := plain(got, name, args), plain(want, name, args); a != b && name != "ioctl" {
					t.Errorf("%v: %s(%#x) is answered with %#x, want %#x", caps, name, first, a, b)
				}
			}
		}
	}
}

func TestFilesThatAreNoProfiles(t *testing.T) {
	const head = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}, `
	const open = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [`
	for name, file := range map[string][2]string{
		"empty":          {``, "EOF"},
		"syntax":         {"{\n\"defaultAction\": \"SCMP_ACT_ALLOW\",\n\"syscalls\": [}", "line 3: invalid character '}'"},
		"type":           {"{\n\n\"defaultAction\": 3}", "line 3: json: cannot unmarshal number"},
		"behind":         {open + `]} {}`, "behind its end"},
		"field":          {`{"defaultAcion": "SCMP_ACT_ALLOW"}`, `unknown field "defaultAcion"`},
		"field of rule":  {head + `{"names": ["read"], "acton": "SCMP_ACT_ALLOW"}]}`, `syscalls[1]: json: unknown field "acton"`},
		"no default":     {`{"syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}`, "defaultAction: it is missing"},
		"default":        {`{"defaultAction": "ALLOW"}`, `defaultAction: the action "ALLOW" is not known`},
		"answerer":       {head + `{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}`, "syscalls[1]: action: SCMP_ACT_NOTIFY needs somebody"},
		"no action":      {head + `{"names": ["read"]}]}`, `syscalls[1]: action: the action "" is not known`},
		"no names":       {head + `{"action": "SCMP_ACT_ALLOW"}]}`, "syscalls[1]: names: it is missing"},
		"a name":         {head + `{"names": ["Read File"], "action": "SCMP_ACT_ALLOW"}]}`, `syscalls[1]: names: "Read File" is not the name`},
		"open and typed": {open + `{"names": ["mkdirr"], "action": "SCMP_ACT_ERRNO"}]}`, `syscalls[0]: names: "mkdirr" is not known here, so that it would be allowed`},
		"errno":          {head + `{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5000}]}`, "errnoRet 5000 is more than 4095"},
		"errno of kill":  {head + `{"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]}`, "SCMP_ACT_KILL has no errnoRet"},
		"argument":       {head + `{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}`, "syscalls[1]: args[0]: there is no argument 6"},
		"comparison":     {head + `{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "EQ"}]}]}`, "syscalls[1]: args[0]: there is no comparison"},
		"both":           {open + `{"names": ["ioctl"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}]}, {"names": ["ioctl"], "action": "SCMP_ACT_KILL"}]}`, "a rule for ioctl without conditions answers otherwise"},
		"no start":       {`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}`, "no program could be started"},
		"flags":          {`{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}`, "flags: none is served"},
		"listener":       {`{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x"}`, "listenerPath"},
		"large":          {open + strings.Repeat(" ", maxFile) + `]}`, "it is larger than 1MiB"},
		"default kernel": {open + `{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "includes": {"minKernel": "new"}}]}`, "invalid kernel version"},
	} {
		good, bad := folder(t, map[string]string{"x.json": file[0]})
		if len(good) != 0 || len(bad) != 1 || !strings.HasPrefix(bad[0], "x.json: ") || !strings.Contains(bad[0], file[1]) {
			t.Errorf("%s: %v, %q", name, good, bad)
		}
	}
	good, bad := folder(t, map[string]string{"default.json": open + `]}`, "unconfined.json": open + `]}`, "a b.json": open + `]}`, "good.json": open + `]}`})
	if len(good) != 1 || good[0].Name != "good" || len(bad) != 3 {
		t.Errorf("%v, %q", good, bad)
	}
	if _, _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there was read")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "x.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	if good, errs, err := Read(dir); len(good) != 0 || len(errs) != 1 || err != nil {
		t.Errorf("a folder as a profile: %v, %v, %v", good, errs, err)
	}
}

// runtime answers as the runtimes of containers do, which leave out what answers as the default does, take a rule without conditions before
// all others, and conditions of one argument for either of them.
func runtime(p *specs.LinuxSeccomp, name string, args [6]uint64) uint32 {
	otherwise, _ := answer(p.DefaultAction, p.DefaultErrnoRet)
	var list []specs.LinuxSyscall
	for _, s := range p.Syscalls {
		if a, _ := answer(s.Action, s.ErrnoRet); a == otherwise || !slices.Contains(s.Names, name) {
			continue
		}
		if s.Names = []string{name}; !twice(s.Args) {
			list = append(list, s)
			continue
		}
		for _, arg := range s.Args {
			s.Args = []specs.LinuxSeccompArg{arg}
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b specs.LinuxSyscall) int { return min(len(a.Args), 1) - min(len(b.Args), 1) })
	for _, s := range list {
		one := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{s}}
		want, _ := answer(s.Action, s.ErrnoRet)
		one.Syscalls[0].Action = specs.ActKillProcess // to see whether it holds
		one.Syscalls[0].ErrnoRet = nil
		if plain(one, name, args) == retKillProcess {
			return want
		}
	}
	return otherwise
}

// A profile of a node is the same filter to Compile as to a runtime, however many calls it names.
func TestNamedProfilesAreTheirPrograms(t *testing.T) {
	var names []string
	for name := range numbers {
		if !int32s[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActKill, specs.ActTrap, specs.ActLog}
	rapid.Check(t, func(t *rapid.T) {
		in := seccomp.Seccomp{}
		in.DefaultAction = rapid.SampledFrom(actions).Draw(t, "default")
		in.Syscalls = []*seccomp.Syscall{{LinuxSyscall: specs.LinuxSyscall{Names: []string{"execve"}, Action: specs.ActAllow}}}
		for range rapid.IntRange(0, 8).Draw(t, "rules") {
			s := &seccomp.Syscall{LinuxSyscall: specs.LinuxSyscall{Action: rapid.SampledFrom(actions).Draw(t, "action"),
				Names: rapid.SliceOfN(rapid.SampledFrom(names), 1, 120).Draw(t, "names")}}
			for range rapid.IntRange(0, 2).Draw(t, "args") {
				s.Args = append(s.Args, specs.LinuxSeccompArg{Index: rapid.UintRange(0, 2).Draw(t, "index"), Value: rapid.Uint64Range(0, 3).Draw(t, "value"),
					Op: rapid.SampledFrom([]specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpLessThan}).Draw(t, "op")})
			}
			in.Syscalls = append(in.Syscalls, s)
		}
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		p := &Profile{Name: "x", JSON: raw}
		if p.check() != nil {
			return
		}
		made, err := p.For(nil)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := p.Program(nil)
		if err != nil {
			t.Fatal(err)
		}
		program, err := Decode(encoded)
		if err != nil {
			t.Fatal(err)
		}
		byName, err := seccomp.LoadProfile(string(raw), &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
		if err != nil {
			t.Fatal(err)
		}
		args := [6]uint64{rapid.Uint64Range(0, 3).Draw(t, "0"), rapid.Uint64Range(0, 3).Draw(t, "1"), 2}
		for _, name := range names {
			want := runtime(byName, name, args)
			if got := run(t, program, numbers[name], arch, args); got != want {
				t.Fatalf("%s(%v): %#x, want %#x\n%s", name, args, got, want, raw)
			}
			if got := runtime(made, name, args); got != want {
				t.Fatalf("%s(%v) for a runtime: %#x, want %#x\n%s", name, args, got, want, raw)
			}
		}
	})
	// As many runs of numbers as there can be: jumps are longer than those with conditions reach.
	slices.SortFunc(names, func(a, b string) int { return int(numbers[a]) - int(numbers[b]) })
	in := seccomp.Seccomp{Syscalls: []*seccomp.Syscall{{LinuxSyscall: specs.LinuxSyscall{Action: specs.ActAllow, Names: []string{"execve"}}}}}
	in.DefaultAction = specs.ActErrno
	for i, name := range names {
		if i%2 == 0 {
			s := specs.LinuxSyscall{Action: specs.ActErrno, Names: []string{name}, ErrnoRet: new(uint(i + 2))}
			in.Syscalls = append(in.Syscalls, &seccomp.Syscall{LinuxSyscall: s})
		}
	}
	in.Syscalls = slices.DeleteFunc(in.Syscalls, func(s *seccomp.Syscall) bool { return s.Action == specs.ActErrno && s.Names[0] == "execve" })
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := folder(t, map[string]string{"x.json": string(raw)})
	if len(good) != 1 {
		t.Fatal(bad)
	}
	p, err := good[0].For(nil)
	if err != nil {
		t.Fatal(err)
	}
	program, err := Compile(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(program) < 600 {
		t.Errorf("only %d instructions", len(program))
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "name")
		if got, want := run(t, program, numbers[name], arch, [6]uint64{}), plain(p, name, [6]uint64{}); got != want {
			t.Fatalf("%s: %#x, want %#x", name, got, want)
		}
	})
}

func TestPrograms(t *testing.T) {
	for _, raw := range [][]byte{nil, make([]byte, 7), make([]byte, 8*(maxProgram+1))} {
		if _, err := Decode(raw); err == nil {
			t.Errorf("%d bytes were a program", len(raw))
		}
	}
}

func TestFind(t *testing.T) {
	var none *Profiles
	if _, err := none.Find("task x", "web"); structs.KindOf(err) != structs.NotFound {
		t.Errorf("%v", err)
	}
	p := &Profiles{}
	p.Set([]*Profile{{Name: "web", Mark: "1"}, {Name: "db", Mark: "2"}})
	if x, err := p.Find("task x", "web"); err != nil || x.Name != "web" {
		t.Errorf("%v, %v", x, err)
	}
	if _, err := p.Find("task x", "wed"); structs.KindOf(err) != structs.NotFound || !strings.Contains(err.Error(), `did you mean "web"?`) {
		t.Errorf("%v", err)
	}
	attributes := map[string]string{}
	if p.Tell(attributes); len(attributes) != 2 || attributes["seccomp.profile.web"] != "1" {
		t.Errorf("%v", attributes)
	}
}
