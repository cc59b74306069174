package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const agentBase = "data_dir = \"/d\"\nbind = \"127.0.0.1\"\nencrypt = [\"" + testKey + "\"]\nclient {}\n"

// Principals come from blocks, files of their own and the file of credentials, in both of its forms.
func TestPrincipals(t *testing.T) {
	for name, text := range map[string]string{"lines": "# ours\nann  hunter2\n\nbob hunter3\n",
		"JSON": `{"credentials": [{"principal": "ann", "secret": "hunter2"}, {"principal": "bob", "secret": "hunter3"}]}`} {
		dir := filepath.ToSlash(write(t, map[string]string{"credentials": text, "eve": "hunter 4\n"}))
		conf := write(t, map[string]string{"a.hcl": agentBase + `mesos {
			authenticate = ["scheduler", "executor"]
			credentials = "` + dir + `/credentials"
			principal "dan" { secret = "hunter5" }
			principal "eve" { secret_file = "` + dir + `/eve" }
		}`})
		c, _, err := parse(t, "-config", conf)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := c.Mesos.Secrets()
		if len(got) != 4 || got["ann"] != "hunter2" || got["bob"] != "hunter3" || got["dan"] != "hunter5" || got["eve"] != "hunter 4" {
			t.Errorf("%s: %v", name, got)
		}
		if text := c.String(); strings.Contains(text, "hunter") || !strings.Contains(text, `"ann"`) {
			t.Errorf("%s: it is shown as %s", name, text)
		}
	}
}

// What is wrong is said, and never with a secret.
func TestBadPrincipals(t *testing.T) {
	for name, x := range map[string]struct{ credentials, block, want string }{
		"a line with too much":   {"ann hunter2 hunter3\n", "", "line 1 is not a principal and its secret"},
		"a line with too little": {"ann hunter2\nhunter3\n", "", "line 2 is not"},
		"no JSON":                {`{"credentials": "hunter2"}`, "", "it is not JSON such as"},
		"JSON without secrets":   {`{"credentials": [{"principal": "ann"}]}`, "", "it has no secret"},
		"a colon":                {"ann:x hunter2\n", "", "is no principal"},
		"twice":                  {"ann hunter2\n", `principal "ann" { secret = "hunter3" }`, "has two secrets"},
		"both":                   {"bob hunter2\n", "principal \"ann\" {\n secret = \"hunter3\"\n secret_file = \"/none\"\n}", "secret is set too"},
		"no such API":            {"ann hunter2\n", `authenticate = ["schedulers"]`, "did you mean \"scheduler\"?"},
		"nobody could use it":    {"# none\n", `authenticate = ["operator"]`, "there is no principal"},
		"a large file":           {strings.Repeat("ann hunter2\n", 100_000), "", "more than 1MiB"},
		"many":                   {manyPrincipals(1001), "", "1001 principals are more than 1000"},
	} {
		dir := filepath.ToSlash(write(t, map[string]string{"credentials": x.credentials}))
		conf := write(t, map[string]string{"a.hcl": agentBase + "mesos {\n credentials = \"" + dir + "/credentials\"\n" + x.block + "\n}"})
		_, _, err := parse(t, "-config", conf)
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func manyPrincipals(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat("p", 1+i/26) + string(rune('a'+i%26)) + " secret\n")
	}
	return b.String()
}

// A file of credentials that others may read is refused.
func TestCredentialsArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing of who may read there")
	}
	dir := write(t, map[string]string{"credentials": "ann hunter2\n"})
	conf := write(t, map[string]string{"a.hcl": agentBase + "mesos {\n credentials = \"" + dir + "/credentials\"\n}"})
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o644: false} {
		if err := os.Chmod(filepath.Join(dir, "credentials"), mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := parse(t, "-config", conf); (err == nil) != good || err != nil && (!strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

// A file that changed counts after the next reload, as the rest of the block does.
func TestPrincipalsAreReloaded(t *testing.T) {
	dir := write(t, map[string]string{"credentials": "ann hunter2\nbob hunter3\n"})
	conf := write(t, map[string]string{"a.hcl": agentBase + "mesos {\n credentials = \"" + filepath.ToSlash(dir) + "/credentials\"\n}"})
	read := func() *Config {
		c, _, err := parse(t, "-config", conf)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := read()
	if changed, restart := Reloadable(old, read()); len(changed)+len(restart) != 0 {
		t.Errorf("nothing changed, but %v %v", changed, restart)
	}
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte("ann hunter4\ncat hunter5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	changed, restart := Reloadable(old, read())
	slices.Sort(changed)
	if len(restart) != 0 || !slices.Equal(changed, []string{"mesos.principal.ann.secret", "mesos.principal.bob", "mesos.principal.cat"}) {
		t.Errorf("changed %v, restart %v", changed, restart)
	}
}
