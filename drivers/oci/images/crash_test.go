//go:build linux

package images_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// TestKilled kills the store before each change of the disk of a life (pull, hold, release, clean, pull), one after the other.
// Whatever is there afterwards is whole, and another process goes on with it.
func TestKilled(t *testing.T) {
	h := newHub(t)
	first := h.push(t, "one:1", imageOf(t, layerTar(t, file{name: "a/"}, file{name: "a/b", body: "common"}), noise(t, 50<<10, 1)))
	second := h.push(t, "two:1", imageOf(t, layerTar(t, file{name: "a/"}, file{name: "a/b", body: "common"}), noise(t, 3000, 2)))
	errKilled := errors.New("killed")
	life := func(s *images.Store) error {
		ctx := context.Background()
		im, err := s.Ensure(ctx, want(t, first), "a", nil)
		if err != nil {
			return err
		}
		if err := s.Release(im.ID, "a"); err != nil {
			return err
		}
		if im, err = s.Ensure(ctx, want(t, second), "b", nil); err != nil {
			return err
		}
		if _, err := s.Clean(time.Now().Add(time.Hour)); err != nil {
			return err
		}
		if err := s.Release(im.ID, "b"); err != nil {
			return err
		}
		_, err = s.Clean(time.Now().Add(time.Hour))
		return err
	}
	opts := images.Options{MaxAge: time.Minute, Stall: 10 * time.Second}
	reference := t.TempDir()
	s := open(t, reference, opts)
	whole := map[string]string{}
	for _, ref := range []string{first, second} {
		for _, l := range ensure(t, s, ref, "a").Layers {
			rel, _ := filepath.Rel(reference, l)
			whole[rel] = tree(t, l)
		}
	}
	deaths := 0
	for n := 0; ; n++ {
		dir := t.TempDir()
		var where string
		steps := 0
		s, err := images.Open(dir, images.WithStep(opts, func(what string) error {
			if steps++; steps > n {
				where = what
				return errKilled
			}
			return nil
		}))
		if err == nil {
			err = life(s)
			s.Close()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("step %d: %v", n, err)
		}
		deaths++
		// What is there under its name is whole.
		layers, _ := filepath.Glob(filepath.Join(dir, "layers", "*", "fs"))
		for _, l := range layers {
			rel, _ := filepath.Rel(dir, l)
			if got := tree(t, l); got != whole[rel] {
				t.Fatalf("killed before %s: the layer %s is\n%s", where, rel, got)
			}
		}
		s = open(t, dir, opts)
		holds, err := s.Holds()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range holds { // a task that uses an image may run on
			if err := s.Release(h.Image, h.Holder); err != nil {
				t.Fatal(err)
			}
		}
		for _, ref := range []string{first, second} {
			im := ensure(t, s, ref, "c")
			for _, l := range im.Layers {
				rel, _ := filepath.Rel(dir, l)
				if got := tree(t, l); got != whole[rel] {
					t.Fatalf("killed before %s: afterwards the layer %s is\n%s", where, rel, got)
				}
			}
			if err := s.Release(im.ID, "c"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Clean(time.Now().Add(48 * time.Hour)); err != nil {
			t.Fatal(err)
		}
		for _, sub := range []string{"images", "layers", "refs", "holds", "parts", "tmp"} {
			if left, _ := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 {
				t.Fatalf("killed before %s: %s has %v", where, sub, left)
			}
		}
		s.Close()
	}
	if deaths < 40 {
		t.Errorf("only %d places to be killed at", deaths)
	}
}

// TestClean: an image that a task uses stays, whatever its age and the space, also when the agent was restarted meanwhile.
func TestClean(t *testing.T) {
	h := newHub(t)
	var refs []string
	for i := range 4 {
		refs = append(refs, h.push(t, fmt.Sprintf("app%d:1", i), imageOf(t, noise(t, 100<<10, 99), noise(t, 100<<10, byte(i)))))
	}
	dir := t.TempDir()
	opts := images.Options{MaxAge: time.Hour, MaxBytes: 350 << 10}
	s := open(t, dir, opts)
	var ids []string
	for i, ref := range refs {
		im := ensure(t, s, ref, fmt.Sprint("task", i))
		ids = append(ids, im.ID)
		if i > 0 {
			if err := s.Release(im.ID, fmt.Sprint("task", i)); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		os.Chtimes(filepath.Join(dir, "images", im.ID[len("sha256:"):]), at, at)
	}
	s.Close()
	s = open(t, dir, opts)
	// The common layer is in use. Three others take 300 KB and something: all within the bound.
	if gone, err := s.Clean(time.Now()); err != nil || len(gone) != 0 {
		t.Fatal(gone, err)
	}
	s.Close()
	opts.MaxBytes = 150 << 10
	s = open(t, dir, opts)
	gone, err := s.Clean(time.Now())
	if err != nil || len(gone) != 2 || gone[0].Image != ids[1] || gone[1].Image != ids[2] {
		t.Fatalf("%+v %v", gone, err)
	}
	if len(gone[0].Names) != 1 || gone[0].Why == "" {
		t.Errorf("%+v", gone[0])
	}
	if gone, err = s.Clean(time.Now().Add(2 * time.Hour)); err != nil || len(gone) != 1 || gone[0].Image != ids[3] {
		t.Fatalf("%+v %v", gone, err)
	}
	if u, err := s.Usage(); err != nil || u.Images != 1 || u.Layers != 2 || u.Held != 1 {
		t.Errorf("%+v %v", u, err)
	}
	if id, err := s.Held("task0"); err != nil || id != ids[0] {
		t.Error(id, err)
	}
	if _, err := s.Held("task1"); structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
}

// TestPrune: all images go that no task uses and nobody wants to keep, whatever their age.
func TestPrune(t *testing.T) {
	h := newHub(t)
	var refs, ids []string
	s := open(t, t.TempDir(), images.Options{MaxAge: time.Hour, MaxBytes: 1 << 30})
	for i := range 3 {
		refs = append(refs, h.push(t, fmt.Sprintf("prune%d:latest", i), imageOf(t, noise(t, 10<<10, byte(i)))))
		im := ensure(t, s, refs[i], fmt.Sprint("task", i))
		if ids = append(ids, im.ID); i > 0 {
			if err := s.Release(im.ID, fmt.Sprint("task", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep := strings.TrimSuffix(refs[1], ":latest") // another spelling of the same
	gone, err := s.Prune(time.Now(), []string{keep, "no name of an image"})
	if err != nil || len(gone) != 1 || gone[0].Image != ids[2] || gone[0].Why == "" {
		t.Fatalf("%+v %v", gone, err)
	}
	if gone, err = s.Prune(time.Now(), nil); err != nil || len(gone) != 1 || gone[0].Image != ids[1] {
		t.Fatalf("%+v %v", gone, err)
	}
	if u, err := s.Usage(); err != nil || u.Images != 1 || u.Layers != 1 || u.Held != 1 {
		t.Errorf("%+v %v", u, err)
	}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, images.Options{})
	if _, err := images.Open(dir, images.Options{}); structs.KindOf(err) != structs.Conflict {
		t.Error(err)
	}
}

func TestLocal(t *testing.T) {
	task := t.TempDir()
	im := imageOf(t, layerTar(t, file{name: "hello", body: "layout"}))
	other := imageOf(t, layerTar(t, file{name: "hello", body: "other"}))
	path, err := layout.Write(filepath.Join(task, "image"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for tag, im := range map[string]v1.Image{"v1": im, "v2": other} {
		if err := path.AppendImage(im, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag})); err != nil {
			t.Fatal(err)
		}
	}
	tag, _ := name.NewTag("team/app:v3")
	if err := tarball.WriteToFile(filepath.Join(task, "image.tar"), tag, im); err != nil {
		t.Fatal(err)
	}
	s := open(t, t.TempDir(), images.Options{})
	get := func(ref string) (*images.Image, error) {
		w := want(t, ref)
		w.Local = task
		return s.Ensure(context.Background(), w, "a", nil)
	}
	for ref, body := range map[string]string{"oci:image:v1": "layout", "oci:image:v2": "other", "docker-archive:image.tar": "layout",
		"docker-archive:image.tar:v3": "layout"} {
		im, err := get(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if b, err := os.ReadFile(filepath.Join(im.Layers[0], "hello")); string(b) != body {
			t.Error(ref, string(b), err)
		}
	}
	// Nothing outside of the task's folder is looked at.
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("{}"), 0o600)
	os.Mkdir(filepath.Join(task, "evil"), 0o755)
	os.Symlink(secret, filepath.Join(task, "evil", "index.json"))
	os.Symlink(filepath.Dir(secret), filepath.Join(task, "out"))
	for ref, kind := range map[string]structs.Kind{
		"oci:evil": structs.Internal, "docker-archive:out/secret": structs.NotFound, "oci:image:v9": structs.Invalid,
		"docker-archive:none.tar": structs.NotFound, "oci:/etc": structs.Forbidden, "docker-archive:image": structs.Invalid,
	} {
		if _, err := get(ref); err == nil || structs.KindOf(err) != kind && kind != structs.Internal {
			t.Errorf("%s: got %v", ref, err)
		}
	}
	for _, ref := range []string{"oci:../x", "oci:a/../../x", "oci:", "UPPER:x y", ""} {
		if _, err := images.ParseReference("test", ref); structs.KindOf(err) != structs.Invalid {
			t.Errorf("%q: got %v", ref, err)
		}
	}
}
