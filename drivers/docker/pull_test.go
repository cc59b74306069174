//go:build linux && system

package docker_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"

	"github.com/proffer/proffer/drivers/docker"
	"github.com/proffer/proffer/drivers/docker/dockertest"
	"github.com/proffer/proffer/structs"
)

// hub is a registry on loopback that counts what is fetched, asks for a password and can be made to misbehave.
type hub struct {
	*httptest.Server
	inner     http.Handler
	password  string // of user "node"; empty: everybody may
	manifests atomic.Int64
	blobs     atomic.Int64

	mu   sync.Mutex
	blob func(http.ResponseWriter, *http.Request) bool // takes a request for a blob; nil: none
}

func newHub(t *testing.T) *hub {
	h := &hub{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.password != "" {
		if user, password, _ := r.BasicAuth(); user != "node" || password != h.password {
			w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
		h.manifests.Add(1)
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		h.blobs.Add(1)
		h.mu.Lock()
		blob := h.blob
		h.mu.Unlock()
		if blob != nil && blob(w, r) {
			return
		}
	}
	h.inner.ServeHTTP(w, r)
}

func (h *hub) misbehave(blob func(http.ResponseWriter, *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blob = blob
}

func (h *hub) host() string { return strings.TrimPrefix(h.URL, "http://") }

// push puts an image of its own there and returns its full name and digest.
func (h *hub) push(t *testing.T, repository, content string) (ref, digest string) {
	t.Helper()
	img := dockertest.Image("/bin/busybox", content)
	ref = h.host() + "/" + repository
	return ref, h.put(t, ref, img)
}

func (h *hub) put(t *testing.T, ref string, img v1.Image) (digest string) {
	t.Helper()
	to, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.Anonymous
	if h.password != "" {
		auth = &authn.Basic{Username: "node", Password: h.password}
	}
	if err := remote.Write(to, img, remote.WithAuth(auth)); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, image := range []string{ref, to.Context().Name() + "@" + d.String()} {
			shared.API.ImageRemove(context.Background(), image, client.ImageRemoveOptions{Force: true})
		}
	})
	return d.String()
}

// said collects events.
type said struct {
	mu  sync.Mutex
	all []string
}

func (s *said) event(kind, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, kind+" "+text)
}

func (s *said) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.all, "\n"), text)
}

// TestOnePullForAll: many tasks that want an image cause one pull, all of them hear of it, and later ones need none.
func TestOnePullForAll(t *testing.T) {
	h := newHub(t)
	ref, digest := h.push(t, "shop/web:1", "one")
	d := driver(t, shared, nil)
	hold := make(chan struct{})
	h.misbehave(func(http.ResponseWriter, *http.Request) bool { <-hold; return false })
	var tasks sync.WaitGroup
	heard := make([]said, 8)
	for i := range heard {
		s := spec(t, "true", map[string]any{"image": ref})
		s.Event = heard[i].event
		tasks.Go(func() {
			if err := d.Prepare(within(t), s); err != nil {
				t.Errorf("prepare: %v", err)
			}
		})
	}
	await(t, "all to wait for the pull", func() bool { return docker.Waiting(d) == len(heard) })
	close(hold)
	tasks.Wait()
	h.misbehave(nil)
	for i := range heard {
		if !heard[i].has("pulled image " + ref) {
			t.Errorf("task %d heard %q", i, heard[i].all)
		}
	}
	// The tag may be looked up by HEAD and GET, the layer and the configuration come once.
	if n := h.blobs.Load(); n != 2 {
		t.Errorf("%d blobs were fetched", n)
	}
	before := h.manifests.Load()
	wait(t, start(t, d, spec(t, "true", map[string]any{"image": ref})))
	if n := h.manifests.Load(); n != before {
		t.Errorf("an image that is there was asked for %d times", n-before)
	}

	// By digest it is another name, of the same image; a moved tag is noticed by force_pull only.
	pinned := spec(t, "cat /more0", map[string]any{"image": h.host() + "/shop/web:1@" + digest})
	h.push(t, "shop/web:1", "two")
	stale, forced := spec(t, "cat /more0", map[string]any{"image": ref}), spec(t, "cat /more0", map[string]any{"image": ref, "force_pull": true})
	if err := d.Prepare(within(t), pinned); err != nil {
		t.Fatal(err)
	}
	wait(t, start(t, d, pinned))
	wait(t, start(t, d, stale))
	if err := d.Prepare(within(t), forced); err != nil {
		t.Fatal(err)
	}
	wait(t, start(t, d, forced))
	if a, b, c := text(t, pinned, "stdout"), text(t, stale, "stdout"), text(t, forced, "stdout"); a != "one" || b != "one" || c != "two" {
		t.Errorf("pinned has %q, the tag that was there %q, the one that was asked for %q", a, b, c)
	}
}

// TestRegistriesAskForCredentials: they come from the node's blocks or from a file, and those for another registry do not help.
func TestRegistriesAskForCredentials(t *testing.T) {
	h := newHub(t)
	h.password = "s3cret"
	ref, _ := h.push(t, "private/web:1", "private")
	file := filepath.Join(t.TempDir(), "config.json")
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.host(), base64.StdEncoding.EncodeToString([]byte("node:s3cret")))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	get := func(change func(*docker.Options)) error {
		shared.API.ImageRemove(within(t), ref, client.ImageRemoveOptions{})
		return driver(t, shared, change).Prepare(within(t), spec(t, "true", map[string]any{"image": ref}))
	}
	for what, err := range map[string]error{
		"none": get(nil),
		"wrong": get(func(o *docker.Options) {
			o.Registries = map[string]*docker.Credentials{h.host(): {Username: "node", Password: "guess"}}
		}),
		"another's": get(func(o *docker.Options) {
			o.Registries = map[string]*docker.Credentials{"other:5000": {Username: "node", Password: "s3cret"}}
		}),
	} {
		if err == nil {
			t.Errorf("%s: pulled", what)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "guess") {
			t.Errorf("%s: it tells the password: %v", what, err)
		}
	}
	if err := get(func(o *docker.Options) {
		o.Registries = map[string]*docker.Credentials{h.host(): {Username: "node", Password: "s3cret"}}
	}); err != nil {
		t.Errorf("from a block: %v", err)
	}
	if err := get(func(o *docker.Options) { o.AuthFile = file }); err != nil {
		t.Errorf("from a file: %v", err)
	}
}

// TestPullsThatFail: a name that is not there is final, a registry that hangs or lies is not, and whoever gives up leaves.
func TestPullsThatFail(t *testing.T) {
	h := newHub(t)
	ref, _ := h.push(t, "slow/web:1", "slow")
	hasty, patient := driver(t, shared, func(o *docker.Options) { o.PullStall = 3 * time.Second }), driver(t, shared, nil)
	prepare := func(d *docker.Driver, image string) error {
		return d.Prepare(within(t), spec(t, "true", map[string]any{"image": image}))
	}
	if err := prepare(patient, h.host()+"/none/web:1"); structs.KindOf(err) != structs.NotFound {
		t.Errorf("an image that is not there: %v", err)
	}
	gone := make(chan struct{})
	defer close(gone)
	h.misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "1000000")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-gone:
		case <-r.Context().Done():
		}
		return true
	})
	if err := prepare(hasty, ref); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "no progress") {
		t.Errorf("a registry that hangs: %v", err)
	}
	ctx, cancel := context.WithCancel(within(t))
	left := make(chan error, 1)
	var heard said
	s := spec(t, "true", map[string]any{"image": ref})
	s.Event = heard.event
	go func() { left <- patient.Prepare(ctx, s) }()
	await(t, "the pull to begin", func() bool { return heard.has("pulling") })
	cancel()
	if err := <-left; err == nil {
		t.Error("a pull that was given up has an answer")
	}
	h.misbehave(func(w http.ResponseWriter, _ *http.Request) bool {
		io.WriteString(w, "this is not what the digest says")
		return true
	})
	if err := prepare(hasty, ref); err == nil {
		t.Error("a wrong blob was taken")
	} else if k := structs.KindOf(err); k != structs.Unavailable {
		t.Errorf("a wrong blob: %v (%s)", err, k)
	}
	h.misbehave(nil)
	if err := prepare(patient, ref); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestPrune: an operator has images removed that the node pulled and no container uses, but for those that are to stay.
func TestPrune(t *testing.T) {
	h := newHub(t)
	unused, _ := h.push(t, "prune/unused:latest", "unused")
	kept, _ := h.push(t, "prune/kept:latest", "kept")
	inUse, _ := h.push(t, "prune/used:1", "used")
	d := driver(t, shared, func(o *docker.Options) { o.Owner, o.Folder = "prune", t.TempDir() })
	for _, ref := range []string{unused, kept} {
		if err := d.Prepare(within(t), spec(t, "true", map[string]any{"image": ref})); err != nil {
			t.Fatal(err)
		}
	}
	start(t, d, spec(t, "sleep 1000", map[string]any{"image": inUse}))
	there := func(ref string) bool {
		_, err := shared.API.ImageInspect(within(t), ref)
		return err == nil
	}
	if err := d.Prune(within(t), []string{strings.TrimSuffix(kept, ":latest"), "no name of an image"}); err != nil {
		t.Fatal(err)
	}
	if there(unused) || !there(kept) || !there(inUse) {
		t.Errorf("unused %v, to be kept %v, in use %v", there(unused), there(kept), there(inUse))
	}
	if err := d.Prune(within(t), nil); err != nil || there(kept) || !there(inUse) {
		t.Errorf("%v: nobody keeps %v, in use %v", err, there(kept), there(inUse))
	}
}

// TestImagesGoWhenUnused: the node removes what it pulled and did not use for long, also after a restart, and nothing else.
func TestImagesGoWhenUnused(t *testing.T) {
	h := newHub(t)
	unused, _ := h.push(t, "gc/unused:1", "unused")
	inUse, _ := h.push(t, "gc/used:1", "used")
	foreign, _ := h.push(t, "gc/foreign:1", "foreign")
	folder := t.TempDir()
	options := func(age time.Duration) func(*docker.Options) {
		return func(o *docker.Options) {
			o.Owner, o.Folder, o.ImageAge, o.KeepEvery = "gc", folder, age, 10*time.Millisecond
		}
	}
	d := driver(t, shared, options(0))
	stranger := driver(t, shared, nil)
	if err := stranger.Prepare(within(t), spec(t, "true", map[string]any{"image": foreign})); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{unused, foreign} {
		if err := d.Prepare(within(t), spec(t, "true", map[string]any{"image": ref})); err != nil {
			t.Fatal(err)
		}
	}
	start(t, d, spec(t, "sleep 1000", map[string]any{"image": inUse}))
	d.Close()
	d = driver(t, shared, options(time.Nanosecond))
	ctx, cancel := context.WithCancel(within(t))
	done := make(chan struct{})
	go func() {
		d.Keep(ctx, func(string) bool { return true })
		close(done)
	}()
	there := func(ref string) bool {
		_, err := shared.API.ImageInspect(within(t), ref)
		return err == nil
	}
	await(t, "the unused image to go", func() bool { return !there(unused) })
	cancel()
	<-done
	if !there(inUse) {
		t.Error("an image that a container uses is gone")
	}
	if !there(foreign) {
		t.Error("an image that somebody else pulled is gone")
	}
}
