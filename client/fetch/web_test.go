package fetch

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// retries is the Stall of tests in which much is asked for again: the pauses before that are shares of it, and yet who is only slow has some time.
const retries = 3 * time.Second

func open(t *testing.T, change func(*Options)) *Cache {
	t.Helper()
	o := Options{Dir: filepath.Join(t.TempDir(), "cache"), Stall: 10 * time.Second}
	if change != nil {
		change(&o)
	}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func sum256(b []byte) string { s := sha256.Sum256(b); return "sha256:" + hex.EncodeToString(s[:]) }

// get fetches and returns the content.
func get(t *testing.T, c *Cache, w Want) (string, bool) {
	t.Helper()
	item, err := c.Get(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	defer item.Release()
	raw, err := os.ReadFile(item.Path)
	if err != nil {
		t.Fatal(err)
	}
	if sum256(raw) != "sha256:"+item.Sum || int64(len(raw)) != item.Size {
		t.Errorf("%d bytes are not those of %s", len(raw), item.Sum)
	}
	return string(raw), item.Cached
}

// left lists what is in a folder of the cache.
func left(t *testing.T, c *Cache, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(c.path(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		names = append(names, d.Name())
	}
	return names
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i >> 8 * 31 & i)
	}
	return b
}

func TestChecksums(t *testing.T) {
	text := []byte("what is served")
	s512, m5 := sha512.Sum512(text), md5.Sum(text)
	var asked atomic.Int32
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); w.Write(text) })
	c := open(t, nil)
	for _, sum := range []string{sum256(text), "sha512:" + hex.EncodeToString(s512[:]), "md5:" + strings.ToUpper(hex.EncodeToString(m5[:]))} {
		before := asked.Load()
		for range 2 {
			if got, _ := get(t, c, Want{Source: url + "/a", Checksum: sum}); got != string(text) {
				t.Errorf("%s: %q", sum, got)
			}
		}
		if n := asked.Load() - before; n != 1 {
			t.Errorf("%s: asked %d times for what cannot change", sum, n)
		}
	}
	if n := len(left(t, c, "blobs")); n != 1 {
		t.Errorf("%d copies of one content", n)
	}
	wrong := sum256([]byte("else"))
	_, err := c.Get(t.Context(), Want{Source: url + "/a", Checksum: wrong})
	if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), wrong) || !strings.Contains(err.Error(), sum256(text)) {
		t.Error(err)
	}
	if _, err := c.Get(t.Context(), Want{Source: url + "/a", Checksum: "sha256:12"}); structs.KindOf(err) != structs.Invalid {
		t.Error(err)
	}
	if parts := left(t, c, "parts"); len(parts) > 0 {
		t.Errorf("left behind: %v", parts)
	}
}

// What the server says did not change is not sent again; what has no validator is.
func TestValidators(t *testing.T) {
	version, sent := "1", 0
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tagged" {
			w.Header().Set("ETag", `"`+version+`"`)
			if r.Header.Get("If-None-Match") == `"`+version+`"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
		}
		sent++
		fmt.Fprintf(w, "version %s", version)
	})
	c := open(t, nil)
	for i, step := range []struct {
		path, version string
		sent          int
		cached        bool
	}{{"/tagged", "1", 1, false}, {"/tagged", "1", 1, true}, {"/tagged", "2", 2, false}, {"/plain", "2", 3, false}, {"/plain", "2", 4, false}} {
		version = step.version
		got, cached := get(t, c, Want{Source: url + step.path})
		if got != "version "+step.version || sent != step.sent || cached != step.cached {
			t.Errorf("step %d: %q, sent %d times, cached %v", i, got, sent, cached)
		}
	}
	// Another one may get something else: the address alone is not what one may see.
	get(t, c, Want{Source: url + "/tagged", Headers: map[string]string{"Authorization": "Bearer x"}})
	if sent != 5 {
		t.Errorf("sent %d times: who asks with other headers got what was there", sent)
	}
	// Another process finds it.
	again, err := Open(c.opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, cached := get(t, again, Want{Source: url + "/tagged"}); !cached {
		t.Error("what was fetched before is not known")
	}
}

// cutting serves a file and breaks the connection after some bytes of each answer.
func cutting(content []byte, piece int, ranges bool, etag func() string, seen *[]string) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*seen = append(*seen, r.Header.Get("Range"))
		mu.Unlock()
		from := 0
		if e := etag(); e != "" {
			w.Header().Set("ETag", e)
			if ranges && r.Header.Get("If-Range") == e {
				fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			}
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(content[from:min(from+piece, len(content))])
		if from+piece < len(content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

func TestResumed(t *testing.T) {
	content := pattern(1 << 20)
	var seen []string
	url := serve(t, cutting(content, 300<<10, true, func() string { return `"a"` }, &seen))
	c := open(t, nil)
	if got, _ := get(t, c, Want{Source: url + "/f", Checksum: sum256(content)}); got != string(content) {
		t.Errorf("%d bytes", len(got))
	}
	if len(seen) < 2 || seen[0] != "" || seen[1] == "" {
		t.Errorf("asked for %q", seen)
	}
}

// What changes on the server while it is fetched is begun anew: no file consists of two.
func TestChangedWhileFetched(t *testing.T) {
	old, now := pattern(600<<10), bytes.Repeat([]byte("new"), 200<<10)
	asked := 0
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			w.Header().Set("ETag", `"old"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(old)))
			w.Write(old[:300<<10])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("If-Range") != `"old"` {
			t.Errorf("resumed without a condition: %v", r.Header)
		}
		w.Header().Set("ETag", `"new"`)
		w.Write(now)
	})
	c := open(t, nil)
	if got, _ := get(t, c, Want{Source: url + "/f"}); got != string(now) {
		t.Errorf("%d bytes, of two files", len(got))
	}
}

// An agent that was restarted goes on where the last one was, but not when the machine was: then what had arrived may be gone.
func TestResumedByTheNextAgent(t *testing.T) {
	content := pattern(1 << 20)
	var seen []string
	stop := atomic.Bool{}
	handler := cutting(content, 200<<10, true, func() string { return `"a"` }, &seen)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if stop.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		stop.Store(true)
		handler(w, r)
	})
	for _, boot := range []string{"a", "b"} {
		c := open(t, func(o *Options) { o.Boot, o.Stall = "a", retries })
		stop.Store(false)
		if _, err := c.Get(t.Context(), Want{Source: url + "/f"}); structs.KindOf(err) != structs.Unavailable {
			t.Fatal(err)
		}
		o := c.opts
		o.Boot = boot
		next, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		seen = nil
		stop.Store(false)
		next.Get(t.Context(), Want{Source: url + "/f"})
		if len(seen) == 0 {
			t.Fatalf("boot %s: it did not ask again", boot)
		}
		if resumed := seen[0] != ""; resumed != (boot == "a") {
			t.Errorf("boot %s: asked for %q", boot, seen)
		}
	}
}

// liar is a server that does one thing wrong. What must come of it: an error of the kind, and no file.
func TestBadServers(t *testing.T) {
	content := pattern(64 << 10)
	for what, c := range map[string]struct {
		serve http.HandlerFunc
		kind  structs.Kind
		says  string
	}{
		"says more than it sends": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			w.Write(content)
		}, structs.Unavailable, "broke"},
		"says that it is too large": {func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "2000000") },
			structs.Invalid, "max_size"},
		"is too large without saying so": {func(w http.ResponseWriter, r *http.Request) {
			for range 20 {
				w.Write(content)
				w.(http.Flusher).Flush()
			}
		}, structs.Invalid, "max_size"},
		"sends something else": {func(w http.ResponseWriter, r *http.Request) { w.Write(content[1:]) }, structs.Invalid, "sha256"},
		"leads to a file": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, structs.Forbidden, "file://"},
		"leads in a circle": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, structs.Invalid, "elsewhere"},
		"never answers":     {func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, structs.Unavailable, ""},
		"stops half way": {func(w http.ResponseWriter, r *http.Request) {
			w.Write(content[:1000])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, structs.Unavailable, ""},
		"says that nothing changed": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(304) }, structs.Unavailable, "nothing changed"},
		"sends a part of something": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
		}, structs.Unavailable, "another part"},
		"has nothing":    {http.NotFound, structs.NotFound, "404"},
		"lets nobody in": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "go away", http.StatusUnauthorized) }, structs.Forbidden, "go away"},
		"is broken":      {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, structs.Unavailable, "500"},
		"resets":         {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, structs.Unavailable, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cache := open(t, func(o *Options) {
				o.MaxSize = 1 << 20
				if c.kind == structs.Unavailable { // it is tried some times
					o.Stall = retries
				}
				if c.says == "" { // whatever goes wrong first
					o.Stall = 30 * time.Millisecond
				}
			})
			source := strings.Replace(serve(t, c.serve), "http://", "http://ann:hidden@", 1) + "/f?signature=hidden"
			_, err := cache.Get(t.Context(), Want{Source: source, Checksum: sum256(content)})
			if structs.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", structs.KindOf(err), err)
			}
			if strings.Contains(fmt.Sprint(err), "hidden") {
				t.Errorf("the error tells a secret: %v", err)
			}
			if got := append(left(t, cache, "blobs"), left(t, cache, "index")...); len(got) > 0 {
				t.Errorf("it was kept: %v", got)
			}
		})
	}
}

// The headers of a job go to the host that it names, and to no other; likewise what the node has for a store.
func TestHeadersStay(t *testing.T) {
	var other http.Header
	elsewhere := serve(t, func(w http.ResponseWriter, r *http.Request) { other = r.Header.Clone(); w.Write([]byte("x")) })
	var own string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		own = r.Header.Get("X-Token")
		http.Redirect(w, r, elsewhere+"/x", http.StatusFound)
	})
	c := open(t, nil)
	get(t, c, Want{Source: strings.Replace(url, "http://", "http://ann:pw@", 1) + "/f?sig=1", Headers: map[string]string{"X-Token": "t"}})
	if own != "t" {
		t.Errorf("the host that was named got %q", own)
	}
	if other.Get("X-Token") != "" || other.Get("Authorization") != "" || other.Get("Referer") != "" {
		t.Errorf("another host got %v", other)
	}
	c = open(t, func(o *Options) {
		o.Stores = []Store{{Endpoint: url, AccessKey: "K", SecretKey: "hidden", Token: "session"}}
	})
	get(t, c, Want{Source: "s3://mine/x"})
	if other.Get(s3Token) != "" || other.Get("Authorization") != "" {
		t.Errorf("another host got %v", other)
	}
}

// Many who want the same cause one transfer. One of them that gives up does not end it; the last one does.
func TestSharedTransfer(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-release:
			w.Write([]byte("x"))
		case <-r.Context().Done():
		}
	})
	c := open(t, func(o *Options) { o.Stall = time.Minute })
	giving, giveUp := context.WithCancel(t.Context())
	results := make(chan error, 20)
	for i := range 20 {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = giving
		}
		go func() {
			item, err := c.Get(ctx, Want{Source: url + "/f"})
			if err == nil {
				item.Release()
			}
			results <- err
		}()
	}
	giveUp()
	for range 10 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	close(release)
	for range 10 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load(); n < 1 || n > 20 { // who came after the end asks again
		t.Errorf("asked %d times", n)
	}
}
