package structs

import (
	"fmt"
	"maps"
	"slices"
)

// ImageLogin is what a registry asks for, or the variable that has it. No message shows the password.
type ImageLogin struct {
	Variable string `json:"variable,omitempty" doc:"The variable whose items username and password are asked with, such as eng/registry. Then the job has neither of them."`
	Username string `json:"username,omitempty" doc:"The name of an account of the registry. Whoever may read the job reads it."`
	Password string `json:"password,omitempty" doc:"Its password, or a token that takes the place of one. Whoever may read the job reads it."`
}

// String hides the password.
func (l *ImageLogin) String() string { return "a login" }

// GoString hides it, too.
func (l *ImageLogin) GoString() string { return l.String() }

// The settings of a login, and items of its variable.
const (
	LoginVariable = "variable"
	LoginUsername = "username"
	LoginPassword = "password"
)

// LoginKey is the key of a task's config that has the login for its ImageKey, as a block with these settings.
const LoginKey = "auth"

const maxLogin = 64 << 10 // bytes: tokens are long

// Problems collects what is wrong with a login; nil has nothing wrong.
func (l *ImageLogin) Problems(p *Problems, at string) {
	switch {
	case l == nil:
	case l.Variable != "" && (l.Username != "" || l.Password != ""):
		p.Add(at, "there is a variable, too, whose items are username and password").Advise("leave username and password out")
	case l.Variable != "":
		if why := badVariablePath(l.Variable); why != "" {
			p.Add(at+"."+LoginVariable, "%.140q: %s", l.Variable, why)
		}
	case l.Username == "" || l.Password == "":
		p.Add(at, "it needs username and password").Advise("or a variable that has them as its items")
	case len(l.Username)+len(l.Password) > maxLogin:
		p.Add(at, "username and password are longer than %d bytes", maxLogin)
	}
}

// Logins are what a valid task has its images asked for with: by where one is mounted, and with an empty name that of the task itself.
func (t *Task) Logins() map[string]*ImageLogin {
	out := map[string]*ImageLogin{}
	block := t.Config[LoginKey]
	if list, is := block.([]any); is && len(list) == 1 {
		block = list[0]
	}
	if auth, is := block.(map[string]any); is {
		text := func(key string) string { s, _ := auth[key].(string); return s }
		out[""] = &ImageLogin{text(LoginVariable), text(LoginUsername), text(LoginPassword)}
	}
	for _, m := range t.ImageMounts {
		if m != nil && m.Auth != nil {
			out[m.Destination] = m.Auth
		}
	}
	return out
}

// loginProblems adds the variables of logins that work of a role may not read.
func (t *Task) loginProblems(p *Problems, at, role string) {
	logins := t.Logins()
	for _, where := range slices.Sorted(maps.Keys(logins)) {
		if path := logins[where].Variable; path != "" && badVariablePath(path) == "" && !ReadableBy(path, role) {
			p.Add(at, "work of role %q may not read variable %q, which %s is to be asked for with", role, path, imageAt(where)).
				Advise("variables of its role and of those above it are readable, such as %s/NAME", role)
		}
	}
}

// imageAt names an image of a task by where it is mounted.
func imageAt(where string) string {
	if where == "" {
		return "its image"
	}
	return fmt.Sprintf("the image at %s", where)
}

// showsPassword says that everybody who may read the job reads a password in it; empty: there is none.
func (g *Group) showsPassword(t *Task) string {
	logins := t.Logins()
	for _, where := range slices.Sorted(maps.Keys(logins)) {
		if logins[where].Password != "" {
			return fmt.Sprintf("group %q: task %q: whoever may read the job reads the password that %s is asked for with: put it into a variable, and name that in auth instead",
				g.Name, t.Name, imageAt(where))
		}
	}
	return ""
}
