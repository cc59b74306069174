package layers

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/proffer/proffer/"

// order lists the layers from the top down. A package imports its own layer and those below it.
var order = []string{
	"main", "command", "agent", "website", "server", "client", "drivers", "scheduler", "structs",
}

// source is one Go file.
type source struct {
	path   string // from the top of the module, with slashes
	folder string
	test   bool
	file   *ast.File
}

// layer is the first element of the folder: "server" for server/state. The top folder is main; scripts is above it.
func (s source) layer() string {
	if s.folder == "." {
		return "main"
	}
	first, _, _ := strings.Cut(s.folder, "/")
	return first
}

func (s source) imports() []string {
	var paths []string
	for _, i := range s.file.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, path)
	}
	return paths
}

var files = token.NewFileSet()

// sources parses every Go file of the module, whatever its build tags.
func sources(t *testing.T) []source {
	t.Helper()
	top := filepath.Join("..", "..")
	var all []source
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != top && (strings.HasPrefix(name, ".") || name == "testdata" || name == "dist") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != top {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		parsed, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(top, path)
		relative = filepath.ToSlash(relative)
		all = append(all, source{
			path: relative, folder: filepath.ToSlash(filepath.Dir(relative)),
			test: strings.HasSuffix(name, "_test.go"), file: parsed,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}

// TestDirection: imports point down, and every folder at the top is a layer that somebody decided on.
func TestDirection(t *testing.T) {
	for _, wrong := range direction(sources(t)) {
		t.Error(wrong)
	}
}

func direction(all []source) (wrong []string) {
	for _, s := range all {
		from := slices.Index(order, s.layer())
		if from < 0 && s.layer() != "scripts" {
			wrong = append(wrong, fmt.Sprintf("%s: %q is not a layer", s.path, s.layer()))
		}
		for _, path := range s.imports() {
			inner, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			layer, _, _ := strings.Cut(inner, "/")
			to := slices.Index(order, layer)
			if from >= 0 && (to < 0 || to < from) {
				wrong = append(wrong, fmt.Sprintf("%s: %s may not import %s, which is above it", s.path, s.layer(), inner))
			}
		}
	}
	return wrong
}

// TestPure: structs imports the standard library only, and no more than values need; the scheduler has no clock, no
// chance, no I/O and no goroutine.
func TestPure(t *testing.T) {
	for _, wrong := range impure(sources(t)) {
		t.Error(wrong)
	}
}

// outside is what decisions may not touch.
var outside = []string{
	"os", "net", "io/fs", "path/filepath", "syscall", "os/exec", "sync", "context", "log", "log/slog", "math/rand",
	"math/rand/v2", "crypto/rand", "runtime", "unsafe",
}

// clocks are the functions of package time that look at one.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

func impure(all []source) (wrong []string) {
	for _, s := range all {
		// What imports testing serves tests only: the product does not link it.
		if s.test || s.layer() != "structs" && s.layer() != "scheduler" || slices.Contains(s.imports(), "testing") {
			continue
		}
		for _, path := range s.imports() {
			first, _, _ := strings.Cut(path, "/")
			switch {
			case slices.Contains(outside, path) && !(s.layer() == "structs" && (path == "context" || path == "crypto/rand")),
				first == "net" && path != "net/netip": // which is arithmetic
				wrong = append(wrong, fmt.Sprintf("%s: %s may not import %s", s.path, s.layer(), path))
			case s.layer() == "structs" && strings.Contains(first, "."):
				wrong = append(wrong, fmt.Sprintf("%s: structs may import the standard library only, not %s", s.path, path))
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				wrong = append(wrong, fmt.Sprintf("%s: %s starts a goroutine", at(s, n), s.layer()))
			case *ast.SelectorExpr:
				if isName(n.X, "time") && slices.Contains(clocks, n.Sel.Name) {
					wrong = append(wrong, fmt.Sprintf("%s: %s looks at a clock with time.%s", at(s, n), s.layer(), n.Sel.Name))
				}
			}
			return true
		})
	}
	return wrong
}

func at(s source, n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, files.Position(n.Pos()).Line)
}

func isName(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// TestPackages: each package has one comment and a name that says something.
func TestPackages(t *testing.T) {
	for _, wrong := range packages(sources(t)) {
		t.Error(wrong)
	}
}

// empty are names that say nothing about what is in a package.
var empty = []string{"util", "utils", "common", "helper", "helpers", "misc", "manager", "base", "shared", "lib"}

func packages(all []source) (wrong []string) {
	comments := map[string][]string{}
	for _, s := range all {
		if s.test {
			continue
		}
		with := comments[s.folder]
		if s.file.Doc != nil {
			with = append(with, s.path)
		}
		comments[s.folder] = with
		if slices.Contains(empty, s.file.Name.Name) {
			wrong = append(wrong, fmt.Sprintf("%s: the name %s says nothing", s.path, s.file.Name.Name))
		}
	}
	for folder, with := range comments {
		if len(with) != 1 {
			wrong = append(wrong, fmt.Sprintf("%s: %d package comments, and it should be one: %v", folder, len(with), with))
		}
	}
	slices.Sort(wrong)
	return wrong
}

// TestTests: a test waits for what happens and not for time to pass, and says why it is skipped.
func TestTests(t *testing.T) {
	for _, wrong := range waits(sources(t)) {
		t.Error(wrong)
	}
}

// receiver returns the name of the type that a method belongs to; "" for a function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	t := f.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

// waits finds time.Sleep in tests, which may stand in a synctest bubble only: inside of a call of synctest.Test or of a
// function called "bubble", or in a function, or a method of a type, whose comment says that it is of a "bubble".
func waits(all []source) (wrong []string) {
	for _, s := range all {
		if !s.test {
			continue
		}
		var inside []ast.Node // functions in which time is not real
		types := map[string]bool{}
		for _, decl := range s.file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Doc != nil && strings.Contains(d.Doc.Text(), "bubble") {
				for _, spec := range d.Specs {
					if t, ok := spec.(*ast.TypeSpec); ok {
						types[t.Name.Name] = true
					}
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Doc != nil && strings.Contains(n.Doc.Text(), "bubble") || types[receiver(n)] {
					inside = append(inside, n)
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && isName(sel.X, "synctest") && sel.Sel.Name == "Test" || isName(n.Fun, "bubble") {
					inside = append(inside, n)
				}
			}
			return true
		})
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			bubble := slices.ContainsFunc(inside, func(f ast.Node) bool { return f.Pos() <= n.Pos() && n.End() <= f.End() })
			switch {
			case isName(sel.X, "time") && sel.Sel.Name == "Sleep" && !bubble:
				wrong = append(wrong, at(s, n)+": a test sleeps: wait for what is to happen, or use synctest")
			case sel.Sel.Name == "SkipNow", sel.Sel.Name == "Skip" && len(call.Args) == 0:
				wrong = append(wrong, at(s, n)+": a test is skipped and does not say why")
			}
			return true
		})
	}
	return wrong
}

// TestRules shows each rule a file that breaks it.
func TestRules(t *testing.T) {
	parse := func(path, text string) []source {
		file, err := parser.ParseFile(files, path, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		return []source{{path: path, folder: filepath.Dir(path), test: strings.HasSuffix(path, "_test.go"), file: file}}
	}
	for _, c := range []struct {
		rule       func([]source) []string
		path, text string
		want       string // part of the only complaint; "" for none
	}{
		{direction, "server/a.go", "package server\nimport _ \"github.com/proffer/proffer/agent/http\"", "above"},
		{direction, "agent/a.go", "package agent\nimport _ \"github.com/proffer/proffer/server\"", ""},
		{direction, "structs/a.go", "package structs\nimport _ \"github.com/proffer/proffer/scripts/x\"", "above"},
		{direction, "tools/a.go", "package tools", "not a layer"},
		{impure, "structs/a.go", "package structs\nimport _ \"github.com/google/uuid\"", "standard library"},
		{impure, "scheduler/a/a.go", "package a\nimport _ \"os\"", "may not import os"},
		{impure, "scheduler/a/a.go", "package a\nfunc f() { go f() }", "goroutine"},
		{impure, "scheduler/a/a.go", "package a\nimport \"time\"\nvar x = time.Now()", "clock"},
		{impure, "scheduler/a/a.go", "package a\nimport \"time\"\nvar x time.Time", ""},
		{packages, "a/a.go", "package a", "0 package comments"},
		{packages, "a/a.go", "// Package util is\npackage util", "says nothing"},
		{waits, "a/a_test.go", "package a\nimport \"time\"\nfunc f() { time.Sleep(1) }", "sleeps"},
		{waits, "a/a_test.go", "package a\nfunc f() { synctest.Test(t, func() { time.Sleep(1) }) }", ""},
		{waits, "a/a_test.go", "package a\nfunc f() { t.Skip() }", "why"},
		{waits, "a/a_test.go", "package a\nfunc f() { t.Skip(\"needs root\") }", ""},
	} {
		got := c.rule(parse(c.path, c.text))
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)) {
			t.Errorf("%s:\n%s\ngot %q, want %q", c.path, c.text, got, c.want)
		}
	}
}
