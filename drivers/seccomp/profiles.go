package seccomp

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/proffer/proffer/structs"
)

// Bounds of a folder with profiles.
const (
	maxProfiles = 256
	maxFile     = 1 << 20 // bytes
	suffix      = ".json"
)

// Profile is one that the operator of the node wrote, in the format of Docker. It is immutable.
type Profile struct {
	Name string
	JSON []byte // as its file has it
	Mark string // the same for the same file
}

// Profiles are those of a node, by their names. The zero value has none, and so has a nil one. Its methods may be called from any
// goroutine.
type Profiles struct{ list atomic.Pointer[[]*Profile] }

// Read reads a folder: each file NAME.json in it is a profile. bad says what is wrong with which files: those are no profiles. An error is of
// the folder itself. The folder "" has none.
func Read(dir string) (good []*Profile, bad []error, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		name, is := strings.CutSuffix(f.Name(), suffix)
		if !is || strings.HasPrefix(name, ".") {
			continue // what an editor or a tool keeps there
		}
		file := filepath.Join(dir, f.Name())
		p, err := read(file, name)
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", file, err))
			continue
		}
		if good = append(good, p); len(good) > maxProfiles {
			return nil, nil, fmt.Errorf("%s has more than %d profiles", dir, maxProfiles)
		}
	}
	return good, bad, nil
}

func read(file, name string) (*Profile, error) {
	switch {
	case name == structs.SeccompDefault || name == structs.SeccompUnconfined:
		return nil, fmt.Errorf("%q means something else in a job: give the profile another name", name)
	case !structs.ValidName(name):
		return nil, fmt.Errorf("%q is not a valid name (letters, digits, -, _ and .; at most 128)", name)
	}
	if info, err := os.Stat(file); err != nil {
		return nil, reason(err)
	} else if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, reason(err)
	case len(raw) > maxFile:
		return nil, fmt.Errorf("it is larger than %s", structs.Bytes(maxFile))
	}
	sum := sha256.Sum256(raw)
	p := &Profile{Name: name, JSON: raw, Mark: hex.EncodeToString(sum[:6])}
	return p, p.check()
}

// reason is an error without the path, which the caller says.
func reason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Set replaces the profiles. What runs keeps what it has.
func (p *Profiles) Set(list []*Profile) { p.list.Store(&list) }

func (p *Profiles) all() []*Profile {
	if p == nil || p.list.Load() == nil {
		return nil
	}
	return *p.list.Load()
}

// Find returns a profile. object is the task that wants it.
func (p *Profiles) Find(object, name string) (*Profile, error) {
	all := p.all()
	if i := slices.IndexFunc(all, func(x *Profile) bool { return x.Name == name }); i >= 0 {
		return all[i], nil
	}
	e := structs.Errorf(structs.NotFound, object+".config."+structs.SeccompKey, "this node has no seccomp profile %q", name)
	names := make([]string, len(all))
	for i, x := range all {
		names[i] = x.Name
	}
	if near := structs.Nearest(name, names); near != "" {
		return nil, e.Advise("did you mean %q?", near)
	}
	return nil, e.Advise("put %s into the folder that client.seccomp_profiles names and reload the agent; its log says what is wrong with a file that is there", name+suffix)
}

// Tell adds to the attributes of a driver which profiles its tasks may have.
func (p *Profiles) Tell(attributes map[string]string) {
	for _, x := range p.all() {
		attributes[structs.AttrSeccomp+x.Name] = x.Mark
	}
}

// Equal reports whether a list is what there is already.
func (p *Profiles) Equal(list []*Profile) bool {
	marks := func(list []*Profile) map[string]string {
		out := map[string]string{}
		for _, x := range list {
			out[x.Name] = x.Mark
		}
		return out
	}
	return maps.Equal(marks(p.all()), marks(list))
}
