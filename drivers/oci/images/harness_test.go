//go:build linux

package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/proffer/proffer/drivers/oci/images"
)

// hub is a registry in this process whose answers for blobs a test may bend.
type hub struct {
	*httptest.Server
	mu   sync.Mutex
	gets map[string]int // of blobs, by path
	bend func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newHub(t *testing.T) *hub {
	h := &hub{gets: map[string]int{}}
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		bend := h.bend
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") {
			h.gets[r.URL.Path]++
		} else if r.Method != http.MethodGet || r.URL.Path == "/v2/" {
			bend = nil
		}
		h.mu.Unlock()
		if bend == nil {
			reg.ServeHTTP(w, r)
		} else {
			bend(w, r, reg)
		}
	}))
	t.Cleanup(h.Server.Close)
	return h
}

func (h *hub) host() string { return strings.TrimPrefix(h.URL, "http://") }

// onBlobs bends the answers for layers of more than small bytes from now on.
func (h *hub) onBlobs(f func(w http.ResponseWriter, r *http.Request, body []byte)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bend = func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		plain := r.Clone(r.Context())
		plain.Header.Del("Range")
		next.ServeHTTP(rec, plain)
		if body := rec.Body.Bytes(); len(body) > 1<<10 {
			f(w, r, body)
		} else {
			w.WriteHeader(rec.Code)
			w.Write(body)
		}
	}
}

// from is where a request wants a blob to begin.
func from(r *http.Request) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-"))
	return n
}

// file is an entry of a layer.
type file struct {
	name, body, link string
	kind             byte
	mode             int64
	pax              map[string]string
}

func layerTar(t testing.TB, files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Linkname: f.link, Typeflag: f.kind, Mode: f.mode, Size: int64(len(f.body)), PAXRecords: f.pax,
			Uid: os.Getuid(), Gid: os.Getgid(), ModTime: time.Unix(1e9, 0)}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(f.name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Mode == 0 {
			h.Mode = 0o644
			if h.Typeflag == tar.TypeDir {
				h.Mode = 0o755
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.body)); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return b.Bytes()
}

func layerOf(t testing.TB, raw []byte) v1.Layer {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestSpeed)
	w.Write(raw)
	w.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(z.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// noise is a layer that does not compress: so that it arrives in many pieces.
func noise(t testing.TB, size int, seed byte) []byte {
	b := make([]byte, size)
	x := uint32(seed) + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return layerTar(t, file{name: "noise/"}, file{name: fmt.Sprintf("noise/%d", seed), body: string(b)})
}

func imageOf(t testing.TB, layers ...[]byte) v1.Image {
	im := v1.Image(empty.Image)
	for _, raw := range layers {
		var err error
		if im, err = mutate.AppendLayers(im, layerOf(t, raw)); err != nil {
			t.Fatal(err)
		}
	}
	im, err := mutate.Config(im, v1.Config{Cmd: []string{"/hello"}, User: "1000", Env: []string{"A=1"}})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// push puts an image into a registry and returns the reference.
func (h *hub) push(t testing.TB, ref string, im v1.Image) string {
	full := h.host() + "/" + ref
	r, err := name.ParseReference(full)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, im); err != nil {
		t.Fatal(err)
	}
	return full
}

// retries is the Stall of tests in which much is asked for again: the pauses before that are shares of it, and yet who is only slow has some time.
const retries = 3 * time.Second

func open(t testing.TB, dir string, o images.Options) *images.Store {
	if o.Stall == 0 {
		o.Stall = 10 * time.Second
	}
	s, err := images.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func want(t testing.TB, ref string) images.Want {
	r, err := images.ParseReference("test", ref)
	if err != nil {
		t.Fatal(err)
	}
	return images.Want{Ref: r}
}

func ensure(t testing.TB, s *images.Store, ref, holder string) *images.Image {
	im, err := s.Ensure(context.Background(), want(t, ref), holder, nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// tree lists a folder: names with what they are.
func tree(t testing.TB, dir string) string {
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%v %s", info.Mode(), rel)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, _ := os.Readlink(path)
			line += " -> " + to
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, fs.ErrPermission) {
				return err
			}
			line += fmt.Sprintf(" %.20q", b)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
