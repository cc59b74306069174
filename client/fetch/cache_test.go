package fetch

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/structs"
)

func sized(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"`+r.URL.Path+`"`)
	if r.Header.Get("If-None-Match") != "" {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprint(w, strings.Repeat(r.URL.Path, 1000)) // some 2 kB
}

// The cache keeps its size by what was used last; what somebody holds stays, even when it alone is more.
func TestEviction(t *testing.T) {
	url := serve(t, sized)
	c := open(t, func(o *Options) { o.Size = 7000 })
	has := func(want ...string) {
		t.Helper()
		var got []string
		for _, name := range []string{"/a", "/b", "/c", "/d"} {
			if item := c.hold((&Want{Source: url + name}).key()); item != nil {
				got = append(got, name)
				c.mu.Lock()
				c.blobs[item.Sum].holds--
				c.mu.Unlock()
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("has %v, want %v", got, want)
		}
	}
	held, err := c.Get(t.Context(), Want{Source: url + "/a"})
	if err != nil {
		t.Fatal(err)
	}
	get(t, c, Want{Source: url + "/b"})
	get(t, c, Want{Source: url + "/c"})
	has("/a", "/b", "/c")
	get(t, c, Want{Source: url + "/b"}) // used again
	get(t, c, Want{Source: url + "/d"}) // one has to go: /c, not /a which is held
	has("/a", "/b", "/d")
	held.Release()
	held.Release() // once more is nothing
	c.mu.Lock()
	c.evict(0)
	total := c.total
	c.mu.Unlock()
	has()
	if total != 0 || len(left(t, c, "blobs")) != 0 || len(left(t, c, "index")) != 0 {
		t.Errorf("%d bytes are counted, and there are %v", total, left(t, c, "blobs"))
	}
	small := open(t, func(o *Options) { o.Size = 100 })
	if got, _ := get(t, small, Want{Source: url + "/a"}); len(got) != 2000 {
		t.Errorf("%d bytes of what is larger than the cache", len(got))
	}
	if n := small.Used(); n != 0 {
		t.Errorf("%d bytes stay of it", n)
	}
}

// What somebody else removed or cut is fetched again; what is not of the cache is removed when it is opened.
func TestDamage(t *testing.T) {
	url := serve(t, sized)
	c := open(t, nil)
	blob := func() string { return c.path("blobs", left(t, c, "blobs")[0]) }
	get(t, c, Want{Source: url + "/a"})
	os.Remove(blob())
	if got, cached := get(t, c, Want{Source: url + "/a"}); len(got) != 2000 || cached {
		t.Errorf("%d bytes, cached %v", len(got), cached)
	}
	os.Truncate(blob(), 5)
	if got, _ := get(t, c, Want{Source: url + "/a"}); len(got) != 2000 {
		t.Errorf("%d bytes", len(got))
	}
	os.WriteFile(c.path("blobs", "x"), nil, 0o600)
	os.WriteFile(c.path("index", "x"), []byte(`{"sum":"../../etc"}`), 0o600)
	os.WriteFile(c.path("tmp", "x"), nil, 0o600)
	again, err := Open(c.opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(left(t, again, "blobs")) != 1 || len(left(t, again, "index")) != 1 || len(left(t, again, "tmp")) != 0 {
		t.Errorf("%v %v %v", left(t, again, "blobs"), left(t, again, "index"), left(t, again, "tmp"))
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	allowed := filepath.Join(dir, "pub")
	os.MkdirAll(filepath.Join(allowed, "sub"), 0o755)
	os.WriteFile(filepath.Join(allowed, "sub/f"), []byte("one"), 0o644)
	os.WriteFile(filepath.Join(dir, "secret"), []byte("secret"), 0o644)
	os.Symlink("../secret", filepath.Join(allowed, "up"))
	os.Symlink(dir, filepath.Join(allowed, "out"))
	c := open(t, func(o *Options) { o.Folders = []string{allowed} })
	file := Want{Source: "file://" + allowed + "/sub/f"}
	if got, cached := get(t, c, file); got != "one" || cached {
		t.Errorf("%q %v", got, cached)
	}
	if _, cached := get(t, c, file); !cached {
		t.Error("what did not change is copied again")
	}
	os.WriteFile(filepath.Join(allowed, "sub/f"), []byte("three"), 0o644)
	if got, _ := get(t, c, file); got != "three" {
		t.Errorf("%q", got)
	}
	for path, kind := range map[string]structs.Kind{
		dir + "/secret": structs.Forbidden, allowed + "/up": structs.NotFound, allowed + "/out/secret": structs.NotFound,
		allowed + "/sub/../../secret": structs.Invalid, allowed + "/sub%2f..%2f..%2fsecret": structs.Invalid, allowed + "/none": structs.NotFound,
		allowed + "/sub": structs.Invalid, allowed: structs.Forbidden,
	} {
		if _, err := c.Get(t.Context(), Want{Source: "file://" + path}); structs.KindOf(err) != kind {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := open(t, nil).Get(t.Context(), file); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("without folders: %v", err)
	}
}
