package website

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

var (
	href = regexp.MustCompile(`href="([^"]*)"`)
	id   = regexp.MustCompile(`id="([^"]*)"`)
)

// TestLinks follows every link on every page as a browser would, anchors included.
func TestLinks(t *testing.T) {
	all, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	followed := 0
	for _, p := range all {
		address := Address("", p.Name+".md")
		body := get(t, address).Body.String()
		for _, m := range href.FindAllStringSubmatch(body, -1) {
			to, anchor, _ := strings.Cut(m[1], "#")
			if strings.HasPrefix(to, "https://") {
				continue
			}
			if to == "" {
				to = address
			}
			if !strings.HasPrefix(to, "/docs/") {
				t.Errorf("%s: a link to %q leads out of the docs", p.Name, m[1])
				continue
			}
			answer := get(t, to)
			if answer.Code != http.StatusOK {
				t.Errorf("%s: a link to %q: status %d", p.Name, m[1], answer.Code)
			}
			if anchor != "" && !has(answer.Body.String(), anchor) {
				t.Errorf("%s: a link to %q: there is no such heading", p.Name, m[1])
			}
			followed++
		}
	}
	if followed < len(all)*len(all) {
		t.Errorf("only %d links followed on %d pages", followed, len(all))
	}
}

func has(body, anchor string) bool {
	for _, m := range id.FindAllStringSubmatch(body, -1) {
		if m[1] == anchor {
			return true
		}
	}
	return false
}

// TestPages: every file is in the contents, has one title, and says something.
func TestPages(t *testing.T) {
	all, err := Pages()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, p := range all {
		listed["docs/"+p.Name+".md"] = true
		if p.Title == "" || strings.Count(string(p.Body), "<h1") != 1 {
			t.Errorf("%s: the title is %q, and there are %d of them", p.Name, p.Title, strings.Count(string(p.Body), "<h1"))
		}
		if len(p.Text) < 400 {
			t.Errorf("%s: only %d bytes", p.Name, len(p.Text))
		}
		if bytes.Contains(p.Text, []byte("TODO")) || bytes.Contains([]byte(p.Body), []byte("<!-- raw HTML omitted -->")) {
			t.Errorf("%s: unfinished, or with HTML in it", p.Name)
		}
	}
	err = fs.WalkDir(Files, "docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !listed[path] {
			t.Errorf("%s is not in the contents", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHandler(t *testing.T) {
	for _, c := range []struct {
		path   string
		status int
		has    string
	}{
		{"/docs", http.StatusMovedPermanently, ""},
		{"/docs/", http.StatusOK, "<h1"},
		{"/docs/jobs", http.StatusOK, `aria-current="page"`},
		{"/docs/internals/design", http.StatusOK, "On this page"},
		{"/docs/style.css", http.StatusOK, "grid"},
		{"/docs/examples/service.hcl", http.StatusOK, `job "hello"`},
		{"/docs/examples/../website.go", http.StatusTemporaryRedirect, ""},
		{"/docs/examples/nothing", http.StatusNotFound, "no such page"},
		{"/docs/nothing<script>", http.StatusNotFound, "no such page"},
		{"/docs/docs/index.md", http.StatusNotFound, "no such page"},
	} {
		w := get(t, c.path)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s: %d, want %d with %q", c.path, w.Code, c.status, c.has)
		}
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", c.path, csp)
		}
		if strings.Contains(w.Body.String(), "<script") {
			t.Errorf("%s has a script", c.path)
		}
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("POST", "/docs/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
