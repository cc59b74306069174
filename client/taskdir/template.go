package taskdir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"

	"github.com/proffer/proffer/client/tree"
	"github.com/proffer/proffer/structs"
)

// Bounds of one template: what it writes, and how often it may go round or call another.
const (
	MaxRendered = 4 << 20
	maxSteps    = 100_000
)

func destination(s string) (string, error) {
	clean := path.Clean(s)
	if s == "" || strings.HasSuffix(s, "/") || clean == "." || !filepath.IsLocal(clean) {
		return "", fmt.Errorf("%q is not a file below the task folder, such as local/app.conf", s)
	}
	return clean, nil
}

func perms(s string) (fs.FileMode, error) {
	if s == "" {
		return 0o644, nil
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return 0, fmt.Errorf("%q is not a mode in octal such as 0644", s)
	}
	return fs.FileMode(n), nil
}

// Text is what a template says now.
type Text struct {
	Template *structs.Template
	name     string // below the task folder
	mode     fs.FileMode
	data     []byte
	private  bool // it says what a variable holds
}

// Same reports whether the file would be the same.
func (t *Text) Same(o *Text) bool {
	return t.name == o.name && t.mode == o.mode && bytes.Equal(t.data, o.data)
}

// Name is the path below the task folder.
func (t *Text) Name() string { return t.name }

// Texts renders the templates of the task; with a *Waits as its error all of them are looked at, so that Asked knows all. Those with a source read it
// below the task folder, following no link out of it. Its error is Invalid for a faulty template, and Unavailable or Exhausted for one of the disk.
func (sc *Scope) Texts() ([]*Text, error) {
	var texts []*Text
	var waits *Waits
	if _, err := sc.Logins(); err != nil && !errors.As(err, &waits) { // they stay among what is asked for: the next start may have no server
		return nil, err
	}
	waits = nil // what runs has its images
	for _, t := range sc.subject.Task.Templates {
		text, err := sc.text(t)
		if later := (*Waits)(nil); errors.As(err, &later) {
			waits = waits.and(later)
			continue
		}
		if err != nil {
			var known *structs.Error
			if !errors.As(err, &known) {
				err = structs.Errorf(structs.Invalid, "template "+strconv.Quote(t.Destination), "%w", err)
			}
			return nil, err
		}
		texts = append(texts, text)
	}
	if waits != nil {
		return nil, waits
	}
	return texts, nil
}

func (sc *Scope) text(t *structs.Template) (*Text, error) {
	name, err := sc.Expand(t.Destination)
	if err == nil {
		name, err = destination(name)
	}
	if err != nil {
		return nil, err
	}
	mode, err := perms(t.Perms)
	if err != nil {
		return nil, err
	}
	if t.Secret != nil {
		return sc.secretText(t, name, mode)
	}
	data := t.Data
	if t.Source != "" {
		if data, err = sc.source(t); err != nil {
			return nil, err
		}
	}
	parsed, err := sc.parse(data)
	if err != nil {
		return nil, err
	}
	sc.begin()
	out := &bounded{}
	err = parsed.Execute(out, nil)
	if sc.greedy != nil {
		return nil, sc.greedy
	}
	if later := sc.missing(t); later != nil {
		return nil, later // what else is wrong may come of that
	}
	if err == nil {
		err = sc.guarded(t, name)
	}
	if err != nil {
		return nil, err
	}
	return &Text{t, name, mode, out.Bytes(), sc.variables}, nil
}

// source reads the text of a template from a file.
func (sc *Scope) source(t *structs.Template) (string, error) {
	object := "template " + strconv.Quote(t.Destination)
	root, err := os.OpenRoot(sc.subject.Dir.Task(sc.subject.Task.Name))
	if err != nil {
		return "", failure(object, err)
	}
	defer root.Close()
	name, err := sc.Expand(t.Source)
	if err != nil {
		return "", err
	}
	f, err := tree.Open(root, name)
	if err != nil {
		return "", structs.Errorf(structs.NotFound, object, "its source %s cannot be read: %w", name, err).Advise("an artifact may have to bring it")
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > MaxRendered {
		return "", structs.Errorf(structs.Invalid, object, "its source %s is no file of at most %s", name, structs.Bytes(MaxRendered))
	}
	raw, err := io.ReadAll(io.LimitReader(f, MaxRendered))
	if err != nil {
		return "", failure(object, err)
	}
	return string(raw), nil
}

// Write puts texts below the task folder, following no link out of it. Its error is Invalid for a path that leads out, and Unavailable or
// Exhausted when the disk cannot take it.
func (sc *Scope) Write(texts []*Text) error {
	if len(texts) == 0 {
		return nil
	}
	root, err := os.OpenRoot(sc.subject.Dir.Task(sc.subject.Task.Name))
	if err != nil {
		return failure("template", err)
	}
	defer root.Close()
	for _, t := range texts {
		if t.noFile() {
			continue
		}
		object := "template " + strconv.Quote(t.Template.Destination)
		if err := misplaced(object, sc.place(root, t.name, t.data, t.mode)); err != nil {
			return err
		}
	}
	return nil
}

// InMemory has the secrets folder of the task in memory when texts put there what variables hold. It is for a task that does not run.
func (sc *Scope) InMemory(texts []*Text) error {
	if !private(texts) {
		return nil
	}
	return sc.subject.Dir.keepInMemory(sc.subject.Task.Name)
}

// Exposes reports whether texts would put what variables hold on the disk, because the task was started without secrets in memory.
func (sc *Scope) Exposes(texts []*Text) bool {
	return private(texts) && !sc.subject.Dir.inMemory(sc.subject.Task.Name)
}

func private(texts []*Text) bool {
	return slices.ContainsFunc(texts, func(t *Text) bool { return t.private && inSecrets(t.name) && !t.noFile() })
}

// Written reports whether the file of a text says so already.
func (sc *Scope) Written(t *Text) bool {
	if t.noFile() {
		return true
	}
	root, err := os.OpenRoot(sc.subject.Dir.Task(sc.subject.Task.Name))
	if err != nil {
		return false
	}
	defer root.Close()
	f, err := tree.Open(root, t.name)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() { // a pipe that the task put there would be waited for
		return false
	}
	raw, err := io.ReadAll(io.LimitReader(f, MaxRendered+1))
	return err == nil && bytes.Equal(raw, t.data)
}

// misplaced gives an error of place its kind.
func misplaced(object string, err error) error {
	if err == nil {
		return nil
	}
	var escape *fs.PathError
	if errors.As(err, &escape) && strings.Contains(escape.Err.Error(), "escapes") {
		return structs.Errorf(structs.Invalid, object, "the path leads out of the task folder")
	}
	return failure(object, err)
}

// place writes a file so that a task sees the old or the new one, never a part.
func (sc *Scope) place(root *os.Root, name string, data []byte, mode fs.FileMode) error {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// 0600 until it is complete and belongs to the task: it may hold a secret.
	temporary := name + ".proffer-new"
	root.Remove(temporary)
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if o := sc.subject.Owner; err == nil && o.UID != 0 && os.Geteuid() == 0 {
		err = f.Chown(o.UID, o.GID)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		root.Remove(temporary)
		return err
	}
	return root.Rename(temporary, name)
}

// bounded is a buffer with MaxRendered.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > MaxRendered {
		return 0, fmt.Errorf("it writes more than %s", structs.Bytes(MaxRendered))
	}
	return b.Buffer.Write(p)
}

const stepFunc = "proffer_step"

// parse reads a template and adds a step to each round of a range and each call of a template, so that none runs for ever.
func (sc *Scope) parse(text string) (*template.Template, error) {
	steps := 0
	t := template.New("template").Option("missingkey=error").Funcs(template.FuncMap{
		"env":     sc.envFunc,
		"meta":    sc.metaFunc,
		"alloc":   sc.alloc,
		"node":    func(field string) (string, error) { return sc.ofNode("node." + field) },
		"var":     sc.varFunc,
		"hasVar":  sc.hasVar,
		"service": sc.service,

		"base64Decode": base64Decode,

		"attr": func(name string) (string, error) { return sc.ofNode("attr." + name) },
		stepFunc: func() (string, error) {
			if steps++; steps > maxSteps {
				return "", fmt.Errorf("it takes more than %d steps", maxSteps)
			}
			return "", nil
		},
	})
	t, err := t.Parse(text)
	if err != nil {
		return nil, err
	}
	step := template.Must(template.New("step").Funcs(template.FuncMap{stepFunc: func() string { return "" }}).
		Parse("{{" + stepFunc + "}}")).Root.Nodes[0]
	for _, each := range t.Templates() {
		if each.Tree != nil && each.Root != nil {
			addSteps(each.Root, step)
			each.Root.Nodes = append([]parse.Node{step.Copy()}, each.Root.Nodes...)
		}
	}
	return t, nil
}

func addSteps(list *parse.ListNode, step parse.Node) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			addSteps(n.List, step)
			addSteps(n.ElseList, step)
			n.List.Nodes = append([]parse.Node{step.Copy()}, n.List.Nodes...)
		case *parse.IfNode:
			addSteps(n.List, step)
			addSteps(n.ElseList, step)
		case *parse.WithNode:
			addSteps(n.List, step)
			addSteps(n.ElseList, step)
		}
	}
}

func (sc *Scope) envFunc(name string) (string, error) {
	v, ok := sc.env[name]
	if !ok {
		return "", fmt.Errorf("the task has no environment variable %q", name)
	}
	return v, nil
}

func (sc *Scope) metaFunc(name string) (string, error) {
	v, ok := sc.meta[name]
	if !ok {
		return "", fmt.Errorf("the job, group and task have no meta %q", name)
	}
	return v, nil
}

// ofNode gives what the node is, as ${node.…} and ${attr.…} do.
func (sc *Scope) ofNode(name string) (string, error) {
	v, ok, _ := sc.lookup(name)
	if !ok {
		return "", fmt.Errorf("the node has no %q", name)
	}
	return v, nil
}

// alloc gives a field of the allocation by its name: id, job, group, task, index, incarnation, role, node_id, node_name,
// datacenter, region, ip, port.LABEL, addr.LABEL.
func (sc *Scope) alloc(field string) (string, error) {
	variable := ""
	switch space, label, _ := strings.Cut(field, "."); space {
	case "id":
		variable = "ALLOC_ID"
	case "datacenter":
		variable = "DC"
	case "job", "group", "task", "index", "incarnation", "role", "node_id", "node_name", "region", "ip":
		variable = strings.ToUpper(space)
	case "port", "addr":
		variable = strings.ToUpper(space) + "_" + envName(label)
	}
	v, ok := sc.env["PROFFER_"+variable]
	if variable == "" || !ok {
		return "", fmt.Errorf("the allocation has no %q", field)
	}
	return v, nil
}
