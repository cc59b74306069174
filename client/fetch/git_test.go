package fetch

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/proffer/proffer/structs"
)

// repository makes one with two commits, a tag, and things that would run if they could.
func repository(t *testing.T) (dir string, run func(args ...string) string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir = filepath.Join(t.TempDir(), "repo")
	os.Mkdir(dir, 0o755)
	run = func(args ...string) string {
		cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("init", "-q", ".")
	write := func(name, text string) { os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755) }
	write("run.sh", "#!/bin/sh\necho one")
	write(".gitattributes", "* filter=evil\n")
	os.Symlink("run.sh", filepath.Join(dir, "link"))
	run("add", ".")
	run("commit", "-q", "-m", "one")
	run("tag", "v1")
	write("run.sh", "#!/bin/sh\necho two")
	run("commit", "-q", "-a", "-m", "two")
	return dir, run
}

func TestGit(t *testing.T) {
	dir, run := repository(t)
	first, second := run("rev-parse", "v1"), run("rev-parse", "HEAD")
	c := open(t, func(o *Options) { o.Folders = []string{filepath.Dir(dir)} })
	deliver := func(ref string) (string, string, error) {
		root, task := folder(t)
		var said []string
		err := c.Deliver(t.Context(), Order{Artifact: &structs.Artifact{Source: "git+file://" + dir, Ref: ref, Destination: "local/app", Mode: "0644"}, Root: root, UID: -1,
			Say: func(s string) { said = append(said, s) }})
		return draw(t, filepath.Join(task, "local")), strings.Join(said, "\n"), err
	}
	for ref, want := range map[string]string{"": "two", "main": "two", "v1": "one", first: "one", second: "two"} {
		got, _, err := deliver(ref)
		if err != nil || !strings.Contains(got, "app/run.sh -rwxr-xr-x #!/bin/sh\necho "+want) || !strings.Contains(got, "app/link run.sh") || strings.Contains(got, ".git/") {
			t.Errorf("%s: %v\n%s", ref, err, got)
		}
	}
	if _, said, err := deliver("main"); err != nil || !strings.Contains(said, "from the cache") {
		t.Errorf("what did not change: %q %v", said, err)
	}
	os.WriteFile(filepath.Join(dir, "run.sh"), []byte("three"), 0o755)
	run("commit", "-q", "-a", "-m", "three")
	if got, _, _ := deliver("main"); !strings.Contains(got, "three") {
		t.Errorf("a new commit: %s", got)
	}
	os.Rename(dir, dir+"-gone")
	if got, _, err := deliver(first); err != nil || !strings.Contains(got, "one") {
		t.Errorf("a commit that is here already: %v", err)
	}
	os.Rename(dir+"-gone", dir)
	for ref, kind := range map[string]structs.Kind{"none": structs.NotFound, "--upload-pack=touch /tmp/x": structs.Invalid, "a..b": structs.Invalid} {
		if _, _, err := deliver(ref); structs.KindOf(err) != kind {
			t.Errorf("%s: %s %v", ref, structs.KindOf(err), err)
		}
	}
	if left := left(t, c, "tmp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := open(t, nil).Get(t.Context(), Want{Source: "git+file://" + dir}); structs.KindOf(err) != structs.Forbidden {
		t.Errorf("where no folder is allowed: %v", err)
	}
}

// Over http, git talks to a server that leads elsewhere, asks for a password, or is none. Passwords stay out of what is said and out
// of the arguments.
func TestGitOverHTTP(t *testing.T) {
	dir, run := repository(t)
	run("update-server-info")
	files := http.StripPrefix("/repo.git", http.FileServer(http.Dir(filepath.Join(dir, ".git"))))
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case strings.HasPrefix(r.URL.Path, "/away"):
			http.Redirect(w, r, "file://"+dir, http.StatusFound)
		case user != "ann" || password != "hidden":
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "no", http.StatusUnauthorized)
		default:
			files.ServeHTTP(w, r)
		}
	})
	c := open(t, nil)
	with := func(who string) string { return "git+" + strings.Replace(url, "http://", "http://"+who, 1) }
	_, err := c.Get(t.Context(), Want{Source: with("ann:hidden@") + "/repo.git"})
	if err != nil && !strings.Contains(err.Error(), "dumb http") { // a server of plain files has no shallow copies
		t.Error(err)
	}
	for source, kind := range map[string]structs.Kind{with("") + "/repo.git": structs.Forbidden, with("ann:hidden2@") + "/repo.git": structs.Forbidden,
		with("") + "/away": structs.Unavailable} {
		_, err := c.Get(t.Context(), Want{Source: source})
		if structs.KindOf(err) != kind || strings.Contains(fmt.Sprint(err), "hidden") {
			t.Errorf("%s %v", structs.KindOf(err), err)
		}
	}
}

func TestTail(t *testing.T) {
	x := &tail{}
	for range 100 {
		x.Write(bytes.Repeat([]byte("x"), 1000))
	}
	if x.Len() > 4096 {
		t.Error(x.Len())
	}
}

// The example of Amazon's documentation of signatures.
func TestSignature(t *testing.T) {
	st := &Store{Region: "us-east-1", AccessKey: "AKIAIOSFODNN7EXAMPLE", SecretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
	r, _ := http.NewRequest("GET", "https://examplebucket.s3.amazonaws.com/test.txt", nil)
	r.Header.Set("Range", "bytes=0-9")
	st.sign(r, time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC))
	const want = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
		"Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	if got := r.Header.Get("Authorization"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestS3(t *testing.T) {
	content := pattern(1 << 20)
	var seen []string
	serveObject := cutting(content, 600<<10, true, func() string { return `"tag"` }, &seen)
	var paths, auths []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths, auths = append(paths, r.URL.EscapedPath()), append(auths, r.Header.Get("Authorization"))
		serveObject(w, r)
	})
	c := open(t, func(o *Options) {
		o.Stores = []Store{{Bucket: "mine", Endpoint: url, AccessKey: "K", SecretKey: "hidden"}, {Bucket: "", Endpoint: url + "/sub/"}}
	})
	if got, _ := get(t, c, Want{Source: "s3://mine/a%20b/ö.bin", Checksum: sum256(content)}); got != string(content) {
		t.Errorf("%d bytes", len(got))
	}
	if len(paths) != 2 || paths[0] != "/mine/a%20b/%C3%B6.bin" || !strings.Contains(auths[0], "SignedHeaders=host;x-amz-content-sha256;x-amz-date,") ||
		!strings.Contains(auths[1], "SignedHeaders=host;range;") {
		t.Errorf("asked for %q with %q", paths, auths)
	}
	paths, auths = nil, nil
	get(t, c, Want{Source: "s3://other/x"})
	if paths[0] != "/sub/other/x" || auths[0] != "" {
		t.Errorf("asked for %q with %q", paths, auths)
	}
	c.sources["s3"].(*s3).stores = nil
	if _, err := c.Get(t.Context(), Want{Source: "s3://mine/y"}); structs.KindOf(err) != structs.Forbidden {
		t.Error(err)
	}
}
