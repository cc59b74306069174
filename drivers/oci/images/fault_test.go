//go:build linux

package images_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// nothing fails unless a store has no trace of a pull: no image, no hold, nothing in tmp, and no part unless parts says so.
func nothing(t *testing.T, dir string, parts bool) {
	t.Helper()
	for _, sub := range []string{"images", "layers", "refs", "holds", "tmp", "parts"} {
		if left, _ := os.ReadDir(filepath.Join(dir, sub)); len(left) > 0 && !(parts && sub == "parts") {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}

// TestRegistryFails: whatever a registry answers, the error says whether a later try may succeed, nothing is left but what can be
// resumed, and the next pull succeeds once the registry is well again.
func TestRegistryFails(t *testing.T) {
	status := func(code int) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, r *http.Request, body []byte) { w.WriteHeader(code) }
	}
	for name, c := range map[string]struct {
		bend func(w http.ResponseWriter, r *http.Request, body []byte)
		kind structs.Kind
	}{
		"too many requests": {status(429), structs.Unavailable},
		"internal":          {status(500), structs.Unavailable},
		"bad gateway":       {status(502), structs.Unavailable},
		"gone":              {status(404), structs.NotFound},
		"forbidden":         {status(403), structs.Forbidden},
		"cut off": {func(w http.ResponseWriter, r *http.Request, body []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)-from(r)))
			panic(http.ErrAbortHandler)
		}, structs.Unavailable},
		"too short": {func(w http.ResponseWriter, r *http.Request, body []byte) {
			if from(r) > 0 {
				w.WriteHeader(http.StatusPartialContent)
			}
			w.Write(body[from(r) : from(r)+(len(body)-from(r))/2])
			if len(body)-from(r) < 2 {
				panic(http.ErrAbortHandler)
			}
		}, structs.Unavailable},
		"too long and wrong": {func(w http.ResponseWriter, r *http.Request, body []byte) {
			w.Write(append(make([]byte, len(body)), body...))
		}, structs.Unavailable},
		"another range": {func(w http.ResponseWriter, r *http.Request, body []byte) {
			if from(r) == 0 {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.Write(body[:len(body)/3])
				return
			}
			w.WriteHeader(http.StatusPartialContent)
			w.Write(body) // from the beginning
		}, structs.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHub(t)
			ref := h.push(t, "app:1", imageOf(t, noise(t, 60<<10, 5)))
			h.onBlobs(c.bend)
			dir := t.TempDir()
			s := open(t, dir, images.Options{Stall: retries})
			if _, err := s.Ensure(t.Context(), want(t, ref), "a", nil); structs.KindOf(err) != c.kind {
				t.Errorf("got %v: %v", structs.KindOf(err), err)
			}
			nothing(t, dir, true)
			h.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) { w.Write(body) })
			ensure(t, s, ref, "a")
		})
	}
}

// TestTokenExpires: a token is good for three answers, which is less than a pull needs.
func TestTokenExpires(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "app:1", imageOf(t, noise(t, 60<<10, 5), noise(t, 60<<10, 6)))
	guarded := h.Server.Config.Handler
	var mu sync.Mutex
	left := map[string]int{}
	h.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			token := fmt.Sprint("t", len(left))
			left[token] = 3
			json.NewEncoder(w).Encode(map[string]any{"token": token})
			return
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if left[token] == 0 {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="x"`, h.URL))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		left[token]--
		guarded.ServeHTTP(w, r)
	})
	s := open(t, t.TempDir(), images.Options{})
	ensure(t, s, ref, "a")
	if len(left) < 2 {
		t.Errorf("one of %d tokens was enough", len(left))
	}
}

// TestPrivate: an image that a task got with its own credentials is for others only if the registry says so, and whoever had it
// needs no registry.
func TestPrivate(t *testing.T) {
	h := newHub(t)
	private, public := h.push(t, "private:1", imageOf(t, noise(t, 5000, 7))), h.push(t, "public:1", imageOf(t, noise(t, 5000, 8)))
	guarded := h.Server.Config.Handler
	var down atomic.Bool
	h.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, _ := r.BasicAuth()
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.Contains(r.URL.Path, "/private/") && pass != "secret of "+user || r.URL.Path == "/v2/" && user == "" && r.Header.Get("X") != "":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			guarded.ServeHTTP(w, r)
		}
	})
	dir := t.TempDir()
	s := open(t, dir, images.Options{})
	as := func(ref, user, password string) structs.Kind {
		w := want(t, ref)
		w.Username, w.Password = user, password
		im, err := s.Ensure(context.Background(), w, "a", nil)
		if err == nil {
			err = s.Release(im.ID, "a")
		}
		return structs.KindOf(err)
	}
	expect := func(what string, got, want structs.Kind) {
		t.Helper()
		if got != want {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
	}
	expect("me", as(private, "me", "secret of me"), "")
	expect("nobody", as(private, "", ""), structs.Forbidden)
	expect("me with a wrong password", as(private, "me", "x"), structs.Forbidden)
	expect("you", as(private, "you", "secret of you"), "")
	expect("with credentials for what is public", as(public, "me", "x"), "")
	expect("nobody for what is public", as(public, "", ""), "")
	down.Store(true)
	s.Close()
	s = open(t, dir, images.Options{})
	expect("me, and the registry is down", as(private, "me", "secret of me"), "")
	expect("you, and the registry is down", as(private, "you", "secret of you"), "")
	expect("nobody, and the registry is down", as(private, "", ""), structs.Unavailable)
	expect("anybody for what is public", as(public, "them", "y"), "")
	refs, _ := filepath.Glob(filepath.Join(dir, "refs", "*"))
	for _, path := range refs {
		if raw, _ := os.ReadFile(path); bytes.Contains(raw, []byte("secret")) || bytes.Contains(raw, []byte(`"me"`)) {
			t.Errorf("%s", raw)
		}
	}
}

// TestOthersFailure: a layer that two registries have is got from the one that works, also when somebody else asks the broken one
// for it at the same time.
func TestOthersFailure(t *testing.T) {
	broken, well := newHub(t), newHub(t)
	im := imageOf(t, noise(t, 60<<10, 5))
	bad, good := broken.push(t, "app:1", im), well.push(t, "app:1", im)
	asked, joined := make(chan struct{}), make(chan struct{})
	broken.onBlobs(func(w http.ResponseWriter, r *http.Request, body []byte) {
		close(asked)
		<-joined
		w.WriteHeader(http.StatusNotFound)
	})
	s := open(t, t.TempDir(), images.Options{})
	failed := make(chan error, 1)
	go func() {
		_, err := s.Ensure(context.Background(), want(t, bad), "a", nil)
		failed <- err
	}()
	<-asked
	got := make(chan error, 1)
	go func() {
		_, err := s.Ensure(context.Background(), want(t, good), "b", nil)
		got <- err
	}()
	images.AwaitWaiters(s, 2)
	close(joined)
	if err := <-failed; structs.KindOf(err) != structs.NotFound {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// TestSparse: a file of almost nothing that unpacks to more than a node allows is refused before it is written.
func TestSparse(t *testing.T) {
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	// The old GNU form by hand: package tar does not write it. One piece of 512 bytes at the end of 8 GiB.
	block := make([]byte, 512)
	copy(block, "bomb")
	copy(block[100:], "0000644\x000000000\x000000000\x0000000001000\x0000000000000\x00        S")
	copy(block[257:], "ustar  \x00")
	copy(block[386:], "77777777000\x0000000001000\x00")
	copy(block[483:], "100000000000\x00"[:12])
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	raw.Write(block)
	raw.Write(make([]byte, 512))
	w.Close()
	h := newHub(t)
	ref := h.push(t, "bomb:1", imageOf(t, raw.Bytes()))
	dir := t.TempDir()
	s := open(t, dir, images.Options{MaxImage: 1 << 30})
	if _, err := s.Ensure(t.Context(), want(t, ref), "a", nil); structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "larger") {
		t.Errorf("got %v", err)
	}
	nothing(t, dir, true)
}
