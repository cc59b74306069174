//go:build linux

package images_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

func TestPull(t *testing.T) {
	h := newHub(t)
	base := layerTar(t, file{name: "bin/"}, file{name: "bin/sh", body: "#!", mode: 0o755})
	top := layerTar(t, file{name: "etc/"}, file{name: "etc/motd", body: "hello"})
	ref := h.push(t, "team/app:v1", imageOf(t, base, top))
	s := open(t, t.TempDir(), images.Options{})
	var last images.Progress
	im, err := s.Ensure(context.Background(), want(t, ref), "a", func(p images.Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total == 0 {
		t.Errorf("the last progress was %+v", last)
	}
	if im.Config.User != "1000" || im.Config.Cmd[0] != "/hello" || len(im.Layers) != 2 || !strings.HasPrefix(im.Digest, "sha256:") {
		t.Errorf("got %+v", im)
	}
	if b, err := os.ReadFile(filepath.Join(im.Layers[1], "etc/motd")); string(b) != "hello" {
		t.Error(string(b), err)
	}
	if info, err := os.Stat(filepath.Join(im.Layers[0], "bin/sh")); err != nil || info.Mode().Perm() != 0o755 || !info.ModTime().Equal(time.Unix(1e9, 0)) {
		t.Error(info, err)
	}
	gets := len(h.gets)
	h.Server.Close() // what is here needs no registry
	again := ensure(t, s, ref, "b")
	if again.ID != im.ID || again.Digest != im.Digest || len(h.gets) != gets {
		t.Errorf("got %+v", again)
	}
	left, _ := os.ReadDir(filepath.Join(filepath.Dir(filepath.Dir(filepath.Dir(im.Layers[0]))), "parts"))
	if len(left) > 0 {
		t.Errorf("parts are left: %v", left)
	}
}

// TestOneBlob: thirty tasks that need two images with a layer in common, at once: each layer is transferred once.
func TestOneBlob(t *testing.T) {
	h := newHub(t)
	common := noise(t, 300<<10, 1)
	refs := []string{h.push(t, "one:1", imageOf(t, common, noise(t, 2000, 2))), h.push(t, "two:1", imageOf(t, common, noise(t, 2000, 3)))}
	h.gets = map[string]int{}
	s := open(t, t.TempDir(), images.Options{})
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() { ensure(t, s, refs[i%2], fmt.Sprint(i)) })
	}
	all.Wait()
	layers := map[string]int{}
	for path, n := range h.gets {
		layers[path[strings.LastIndex(path, "/"):]] += n
	}
	// Two configs may be asked for by everybody; three layers by one each.
	once := 0
	for _, n := range layers {
		if n == 1 {
			once++
		}
	}
	if once < 3 || len(layers) != 5 {
		t.Errorf("blobs were asked for so often: %v", layers)
	}
	u, err := s.Usage()
	if err != nil || u.Images != 2 || u.Layers != 3 || u.Held != 2 {
		t.Errorf("%+v %v", u, err)
	}
}

// TestResume: the registry cuts each answer after 100 KB; what came is not asked for again.
func TestResume(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "big:1", imageOf(t, noise(t, 1<<20, 7)))
	var sent, answers atomic.Int64
	h.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) {
		answers.Add(1)
		rest := body[from(r):]
		w.Header().Set("Content-Length", fmt.Sprint(len(rest)))
		if from(r) > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		n, _ := w.Write(rest[:min(len(rest), 100<<10)])
		sent.Add(int64(n))
	})
	s := open(t, t.TempDir(), images.Options{Stall: retries})
	ensure(t, s, ref, "a")
	if answers.Load() < 10 || sent.Load() > 1<<20+64<<10 {
		t.Errorf("%d bytes in %d answers", sent.Load(), answers.Load())
	}
}

// TestResumeLater: a pull that was given up goes on where it was, in another process too, also from a registry without ranges.
func TestResumeLater(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		h := newHub(t)
		ref := h.push(t, "big:1", imageOf(t, noise(t, 1<<20, 7)))
		hold := make(chan struct{})
		h.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:512<<10])
			w.(http.Flusher).Flush()
			select {
			case <-hold:
			case <-r.Context().Done():
			}
		})
		dir := t.TempDir()
		s := open(t, dir, images.Options{})
		ctx, cancel := context.WithCancel(context.Background())
		enough := sync.OnceFunc(cancel)
		progress := func(p images.Progress) {
			if p.Done >= 256<<10 {
				enough()
			}
		}
		if _, err := s.Ensure(ctx, want(t, ref), "a", progress); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		close(hold)
		s.Close()
		var asked atomic.Int64
		h.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) {
			asked.Store(int64(from(r)))
			if ranges && from(r) > 0 {
				w.WriteHeader(http.StatusPartialContent)
				body = body[from(r):]
			}
			w.Write(body)
		})
		s = open(t, dir, images.Options{})
		ensure(t, s, ref, "a")
		if asked.Load() < 256<<10 {
			t.Errorf("ranges %v: it was asked from %d", ranges, asked.Load())
		}
		s.Close()
	}
}

// TestStall: an answer that does not go on is cut.
func TestStall(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "big:1", imageOf(t, noise(t, 200<<10, 7)))
	var answers atomic.Int64
	h.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) {
		if answers.Add(1) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.Write(body[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		if from(r) > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(body[from(r):])
	})
	s := open(t, t.TempDir(), images.Options{Stall: time.Second})
	ensure(t, s, ref, "a")
}

func TestWrongDigest(t *testing.T) {
	h, mirror := newHub(t), newHub(t)
	im := imageOf(t, noise(t, 100<<10, 7))
	ref := h.push(t, "big:1", im)
	mirror.push(t, "big:1", im)
	spoil := func(w http.ResponseWriter, r *http.Request, body []byte) {
		body[len(body)/2] ^= 1
		w.Write(body)
	}
	mirror.onBlobs(spoil)
	opts := images.Options{Stall: retries, Registries: map[string]registry.Host{h.host(): {Mirrors: []string{mirror.host()}}}}
	s := open(t, t.TempDir(), opts)
	ensure(t, s, ref, "a") // the registry itself is right
	s.Close()

	h.onBlobs(spoil)
	dir := t.TempDir()
	s = open(t, dir, opts)
	_, err := s.Ensure(context.Background(), want(t, ref), "a", nil)
	if structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "something else") {
		t.Errorf("got %v", err)
	}
	if u, _ := s.Usage(); u != (images.Usage{}) {
		t.Errorf("left is %+v", u)
	}
	for _, sub := range []string{"parts", "tmp"} {
		if left, _ := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}

// TestDamagedPart: what an earlier time left is not what was asked for.
func TestDamagedPart(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "big:1", imageOf(t, noise(t, 100<<10, 7)))
	dir := t.TempDir()
	s := open(t, dir, images.Options{})
	im := imageOf(t, noise(t, 100<<10, 7))
	layers, _ := im.Layers()
	d, _ := layers[0].Digest()
	if err := os.WriteFile(filepath.Join(dir, "parts", d.Hex), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	ensure(t, s, ref, "a")
}

func TestMirrorAndErrors(t *testing.T) {
	mirror := newHub(t)
	im := imageOf(t, noise(t, 5000, 7))
	mirror.push(t, "cache/team/app:v1", im)
	// The registry itself does not exist: nothing listens there.
	opts := images.Options{Registries: map[string]registry.Host{
		"127.0.0.1:1": {Mirrors: []string{"127.0.0.1:2", mirror.host() + "/cache"}},
	}}
	s := open(t, t.TempDir(), opts)
	ensure(t, s, "127.0.0.1:1/team/app:v1", "a")
	for ref, kind := range map[string]structs.Kind{
		mirror.host() + "/no/such:v1":                          structs.NotFound,
		"127.0.0.1:1/other:v1":                                 structs.Unavailable,
		mirror.host() + "/x@sha256:" + strings.Repeat("0", 64): structs.NotFound,
	} {
		if _, err := s.Ensure(context.Background(), want(t, ref), "a", nil); structs.KindOf(err) != kind {
			t.Errorf("%s: got %v", ref, err)
		}
	}
}

func TestPassword(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "private:1", imageOf(t, noise(t, 5000, 7)))
	guarded := h.Server.Config.Handler
	h.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "me" || pass != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		guarded.ServeHTTP(w, r)
	})
	s := open(t, t.TempDir(), images.Options{})
	if _, err := s.Ensure(context.Background(), want(t, ref), "a", nil); structs.KindOf(err) != structs.Forbidden || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
	w := want(t, ref)
	w.Username, w.Password = "me", "secret"
	if _, err := s.Ensure(context.Background(), w, "a", nil); err != nil {
		t.Error(err)
	}
	s.Close()
	s = open(t, t.TempDir(), images.Options{Registries: map[string]registry.Host{h.host(): {Username: "me", Password: "secret"}}})
	ensure(t, s, ref, "a")
}

// TestFresh: a tag that moved is noticed only when it is asked for.
func TestFresh(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "app:latest", imageOf(t, noise(t, 2000, 1)))
	s := open(t, t.TempDir(), images.Options{})
	old := ensure(t, s, ref, "a")
	h.push(t, "app:latest", imageOf(t, noise(t, 2000, 2)))
	if same := ensure(t, s, ref, "b"); same.ID != old.ID {
		t.Error("it was pulled again")
	}
	w := want(t, ref)
	w.Fresh = true
	im, err := s.Ensure(context.Background(), w, "c", nil)
	if err != nil || im.ID == old.ID {
		t.Error(im, err)
	}
	if now := ensure(t, s, ref, "d"); now.ID != im.ID {
		t.Error("the newer one was forgotten")
	}
	// By digest, the old one is still there, and asked for by nobody.
	pinned := h.host() + "/app@" + old.Digest
	if again := ensure(t, s, pinned, "e"); again.ID != old.ID {
		t.Error(again)
	}
}
