package taskdir

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/structs"
)

// secretText is the text of a template whose text is a secret of an external framework's task.
func (sc *Scope) secretText(t *structs.Template, name string, mode fs.FileMode) (*Text, error) {
	object := "template " + strconv.Quote(t.Destination)
	if !inSecrets(name) {
		return nil, structs.Errorf(structs.Invalid, object, "a secret is written below secrets/ only")
	}
	sc.begin()
	value, err := sc.secretValue(t.Secret)
	if sc.greedy != nil {
		return nil, sc.greedy
	}
	if err != nil {
		return nil, err
	}
	if later := sc.missing(t); later != nil {
		return nil, later
	}
	if t.Secret.Env != "" && strings.Contains(value, "\x00") {
		return nil, structs.Errorf(structs.Invalid, "environment variable "+t.Secret.Env, "its value is a secret that has a NUL, which no variable can have").
			Advise("let the task see it as a file, with a volume")
	}
	return &Text{t, name, mode, []byte(value), true}, nil
}

// secretValue looks a secret up. What is not there yet, or at all, is among the waits of sc.
func (sc *Scope) secretValue(s *structs.Secret) (string, error) {
	if s.Sealed == "" {
		return sc.referred(s)
	}
	item, err := sc.ask(session.SecretRef(sc.subject.Alloc.ID, s.Sealed))
	if err != nil {
		return "", err
	}
	const what = "a secret that came with the task"
	switch why := unknown(item, "no server has said what it is yet"); {
	case why != "":
		sc.waitFor(what, why, false)
	case item.Missing != "":
		sc.waitFor(what, item.Missing, true)
	default:
		return item.Values[""], nil
	}
	return "", nil
}

// referred gives an item of a variable; without a name, the only one that it has.
func (sc *Scope) referred(s *structs.Secret) (string, error) {
	if s.Item != "" {
		value, err := sc.varFunc(s.Variable, s.Item)
		text, _ := value.(string)
		return text, err
	}
	v, err := sc.variable(s.Variable)
	what := "variable " + s.Variable
	switch {
	case v == nil || err != nil:
		return "", err
	case v.Missing != "":
		sc.waitFor(what, v.Missing, true)
	case len(v.Values) != 1:
		sc.waitFor(what, fmt.Sprintf("it has %d items, and the reference has no key that says which", len(v.Values)), true)
	}
	for _, value := range v.Values {
		return value, nil
	}
	return "", nil
}

// noFile reports whether a text is the value of an environment variable, or what an image is asked for with, alone.
func (t *Text) noFile() bool {
	s := t.Template.Secret
	return s != nil && (s.Env != "" || s.Image)
}

// ImageConfigs are what images of the task are asked for with, as docker login writes it: by where one is mounted, and with an empty name that of
// the task itself. One that is not there is asked for with nothing of its own.
func ImageConfigs(texts []*Text) map[string][]byte {
	out := map[string][]byte{}
	for _, t := range texts {
		if s := t.Template.Secret; s != nil && s.Image {
			out[s.Mount] = t.data
		}
	}
	return out
}

// secretsOf returns the environment variables among texts that are secrets.
func secretsOf(texts []*Text) (env map[string]string) {
	for _, t := range texts {
		if s := t.Template.Secret; s != nil && s.Env != "" {
			if env == nil {
				env = map[string]string{}
			}
			env[s.Env] = string(t.data)
		}
	}
	return env
}
