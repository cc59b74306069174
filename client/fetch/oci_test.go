package fetch

import (
	"archive/tar"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	hub "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/drivers/oci/registry"
	"github.com/proffer/proffer/structs"
)

// registryOf is a registry in this process. Requests for manifests and blobs are written down, and answered by bend when it wants to.
type registryOf struct {
	host string

	mu   sync.Mutex
	seen []string
	bend func(w http.ResponseWriter, r *http.Request, next http.Handler) (done bool)
}

func newRegistry(t *testing.T) *registryOf {
	r := &registryOf{}
	next := hub.New(hub.Logger(log.New(io.Discard, "", 0)))
	r.host = strings.TrimPrefix(serve(t, func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		bend := r.bend
		if q.Method == http.MethodGet && q.URL.Path != "/v2/" {
			r.seen = append(r.seen, q.URL.Path+" "+q.Header.Get("Range"))
		}
		r.mu.Unlock()
		if bend == nil || !bend(w, q, next) {
			next.ServeHTTP(w, q)
		}
	}), "http://")
	return r
}

func (r *registryOf) bent(by func(w http.ResponseWriter, r *http.Request, next http.Handler) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bend = by
}

// asked returns what was asked since it was called last.
func (r *registryOf) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// put makes a tag mean an image or artifact, and returns its digest.
func (r *registryOf) put(t *testing.T, ref string, config types.MediaType, layers ...mutate.Addendum) string {
	t.Helper()
	to, err := name.ParseReference(r.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	im, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), config), layers...)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(to, im); err != nil {
		t.Fatal(err)
	}
	d, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r.asked()
	return d.String()
}

func layerOf(kind types.MediaType, raw []byte, annotations ...string) mutate.Addendum {
	a := mutate.Addendum{Layer: static.NewLayer(raw, kind), MediaType: kind, Annotations: map[string]string{}}
	for pair := range slices.Chunk(annotations, 2) {
		a.Annotations[pair[0]] = pair[1]
	}
	return a
}

// tarLayer is a layer of an image, compressed.
func tarLayer(t *testing.T, entries ...evil.Entry) mutate.Addendum {
	return layerOf(types.OCILayer, packed(t, "x.tar.gz", tarOf(t, entries...)))
}

const noConfig = types.MediaType("application/vnd.oci.empty.v1+json")

// deliver puts an artifact into a folder and draws what is there.
func deliver(t *testing.T, c *Cache, root *os.Root, dir string, a structs.Artifact) (string, error) {
	t.Helper()
	if a.Destination == "" {
		a.Destination = "local"
	}
	if a.Mode == "" {
		a.Mode = "0644"
	}
	err := c.Deliver(t.Context(), Order{Artifact: &a, Root: root, UID: -1})
	return draw(t, dir), err
}

func must(t *testing.T, got string, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Join(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The layers of an image are put on top of each other: what an upper one hides or replaces is not there, and nothing of others goes.
func TestOCIImage(t *testing.T) {
	r := newRegistry(t)
	digest := r.put(t, "team/root:v1", types.OCIConfigJSON,
		tarLayer(t, evil.Entry{Name: "bin/"}, evil.Entry{Name: "bin/sh", Body: "old", Mode: 0o755}, evil.Entry{Name: "bin/gone", Body: "x", Mode: 0o644},
			evil.Entry{Name: "bin/also", Link: "bin/sh", Kind: tar.TypeLink}, evil.Entry{Name: "dir/deep/a", Body: "a", Mode: 0o644},
			evil.Entry{Name: "turns", Body: "file", Mode: 0o644}, evil.Entry{Name: "opaque/low", Body: "low", Mode: 0o644}),
		tarLayer(t, evil.Entry{Name: "bin/sh", Body: "new", Mode: 0o755}, evil.Entry{Name: "bin/.wh.gone"}, evil.Entry{Name: ".wh.dir"},
			evil.Entry{Name: "turns/"}, evil.Entry{Name: "turns/into", Body: "a folder", Mode: 0o644},
			evil.Entry{Name: "opaque/high", Body: "high", Mode: 0o644}, evil.Entry{Name: "opaque/.wh..wh..opq"}, evil.Entry{Name: ".wh.foreign"}),
		tarLayer(t, evil.Entry{Name: "dir/again", Body: "b", Mode: 0o644}, evil.Entry{Name: "dir/.wh.deep"}))
	want := []string{"local/bin/also -rwxr-xr-x old", "local/bin/sh -rwxr-xr-x new", "local/dir/again -rw-r--r-- b", "local/foreign -rw-r--r-- kept",
		"local/opaque/high -rw-r--r-- high", "local/turns/into -rw-r--r-- a folder"}
	c := open(t, nil)
	root, dir := folder(t)
	os.WriteFile(filepath.Join(dir, "local/foreign"), []byte("kept"), 0o644)
	for range 2 { // again over what is there
		got, err := deliver(t, c, root, dir, structs.Artifact{Source: "oci://" + r.host + "/team/root:v1"})
		must(t, got, err, want...)
	}
	// A tag is asked for, and what it means is here; a digest is asked for once.
	manifest := "/v2/team/root/manifests/"
	if seen := r.asked(); len(seen) != 5 || seen[0] != manifest+"v1 " || seen[4] != manifest+"v1 " {
		t.Errorf("asked for %q", seen)
	}
	for range 2 {
		got, err := deliver(t, c, root, dir, structs.Artifact{Source: "oci://" + r.host + "/team/root@" + digest})
		must(t, got, err, want...)
	}
	if seen := r.asked(); len(seen) != 4 || seen[0] != manifest+digest+" " {
		t.Errorf("asked for %q", seen)
	}
	// A tag that means something else is seen.
	r.put(t, "team/root:v1", types.OCIConfigJSON, tarLayer(t, evil.Entry{Name: "only", Body: "v2", Mode: 0o600}))
	root, dir = folder(t)
	got, err := deliver(t, c, root, dir, structs.Artifact{Source: "oci://" + r.host + "/team/root:v1", Destination: "local/x"})
	must(t, got, err, "local/x/only -rw------- v2")
}

// Files that were put into a registry come by their titles, what has none as its repository, and archives unpacked unless the job says no.
func TestOCIArtifact(t *testing.T) {
	r := newRegistry(t)
	c := open(t, nil)
	archive := packed(t, "x.tar.gz", tarOf(t, evil.Entry{Name: "d/in", Body: "packed", Mode: 0o600}))
	zipped := zipOf(t, evil.Entry{Name: "zip/in", Body: "zipped", Mode: 0o644})
	no := false
	kind := types.MediaType("application/vnd.example.thing")
	for what, step := range map[string]struct {
		layers []mutate.Addendum
		a      structs.Artifact
		want   []string
	}{
		"titles": {[]mutate.Addendum{layerOf(kind, []byte("one"), titleOf, "one.txt"), layerOf(kind, []byte("two"), titleOf, "sub/two.txt")}, structs.Artifact{Mode: "0755"},
			[]string{"local/one.txt -rwxr-xr-x one", "local/sub/two.txt -rwxr-xr-x two"}},
		"a folder": {[]mutate.Addendum{layerOf(kind, archive, titleOf, "d", unpackIt, "true")}, structs.Artifact{}, []string{"local/d/in -rw------- packed"}},
		"archives by name": {[]mutate.Addendum{layerOf(kind, archive, titleOf, "x.tgz"), layerOf(kind, zipped, titleOf, "y.zip")}, structs.Artifact{},
			[]string{"local/d/in -rw------- packed", "local/zip/in -rw-r--r-- zipped"}},
		"archives as they are": {[]mutate.Addendum{layerOf(kind, []byte("raw"), titleOf, "x.tgz")}, structs.Artifact{Unpack: &no}, []string{"local/x.tgz -rw-r--r-- raw"}},
		"an archive by type":   {[]mutate.Addendum{layerOf("application/vnd.cncf.helm.chart.content.v1.tar+gzip", archive)}, structs.Artifact{}, []string{"local/d/in -rw------- packed"}},
		"no title":             {[]mutate.Addendum{layerOf(kind, []byte("wasm"))}, structs.Artifact{}, []string{"local/thing -rw-r--r-- wasm"}},
		"a name":               {[]mutate.Addendum{layerOf(kind, []byte("wasm"), titleOf, "long-title")}, structs.Artifact{Name: "short"}, []string{"local/short -rw-r--r-- wasm"}},
	} {
		t.Run(what, func(t *testing.T) {
			tag := strings.ReplaceAll(what, " ", "-")
			r.put(t, "team/thing:"+tag, noConfig, step.layers...)
			root, dir := folder(t)
			step.a.Source = "oci://" + r.host + "/team/thing:" + tag
			got, err := deliver(t, c, root, dir, step.a)
			must(t, got, err, step.want...)
		})
	}
	for what, step := range map[string]struct {
		layers []mutate.Addendum
		a      structs.Artifact
		says   string
	}{
		"one name for two":       {[]mutate.Addendum{layerOf(kind, []byte("1"), titleOf, "a"), layerOf(kind, []byte("2"), titleOf, "b")}, structs.Artifact{Name: "x"}, "2 files"},
		"two without title":      {[]mutate.Addendum{layerOf(kind, []byte("1")), layerOf(kind, []byte("2"))}, structs.Artifact{}, "two of its files"},
		"nothing":                {[]mutate.Addendum{layerOf(nothing, []byte("{}"))}, structs.Artifact{}, "no files"},
		"a title that leads out": {[]mutate.Addendum{layerOf(kind, []byte("1"), titleOf, "../../evil")}, structs.Artifact{}, "leads out"},
		"an absolute title":      {[]mutate.Addendum{layerOf(kind, []byte("1"), titleOf, "/evil")}, structs.Artifact{}, "leads out"},
		"too much":               {[]mutate.Addendum{layerOf(kind, make([]byte, 2<<20), titleOf, "a")}, structs.Artifact{}, "max_size"},
		"too much unpacked":      {[]mutate.Addendum{tarLayer(t, evil.Entry{Name: "a", Body: strings.Repeat("0", 3<<20)})}, structs.Artifact{}, "more than"},
	} {
		t.Run(what, func(t *testing.T) {
			tag := strings.ReplaceAll(what, " ", "-")
			r.put(t, "team/thing:"+tag, noConfig, step.layers...)
			root, dir := folder(t)
			step.a.Source = "oci://" + r.host + "/team/thing:" + tag
			c := open(t, func(o *Options) { o.MaxSize, o.MaxUnpacked = 1<<20, 2<<20 })
			got, err := deliver(t, c, root, dir, step.a)
			if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), step.says) {
				t.Errorf("%v: %v", structs.KindOf(err), err)
			}
			if strings.Contains(got, "evil") {
				t.Error(got)
			}
		})
	}
}

// A transfer that breaks goes on where it was, for the next agent too; what has another digest is not taken, and a mirror that sends it
// is left aside.
func TestOCITransfer(t *testing.T) {
	r := newRegistry(t)
	content := pattern(300 << 10)
	r.put(t, "big:1", noConfig, layerOf("application/x", pattern(100<<10), titleOf, "first"), layerOf("application/x", content, titleOf, "second"))
	// What a blob has from where it is asked for, up to some bytes; then the connection breaks.
	serve := func(w http.ResponseWriter, q *http.Request, next http.Handler, most int) {
		plain, rec := q.Clone(q.Context()), httptest.NewRecorder()
		plain.Header.Del("Range")
		next.ServeHTTP(rec, plain)
		body, from := rec.Body.Bytes(), 0
		if n, _ := fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-", &from); n == 1 {
			body = body[from:]
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(body[:min(most, len(body))])
		if most < len(body) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	blobs := func(f func(w http.ResponseWriter, q *http.Request, next http.Handler) bool) func(http.ResponseWriter, *http.Request, http.Handler) bool {
		return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			return strings.Contains(q.URL.Path, "/blobs/") && f(w, q, next)
		}
	}
	cut := blobs(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		serve(w, q, next, 70<<10)
		return true
	})
	r.bent(cut)
	c := open(t, func(o *Options) { o.Stall = retries })
	root, dir := folder(t)
	a := structs.Artifact{Source: "oci://" + r.host + "/big:1"}
	_, err := deliver(t, c, root, dir, a)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"first": pattern(100 << 10), "second": content} {
		if raw, _ := os.ReadFile(filepath.Join(dir, "local", name)); string(raw) != string(want) {
			t.Errorf("%s has %d bytes, of %d, or others", name, len(raw), len(want))
		}
	}
	ranges := 0
	for _, q := range r.asked() {
		if strings.Contains(q, "bytes=") {
			ranges++
		}
	}
	if ranges < 4 {
		t.Errorf("it was resumed %d times", ranges)
	}

	// The next agent goes on with the second layer.
	dead := false
	r.bent(blobs(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if dead || strings.Contains(q.Header.Get("Range"), "bytes=") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		if rest := q.URL.Path; strings.HasSuffix(rest, sum256(content)) {
			dead = true
			serve(w, q, next, 70<<10)
		}
		return false
	}))
	c = open(t, func(o *Options) { o.Stall = retries })
	if _, err = deliver(t, c, root, dir, a); structs.KindOf(err) != structs.Forbidden {
		t.Fatalf("%v: %v", structs.KindOf(err), err)
	}
	r.bent(blobs(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		serve(w, q, next, 1<<20)
		return true
	}))
	r.asked()
	again, err := Open(c.opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := deliver(t, again, root, dir, a); err != nil {
		t.Fatal(err)
	}
	if seen := r.asked(); len(seen) != 2 || !strings.Contains(seen[1], "bytes=") {
		t.Errorf("asked for %q", seen)
	}

	// Another content.
	wrong := blobs(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		w.Write(make([]byte, 300<<10))
		return true
	})
	mirror := newRegistry(t)
	mirror.put(t, "big:1", noConfig, layerOf("application/x", pattern(100<<10), titleOf, "first"), layerOf("application/x", content, titleOf, "second"))
	mirror.bent(wrong)
	c = open(t, func(o *Options) { o.Registries = map[string]registry.Host{r.host: {Mirrors: []string{mirror.host}}} })
	root, dir = folder(t)
	if _, err := deliver(t, c, root, dir, a); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(filepath.Join(dir, "local/second")); string(raw) != string(content) {
		t.Error("what the mirror sent was taken")
	}
	if len(mirror.asked()) != 3 { // manifest, and each layer once
		t.Error("the mirror was not asked first, or again")
	}
	r.bent(wrong)
	c = open(t, nil)
	if _, err := deliver(t, c, root, dir, a); structs.KindOf(err) != structs.Unavailable {
		t.Errorf("%v: %v", structs.KindOf(err), err)
	}
	if names := left(t, c, "blobs"); len(names) > 0 {
		t.Errorf("kept %v", names)
	}
}

// A registry is asked with the node's credentials, or with those of the source, which no message shows; without them it says no.
func TestOCICredentials(t *testing.T) {
	r := newRegistry(t)
	r.put(t, "private:1", noConfig, layerOf("application/x", []byte("secret file"), titleOf, "f"))
	r.bent(func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
		if user, password, _ := q.BasicAuth(); user == "me" && password == "pa55" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	root, dir := folder(t)
	plain := structs.Artifact{Source: "oci://" + r.host + "/private:1"}
	if _, err := deliver(t, open(t, nil), root, dir, plain); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("%v: %v", structs.KindOf(err), err)
	}
	withNode := open(t, func(o *Options) { o.Registries = map[string]registry.Host{r.host: {Username: "me", Password: "pa55"}} })
	got, err := deliver(t, withNode, root, dir, plain)
	must(t, got, err, "local/f -rw-r--r-- secret file")
	got, err = deliver(t, open(t, nil), root, dir, structs.Artifact{Source: "oci://me:pa55@" + r.host + "/private:1"})
	must(t, got, err, "local/f -rw-r--r-- secret file")
	_, err = deliver(t, open(t, nil), root, dir, structs.Artifact{Source: "oci://me:wr0ng@" + r.host + "/private:1"})
	if structs.KindOf(err) != structs.Forbidden || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("%v: %v", structs.KindOf(err), err)
	}
}

// TestOCIEscape: layers that would write outside of the task folder, below and above another.
func TestOCIEscape(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	os.WriteFile(victim, []byte("untouched"), 0o600)
	r := newRegistry(t)
	c := open(t, func(o *Options) { o.MaxUnpacked = 8 << 20 })
	innocent := tarLayer(t, evil.Entry{Name: "d/"}, evil.Entry{Name: "d/x", Body: "x"}, evil.Entry{Name: "x", Body: "y"})
	for what, entries := range evil.Archives(victim) {
		for _, layers := range [][]mutate.Addendum{{innocent, tarLayer(t, entries...)}, {tarLayer(t, entries...), innocent}} {
			r.put(t, "evil:1", types.OCIConfigJSON, layers...)
			root, dir := folder(t)
			_, err := deliver(t, c, root, dir, structs.Artifact{Source: "oci://" + r.host + "/evil:1"})
			if err != nil && structs.KindOf(err) != structs.Invalid {
				t.Errorf("%s: %v: %v", what, structs.KindOf(err), err)
			}
			if raw, err := os.ReadFile(victim); string(raw) != "untouched" {
				t.Fatalf("%s: the victim is %q, %v", what, raw, err)
			}
			if list, _ := os.ReadDir(outside); len(list) != 1 {
				t.Fatalf("%s: outside is %v", what, list)
			}
			if _, err := os.Lstat(filepath.Join(dir, "local/.proffer-new")); err == nil {
				t.Errorf("%s: what was not placed is still there", what)
			}
		}
	}
}
