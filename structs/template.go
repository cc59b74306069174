package structs

import (
	"maps"
	"path"
	"slices"
	"strings"
	"text/template/parse"
	"time"
)

// Template is a file rendered from text with the functions env, meta, alloc, node, attr, var, hasVar and service. What they give may
// change while the task runs: the job in place, the node, a variable, who gives a service. The file is written again then.
type Template struct {
	Destination  string   `json:"destination,omitempty" doc:"Path below the task folder, such as local/app.conf."`
	Data         string   `json:"data,omitempty" doc:"The text, in Go template syntax."`
	Source       string   `json:"source,omitempty" doc:"Instead of data: a file below the task folder that has the text, such as one of an artifact."`
	Perms        string   `json:"perms,omitempty" doc:"Mode in octal. Default 0644."`
	ChangeMode   string   `json:"change_mode,omitempty" doc:"What the file needs when it changes while the task runs: restart (the task is started again; for another text in the job allocations are replaced, as the update block bounds it), signal, script or none. Default restart."`
	ChangeSignal string   `json:"change_signal,omitempty" doc:"What the task gets with signal. Default SIGHUP."`
	ChangeScript []string `json:"change_script,omitempty" doc:"Program and arguments that are run in the task with script, for at most a minute."`
	Env          bool     `json:"env,omitempty" doc:"The lines NAME=VALUE of the file are environment variables of the task, too. Then change_mode is restart or none."`
	OnMissing    string   `json:"on_missing,omitempty" doc:"What becomes of a task that is to start when a variable is not there: wait (until it is) or fail. Default wait."`
	Wait         *Quiet   `json:"wait,omitempty" hcl:"block" doc:"For how long variables and services must stay as they are before the file is written again."`
	Secret       *Secret  `json:"secret,omitempty" hcl:"-"`
	Splay        Duration `json:"splay,omitempty" doc:"The file is written after a random part of this time, so that not all allocations change at once."`
}

// Quiet is how long to wait for changes that follow each other.
type Quiet struct {
	Min Duration `json:"min,omitempty" doc:"The file is written again when nothing changed for so long. Default 1s."`
	Max Duration `json:"max,omitempty" doc:"And this long after the first change at the latest. Default 10s."`
}

// Of a template without a wait block.
const (
	QuietMin = Duration(time.Second)
	QuietMax = Duration(10 * time.Second)
)

// Quiet returns the wait of t.
func (t *Template) Quiet() Quiet {
	if t.Wait == nil {
		return Quiet{QuietMin, QuietMax}
	}
	return *t.Wait
}

// What becomes of a task when a variable is missing.
const (
	MissingWait = "wait"
	MissingFail = "fail"
)

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
	setDefault(&t.OnMissing, MissingWait)
	if t.Wait != nil {
		setDefault(&t.Wait.Min, QuietMin)
		setDefault(&t.Wait.Max, max(t.Wait.Min, QuietMax))
	}
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
		if f.Secret != nil {
			p.Add(object+".secret", "it is for external frameworks").Advise(`write {{ var "ROLE/NAME" "ITEM" }} in data`)
		}
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
		"or", "print", "printf", "println", "slice", "urlquery", "alloc", "attr", "base64Decode", "env", "hasVar", "meta", "node", "service", "var"} {
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
	if t.Env && t.ChangeMode != ChangeRestart && t.ChangeMode != ChangeNone {
		p.Add(at+".env", "the environment of a task that runs cannot change, and change_mode is %s", t.ChangeMode).Advise(`use change_mode = "restart", or "none"`)
	}
	if t.OnMissing != "" {
		checkOneOf(p, at+".on_missing", t.OnMissing, MissingWait, MissingFail)
	}
	if t.Wait != nil {
		checkDuration(p, at+".wait.min", t.Wait.Min, 0, Duration(time.Hour))
		checkDuration(p, at+".wait.max", t.Wait.Max, t.Wait.Min, Duration(24*time.Hour))
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
