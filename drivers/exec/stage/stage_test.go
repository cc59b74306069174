//go:build linux && (amd64 || arm64)

package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

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
