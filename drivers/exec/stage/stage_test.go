//go:build linux && (amd64 || arm64)

package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// The binaries in the tree were built from the source in the tree: whoever changes one runs go generate.
func TestTheBinariesBelongToTheSource(t *testing.T) {
	source, err := os.ReadFile("src/stage.c")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("stage.sum")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(recorded))
	for i, content := range [][]byte{source, file(t, "stage_amd64"), file(t, "stage_arm64")} {
		sum := sha256.Sum256(content)
		if i >= len(lines) || lines[i] != hex.EncodeToString(sum[:]) {
			t.Fatal("src/stage.c or a binary was changed: run go generate in drivers/exec/stage")
		}
	}
}

func file(t *testing.T, name string) []byte {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPlansHaveBounds(t *testing.T) {
	least := func() *Plan {
		return &Plan{Args: []string{"x"}, Stdin: -1, Stdout: -1, Stderr: -1, KeepOut: -1, KeepErr: -1, Cgroup: -1, PidFD: -1, Netns: -1}
	}
	if _, _, err := (&Plan{Full: true, Hold: true}).encode(opStart, 3); err != nil { // it needs no program
		t.Error(err)
	}
	if _, fds, err := least().encode(opStart, 3); err != nil || len(fds) != 1 {
		t.Errorf("%v, %v", fds, err)
	}
	for name, c := range map[string]struct {
		change func(*Plan)
		kind   structs.Kind
	}{
		"no program":   {func(p *Plan) { p.Args = nil }, structs.Invalid},
		"empty":        {func(p *Plan) { p.Args = []string{""} }, structs.Invalid},
		"long":         {func(p *Plan) { p.Env = []string{strings.Repeat("x", maxMessage)} }, structs.Exhausted},
		"a NUL":        {func(p *Plan) { p.Args = append(p.Args, "a\x00b") }, structs.Invalid},
		"many strings": {func(p *Plan) { p.Env = make([]string, maxStrings) }, structs.Exhausted},
		"many groups":  {func(p *Plan) { p.Groups = make([]uint32, maxGroups+1) }, structs.Exhausted},
	} {
		p := least()
		c.change(p)
		if _, _, err := p.encode(opStart, 3); structs.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFailuresAreRead(t *testing.T) {
	f := parseFailure([]byte("\x02\x00\x00\x00exec\x00/no/such"))
	if f == nil || f.Error() != "exec /no/such: no such file or directory" {
		t.Errorf("%v", f)
	}
	if f := parseFailure([]byte("\x01\x00\x00\x00unshare\x00")); f.Error() != "unshare: operation not permitted" {
		t.Errorf("%v", f)
	}
	for _, cut := range []string{"", "\x02\x00"} {
		if f := parseFailure([]byte(cut)); f != nil {
			t.Errorf("%q: %v", cut, f)
		}
	}
}

// A program is called what its plan says, wherever it was found; a script, by its path, for the kernel says so.
func TestProgramsHaveANameOfTheirOwn(t *testing.T) {
	slots, err := OpenSlots(filepath.Join(t.TempDir(), "slots"))
	if err != nil {
		t.Fatal(err)
	}
	defer slots.Close()
	s, err := Spawn(slots, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho $0 $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	say := []string{"-c", "echo $0"}
	for name, c := range map[string]struct {
		args []string
		arg0 *string
		want string
	}{
		"its own":    {append([]string{"/bin/sh"}, say...), nil, "/bin/sh"},
		"another":    {append([]string{"/bin/sh"}, say...), new("-other"), "-other"},
		"of PATH":    {append([]string{"sh"}, say...), new("other"), "other"},
		"none":       {append([]string{"sh"}, say...), new(""), ""},
		"a script":   {[]string{script, "first"}, new("other"), script + " first"},
		"no program": {[]string{"/no/such"}, new("sh"), "exec /no/such: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fd := descriptor(w)
			p, err := s.Start(t.Context(), &Plan{Args: c.args, Arg0: c.arg0, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", Stdin: -1, Stdout: fd,
				Stderr: fd, KeepOut: -1, KeepErr: -1, Cgroup: -1, PidFD: -1, Netns: -1})
			w.Close()
			if err != nil {
				if err.Error() != c.want {
					t.Fatal(err)
				}
				return
			}
			defer unix.Close(p.PidFD)
			said, err := io.ReadAll(r)
			awaitExit(p)
			if err != nil || string(said) != c.want+"\n" {
				t.Errorf("%q, %v, and not %q", said, err, c.want)
			}
		})
	}
}
