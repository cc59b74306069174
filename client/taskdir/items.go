package taskdir

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// What templates ask the region for. Something that is not there yet reads as empty, so that one look finds all that a text waits for;
// then there is no text.

// MaxAsked bounds what the templates of a task ask for: a node wants up to session.MaxWants for all its tasks.
const MaxAsked = 256

// Asked returns the items that the templates asked for so far, with what they were then (nil: nothing had come yet).
func (sc *Scope) Asked() map[session.Ref]*session.Item { return sc.asked }

// begin has what is noted of a text be of the next one.
func (sc *Scope) begin() {
	sc.waits, sc.greedy, sc.absent, sc.secret, sc.variables = nil, nil, false, false, false
}

// ask looks an item up and notes that it was.
func (sc *Scope) ask(ref session.Ref) (*session.Item, error) {
	if item, again := sc.asked[ref]; again {
		return item, nil // one look is of one moment
	}
	if len(sc.asked) >= MaxAsked {
		sc.greedy = structs.Errorf(structs.Invalid, "templates", "those of a task ask for more than %d variables and services", MaxAsked)
		return nil, sc.greedy
	}
	var item *session.Item
	if sc.subject.Items != nil {
		item = sc.subject.Items(ref)
	}
	if sc.asked == nil {
		sc.asked = map[session.Ref]*session.Item{}
	}
	sc.asked[ref] = item
	return item, nil
}

// unknown says why nothing is known of an item; empty: something is.
func unknown(item *session.Item, noneSaid string) string {
	switch {
	case item == nil:
		return noneSaid
	case item.Unknown:
		return item.Missing
	}
	return ""
}

func (sc *Scope) waitFor(what, why string, known bool) {
	sc.waits = append(sc.waits, fmt.Sprintf("%s (%s)", what, why))
	sc.absent = sc.absent || known
}

// variable looks a variable up; the item is nil when nothing is known of it, and then the text waits.
func (sc *Scope) variable(path string) (*session.Item, error) {
	if err := structs.VariableProblem(path); err != nil {
		return nil, err
	}
	if role := sc.subject.Alloc.Role; !structs.ReadableBy(path, role) {
		return nil, structs.Errorf(structs.Forbidden, "variable "+strconv.Quote(path), "work of role %q may not read it", role).
			Advise("variables of its role and of those above it are readable, such as %s/NAME", role)
	}
	item, err := sc.ask(session.VariableRef(path))
	if err != nil {
		return nil, err
	}
	sc.variables = true
	if why := unknown(item, "no server has said what it is yet"); why != "" {
		sc.waitFor("variable "+path, why, false)
		return nil, nil
	}
	sc.secret = sc.secret || item.Secret
	return item, nil
}

// varFunc gives the value of an item of a variable, or without an item a map of all.
func (sc *Scope) varFunc(path string, item ...string) (any, error) {
	if len(item) > 1 {
		return nil, fmt.Errorf("it takes a path and one item")
	}
	v, err := sc.variable(path)
	if err != nil {
		return nil, err
	}
	what := "variable " + path
	switch {
	case v == nil:
	case v.Missing != "":
		sc.waitFor(what, v.Missing, true)
	case len(item) == 0:
		return v.Values, nil
	default:
		if value, ok := v.Values[item[0]]; ok {
			return value, nil
		}
		sc.waitFor(what, fmt.Sprintf("it has no item %q", item[0]), true)
	}
	if len(item) == 0 {
		return map[string]string(nil), nil
	}
	return "", nil
}

// hasVar reports whether there is a variable, or an item of it.
func (sc *Scope) hasVar(path string, item ...string) (bool, error) {
	if len(item) > 1 {
		return false, fmt.Errorf("it takes a path and one item")
	}
	v, err := sc.variable(path)
	if v == nil || err != nil {
		return false, err
	}
	if v.Missing != "" || len(item) == 0 {
		return v.Missing == "", nil
	}
	_, ok := v.Values[item[0]]
	return ok, nil
}

// service gives the allocations that give a service now; with tags those that have all of them.
func (sc *Scope) service(name string, tags ...string) ([]*structs.ServiceInstance, error) {
	if !structs.ValidName(name) {
		return nil, fmt.Errorf("%q is not the name of a service", name)
	}
	item, err := sc.ask(session.ServiceRef(name))
	if err != nil {
		return nil, err
	}
	if why := unknown(item, "no server has said who gives it yet"); why != "" {
		sc.waitFor("service "+name, why, false)
		return nil, nil
	}
	var out []*structs.ServiceInstance
	for _, i := range item.Instances {
		if !slices.ContainsFunc(tags, func(tag string) bool { return !slices.Contains(i.Tags, tag) }) {
			out = append(out, i)
		}
	}
	return out, nil
}

func base64Decode(text string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return string(raw), err
}

// Waits is the error of a text for which something is missing that may come.
type Waits struct {
	Known bool // it is known not to be there; otherwise no server has said anything yet
	what  []string
	why   *structs.Error
}

func (w *Waits) Error() string { return w.why.Error() }

// Unwrap returns the error that says for what, with its kind.
func (w *Waits) Unwrap() error { return w.why }

// AskAgain has the next look see what came since the last one.
func (sc *Scope) AskAgain() { sc.asked = nil }

// missing is why there is no text, or nil.
func (sc *Scope) missing(t *structs.Template) *Waits {
	if len(sc.waits) == 0 {
		return nil
	}
	kind := structs.Unavailable
	if sc.absent && t.OnMissing == structs.MissingFail {
		kind = structs.Invalid
	}
	return waitsFor("templates", "they wait for", kind, sc.absent, sc.waits)
}

func waitsFor(object, wait string, kind structs.Kind, known bool, what []string) *Waits {
	const most = 8 // that are named
	text := strings.Join(what[:min(len(what), most)], ", ")
	if more := len(what) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return &Waits{known, what, structs.Errorf(kind, object, "%s %s", wait, text)}
}

// and is what both wait for.
func (w *Waits) and(o *Waits) *Waits {
	if w == nil {
		return o
	}
	kind := w.why.Kind
	if o.why.Kind == structs.Invalid {
		kind = structs.Invalid
	}
	all := slices.Clone(w.what)
	for _, what := range o.what {
		if !slices.Contains(all, what) {
			all = append(all, what)
		}
	}
	return waitsFor("templates", "they wait for", kind, w.Known && o.Known, all)
}

// inSecrets reports whether a path below the task folder is in the folder of secrets.
func inSecrets(name string) bool { return strings.HasPrefix(name, "secrets/") }

// guarded refuses to write a secret where it would stay.
func (sc *Scope) guarded(t *structs.Template, name string) error {
	if !sc.secret || inSecrets(name) {
		return nil
	}
	return structs.Errorf(structs.Invalid, "template "+strconv.Quote(t.Destination), "it reads a secret, which is written below secrets/ only").
		Advise("set destination = %q", "secrets/"+name[strings.LastIndexByte(name, '/')+1:])
}

// Environment returns the variables that texts with env add, each NAME=VALUE.
func Environment(texts []*Text) (env map[string]string, err error) {
	env = secretsOf(texts)
	for _, t := range texts {
		if !t.Template.Env {
			continue
		}
		for i, line := range strings.Split(string(t.data), "\n") {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(line, "\x00") {
				return nil, structs.Errorf(structs.Invalid, "template "+strconv.Quote(t.Template.Destination), "line %d is not NAME=VALUE", i+1)
			}
			if env == nil {
				env = map[string]string{}
			}
			env[name] = value
		}
	}
	return env, nil
}
