package structs

import (
	"maps"
	"path"
	"slices"
	"strings"
	"text/template/parse"
	"time"
)

// Template is a file rendered from text with the functions env, meta, alloc, node and attr. What they give may change while the task runs:
// the job in place, or the node. The file is written again then.
type Template struct {
	Destination  string   `json:"destination,omitempty" doc:"Path below the task folder, such as local/app.conf."`
	Data         string   `json:"data,omitempty" doc:"The text, in Go template syntax."`
	Source       string   `json:"source,omitempty" doc:"Instead of data: a file below the task folder that has the text, such as one of an artifact."`
	Perms        string   `json:"perms,omitempty" doc:"Mode in octal. Default 0644."`
	ChangeMode   string   `json:"change_mode,omitempty" doc:"What the file needs when it changes while the task runs: restart (the task is started again; for another text in the job allocations are replaced, as the update block bounds it), signal, script or none. Default restart."`
	ChangeSignal string   `json:"change_signal,omitempty" doc:"What the task gets with signal. Default SIGHUP."`
	ChangeScript []string `json:"change_script,omitempty" doc:"Program and arguments that are run in the task with script, for at most a minute."`
	Splay        Duration `json:"splay,omitempty" doc:"The file is written after a random part of this time, so that not all allocations change at once."`
}

// Change modes of templates.
const (
	ChangeRestart = "restart"
	ChangeSignal  = "signal"
	ChangeScript  = "script"
	ChangeNone    = "none"
)

// EditClass is the change class of an edit that leads to t; empty: that of the field.
func (t *Template) EditClass() string {
	switch t.ChangeMode {
	case ChangeSignal, ChangeScript:
		return "reload"
	case ChangeNone:
		return "in_place"
	}
	return ""
}

func (t *Template) canonicalize() {
	setDefault(&t.Perms, "0644")
	setDefault(&t.ChangeMode, ChangeRestart)
	setDefault(&t.ChangeSignal, "SIGHUP")
}

func checkTemplates(p *Problems, at string, templates []*Template) {
	if len(templates) > MaxTemplates {
		p.Add(at+".template", "%d templates are more than %d", len(templates), MaxTemplates)
	}
	written := map[string]bool{}
	for i, f := range templates {
		object := index(at+".template", i)
		if f == nil {
			p.Add(object, "a template is missing (null)")
			continue
		}
		f.changeProblems(p, object)
		d, where := f.Destination, object+".destination"
		clean := path.Clean(d)
		switch {
		case d == "":
			p.Add(where, "a template needs a destination").Advise("a path below the task folder, such as local/app.conf")
		case strings.HasPrefix(d, "/") || strings.ContainsAny(d, "\\\x00") || len(d) > 1024:
			p.Add(where, "%q is not a path below the task folder", d).Advise("write it relative, such as local/app.conf")
		case slices.Contains(strings.Split(d, "/"), ".."):
			p.Add(where, "%q leads out of the task folder", d).Advise("no .. in it")
		case strings.HasSuffix(d, "/") || clean == "." || clean == "local" || clean == "secrets" || clean == "alloc":
			p.Add(where, "%q is a folder", d).Advise("name a file in it")
		case written[clean]:
			p.Add(where, "%q is written by another template too", d)
		}
		written[clean] = true
		if !filePerms.MatchString(f.Perms) {
			p.Add(object+".perms", "%q is not a mode", f.Perms).Advise(`three octal digits, such as "0644"`)
		}
		if _, err := parse.Parse("template", f.Data, "", "", templateFunctions); err != nil {
			p.Add(object+".data", "%s", strings.TrimPrefix(err.Error(), "template: "))
		}
	}
}

// templateFunctions are what a template may call: what Go has, and what the node adds.
var templateFunctions = func() map[string]any {
	known := map[string]any{}
	for _, name := range []string{"and", "break", "call", "continue", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not",
		"or", "print", "printf", "println", "slice", "urlquery", "alloc", "attr", "env", "meta", "node"} {
		known[name] = true // only the names count
	}
	return known
}()

// changeProblems looks at what becomes of a change, and at where the text comes from.
func (t *Template) changeProblems(p *Problems, at string) {
	checkOneOf(p, at+".change_mode", t.ChangeMode, ChangeRestart, ChangeSignal, ChangeScript, ChangeNone)
	if Signals[t.ChangeSignal] == 0 {
		p.Add(at+".change_signal", "there is no signal %q", t.ChangeSignal).
			didYouMean(t.ChangeSignal, slices.Sorted(maps.Keys(Signals)), "such as SIGHUP or SIGUSR1")
	}
	switch script := t.ChangeScript; {
	case t.ChangeMode == ChangeScript && (len(script) == 0 || script[0] == ""):
		p.Add(at+".change_script", "there is no program to run").Advise(`such as ["/bin/sh", "-c", "…"]`)
	case t.ChangeMode != ChangeScript && len(script) > 0:
		p.Add(at+".change_script", `it is run with change_mode = "script" only`)
	}
	checkDuration(p, at+".splay", t.Splay, 0, Duration(24*time.Hour))
	if t.Source == "" {
		return
	}
	if t.Data != "" {
		p.Add(at+".source", "there is data, too").Advise("use one of them")
	}
	if clean := path.Clean(t.Source); strings.HasPrefix(clean, "/") || clean == "." || clean == ".." || strings.HasPrefix(clean, "../") || len(clean) > 1024 {
		p.Add(at+".source", "%q is not a file below the task folder", t.Source).Advise("such as local/app.conf.tpl")
	}
}
