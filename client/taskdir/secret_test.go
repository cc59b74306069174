package taskdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/proffer/proffer/client/session"
	"github.com/proffer/proffer/client/taskdir"
	"github.com/proffer/proffer/structs"
)

// Secrets of frameworks' tasks are texts as they are: files below secrets/, and variables of the environment that are no files.
func TestSecretsOfFrameworks(t *testing.T) {
	known := map[session.Ref]*session.Item{}
	value := func(ref session.Ref, values map[string]string) {
		known[ref] = &session.Item{Ref: ref, Values: values, Secret: true}
	}
	var alloc structs.AllocID
	const text = "a {{ line }}\nand ${HOME}, \xff"
	var in string
	texts := func(secrets ...*structs.Secret) (*taskdir.Scope, []*taskdir.Text, error) {
		s := subject(t, func(s *taskdir.Subject) {
			s.Items = func(ref session.Ref) *session.Item { return known[ref] }
			s.Alloc.Role = "eng/web"
			alloc = s.Alloc.ID
			for i, x := range secrets {
				s.Task.Templates = append(s.Task.Templates, &structs.Template{Destination: "secrets/" + string(rune('a'+i)) + "/file", Perms: "0400",
					ChangeMode: structs.ChangeNone, OnMissing: structs.MissingFail, Secret: x})
			}
		})
		in = filepath.Join(s.Dir.Task(s.Task.Name), "secrets")
		sc := scope(t, s)
		out, err := sc.Texts()
		return sc, out, err
	}
	sent, one, many := &structs.Secret{Sealed: "n1"}, &structs.Secret{Variable: "eng/db"}, &structs.Secret{Variable: "eng/web/two", Item: "b", Env: "B"}
	_, _, err := texts(sent)
	if waits := (*taskdir.Waits)(nil); !errors.As(err, &waits) || waits.Known || structs.KindOf(err) != structs.Unavailable {
		t.Errorf("before anything came: %v", err)
	}
	value(session.SecretRef(alloc, "n1"), map[string]string{"": text})
	value(session.VariableRef("eng/db"), map[string]string{"password": "p"})
	value(session.VariableRef("eng/web/two"), map[string]string{"a": "1", "b": "2"})
	sc, all, err := texts(sent, one, many)
	if err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	if env, err := taskdir.Environment(all); err != nil || len(env) != 1 || env["B"] != "2" {
		t.Errorf("the environment is %v, %v", env, err)
	}
	if err := sc.Write(all); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/file": text, "b/file": "p"} {
		if raw, err := os.ReadFile(filepath.Join(in, name)); err != nil || string(raw) != want {
			t.Errorf("%s has %q, %v", name, raw, err)
		}
	}
	if _, err := os.Stat(filepath.Join(in, "c")); !os.IsNotExist(err) {
		t.Errorf("the variable of the environment is a file: %v", err)
	}
	if i := slices.IndexFunc(all, func(x *taskdir.Text) bool { return !sc.Written(x) }); i >= 0 {
		t.Errorf("%s is not what was written", all[i].Name())
	}

	known[session.VariableRef("eng/gone")] = &session.Item{Missing: "there is none"}
	for want, x := range map[string]*structs.Secret{"it has 2 items": {Variable: "eng/web/two"}, "there is none": {Variable: "eng/gone"}, `no item "c"`: {Variable: "eng/web/two", Item: "c"},
		"may not read it": {Variable: "ops/db"}, "has a NUL": {Sealed: "n2", Env: "A"}} {
		value(session.SecretRef(alloc, "n2"), map[string]string{"": "a\x00"})
		_, _, err := texts(x)
		if kind := structs.KindOf(err); err == nil || !strings.Contains(err.Error(), want) || kind != structs.Invalid && kind != structs.Forbidden {
			t.Errorf("of %+v: %v, and not %s", x, err, want)
		}
	}
}

// Folders of the sandbox that a task wants to see elsewhere are made, and lead nowhere else.
func TestFoldersBelow(t *testing.T) {
	top, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for rel, good := range map[string]bool{"a/b": true, "a": true, "file": true, "link": false, "link/x": false, "file/x": false, "../x": false, "../../x": false} {
		err := taskdir.MakeBelow(top, rel, taskdir.Owner{}, 0o755)
		if (err == nil) != good {
			t.Errorf("%s: %v", rel, err)
		}
	}
	if left, _ := os.ReadDir(outside); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	if info, err := os.Stat(filepath.Join(top, "a/b")); err != nil || !info.IsDir() {
		t.Error(err)
	}
}
