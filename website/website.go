// Package website is what a browser sees: the documentation, written in Markdown and part of the binary. Every agent
// serves it, so that what it says is about the version that runs.
package website

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
)

// Files holds docs/ with the pages and examples/ with the jobs that they speak of.
//
//go:embed docs examples
var Files embed.FS

//go:embed page.html style.css
var frame embed.FS

// contents is the order of the pages; a page that is not in it is not served.
var contents = []section{
	{"Start", []string{"index", "concepts", "first-job"}},
	{"Use", []string{"jobs", "files", "volumes", "variables", "network", "docker", "sharing", "frameworks", "write-a-framework", "tools", "from-mesos", "cli", "api"}},
	{"Run", []string{"install", "agent", "operations", "troubleshooting"}},
	{"Inside", []string{"internals/design", "internals/servers", "internals/nodes", "internals/scheduling", "internals/order"}},
	{"Reference", []string{"reference/job", "reference/agent", "reference/cli", "reference/api"}},
}

type section struct {
	Title string
	names []string
}

// Page is a rendered page.
type Page struct {
	Name  string // "internals/design"; the address is /docs/ and this, and nothing more for "index"
	Title string
	Body  template.HTML
	Text  []byte // its Markdown

	Headings []Heading
}

// Heading is one that the page's own table of contents shows.
type Heading struct{ ID, Title string }

// Pages returns all pages in the order of the contents.
func Pages() ([]*Page, error) { return pages() }

var pages = sync.OnceValues(func() ([]*Page, error) {
	var all []*Page
	for _, s := range contents {
		for _, name := range s.names {
			p, err := render(name)
			if err != nil {
				return nil, fmt.Errorf("docs page %s: %w", name, err)
			}
			all = append(all, p)
		}
	}
	return all, nil
})

var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table, extension.DefinitionList),
	goldmark.WithParserOptions(parser.WithAutoHeadingID()),
)

// render reads a page. Links between pages are written as files (jobs.md#count) and become addresses.
func render(name string) (*Page, error) {
	src, err := Files.ReadFile("docs/" + name + ".md")
	if err != nil {
		return nil, err
	}
	p := &Page{Name: name, Text: src}
	doc := markdown.Parser().Parse(text.NewReader(src))
	err = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			title := string(plain(n, src))
			id, _ := n.AttributeString("id")
			switch {
			case n.Level == 1 && p.Title == "":
				p.Title = title
			case n.Level == 2:
				p.Headings = append(p.Headings, Heading{fmt.Sprintf("%s", id), title})
			}
		case *ast.Link:
			n.Destination = []byte(Address(name, string(n.Destination)))
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := markdown.Renderer().Render(&out, src, doc); err != nil {
		return nil, err
	}
	p.Body = template.HTML(out.String()) // from our own files only
	return p, nil
}

// plain returns the text of a node without its markup.
func plain(n ast.Node, src []byte) []byte {
	var b []byte
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b = append(b, t.Segment.Value(src)...)
			continue
		}
		b = append(b, plain(c, src)...)
	}
	return b
}

// Address turns the destination of a link on a page into what a browser follows.
func Address(page, destination string) string {
	file, anchor, _ := strings.Cut(destination, "#")
	if file == "" || strings.Contains(file, ":") || strings.HasPrefix(file, "/") {
		return destination
	}
	to := path.Join(path.Dir(page), file)
	address := "/docs/" + strings.TrimSuffix(to, ".md")
	if to == "index.md" {
		address = "/docs/"
	}
	if anchor != "" {
		address += "#" + anchor
	}
	return address
}

// Handler serves /docs/. It keeps nothing between requests, needs no script in the browser, and allows none.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently))
	mux.HandleFunc("GET /docs/style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, frame, "style.css")
	})
	mux.HandleFunc("GET /docs/examples/{name}", func(w http.ResponseWriter, r *http.Request) {
		b, err := fs.ReadFile(Files, "examples/"+r.PathValue("name"))
		if err != nil {
			show(w, r, http.StatusNotFound, missing)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if _, err := w.Write(b); err != nil {
			return // the reader left
		}
	})
	mux.HandleFunc("GET /docs/{page...}", func(w http.ResponseWriter, r *http.Request) {
		all, err := pages()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		name := strings.TrimSuffix(r.PathValue("page"), "/")
		if name == "" {
			name = "index"
		}
		for _, p := range all {
			if p.Name == name {
				show(w, r, http.StatusOK, p)
				return
			}
		}
		show(w, r, http.StatusNotFound, missing)
	})
	return secure(mux)
}

var missing = &Page{Title: "There is no such page", Body: "<h1>There is no such page</h1><p>The contents are on the side.</p>"}

// secure lets a browser load the style sheet from here and nothing else from anywhere.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

var layout = template.Must(template.ParseFS(frame, "page.html"))

// link is an entry of the navigation.
type link struct {
	Title, Address string
	Here           bool
}

type group struct {
	Title string
	Links []link
}

func show(w http.ResponseWriter, r *http.Request, status int, p *Page) {
	all, err := pages()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var nav []group
	for _, s := range contents {
		g := group{Title: s.Title}
		for range s.names {
			q := all[0]
			all = all[1:]
			g.Links = append(g.Links, link{q.Title, Address("", q.Name+".md"), q.Name == p.Name})
		}
		nav = append(nav, g)
	}
	var out bytes.Buffer
	if err := layout.Execute(&out, struct {
		*Page
		Nav []group
	}{p, nav}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		out.WriteTo(w)
	}
}
