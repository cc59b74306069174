package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/proffer/proffer/structs"
)

// git is the program of that name. What comes of a repository is the tree of one commit as a tar archive, which is kept as any
// other file. No checkout is made: no hook, filter or submodule of the repository has a part in it.
type git struct {
	folders []string // that git+file:// may read
	tmp     string
}

var commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

func (*git) fixed(w *Want) bool { return commit.MatchString(w.Ref) }

func (g *git) fetch(ctx context.Context, j *job, p *part) (unchanged bool, err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return false, structs.Errorf(structs.Invalid, j.object, "the node has no git").Advise("install git on the node, or fetch an archive by https")
	}
	at := *j.url
	at.Scheme = strings.TrimPrefix(at.Scheme, "git+")
	if at.Scheme == "file" {
		if _, _, ok := within(g.folders, at.Path); !ok {
			return false, structs.Errorf(structs.Forbidden, j.object, "this node lets no job read it").
				Advise("client.artifact.folders of the node's configuration names folders that jobs may read")
		}
	}
	dir, err := os.MkdirTemp(g.tmp, "git-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	ref := j.Ref
	if ref == "" {
		ref = "HEAD"
	}
	r := &gitRun{g: g, j: j, dir: dir, at: &at}
	if err := r.credentials(); err != nil {
		return false, err
	}
	if err := r.run(ctx, nil, "init", "--quiet", "--bare", "--template="); err != nil {
		return false, err
	}
	if err := r.run(ctx, nil, "fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--end-of-options", r.address(), ref); err != nil {
		return false, err
	}
	var id bytes.Buffer
	if err := r.run(ctx, &id, "rev-parse", "--verify", "--end-of-options", "FETCH_HEAD^{commit}"); err != nil {
		return false, err
	}
	e := entry{ETag: strings.TrimSpace(id.String())}
	if j.known != nil && j.known.ETag == e.ETag {
		return true, nil
	}
	if err := p.restart(e); err != nil {
		return false, err
	}
	return false, r.run(ctx, p, "archive", "--format=tar", e.ETag)
}

// gitRun are the calls of one transfer.
type gitRun struct {
	g   *git
	j   *job
	dir string
	at  *url.URL
	env []string
}

// address is the repository without what is secret.
func (r *gitRun) address() string {
	u := *r.at
	u.User = nil
	return u.String()
}

// credentials passes a name and password of the address in the environment: arguments are seen by all of the machine.
func (r *gitRun) credentials() error {
	if r.at.User == nil {
		return nil
	}
	password, _ := r.at.User.Password()
	r.env = append(r.env, "PROFFER_GIT_USER="+r.at.User.Username(), "PROFFER_GIT_PASSWORD="+password)
	// A fixed text; git runs it with what it wants to know.
	r.env = append(r.env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper",
		`GIT_CONFIG_VALUE_0=!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$PROFFER_GIT_USER" "$PROFFER_GIT_PASSWORD"; }; f`)
	return nil
}

// run calls git with what it says on stdout going to out. Nothing of the node's configuration or of the environment counts, and
// nothing is asked of anybody.
func (r *gitRun) run(ctx context.Context, out io.Writer, args ...string) error {
	fixed := []string{"-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.allow=never", "-c", "protocol." + r.at.Scheme + ".allow=always",
		"-c", "http.followRedirects=initial", "-c", "safe.directory=*", "-c", "gc.auto=0", "-c", "tar.umask=0022", "-c", "transfer.fsckObjects=true", "-c", "fetch.fsckObjects=true"}
	cmd := exec.CommandContext(ctx, "git", append(fixed, args...)...)
	cmd.Dir = r.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.dir, "GIT_DIR=" + r.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/true", "GIT_ATTR_NOSYSTEM=1", "GIT_PROTOCOL_FROM_USER=0"}, r.env...)
	for _, name := range []string{"https_proxy", "http_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY"} {
		if v := os.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	said := &tail{}
	written := &broken{to: out}
	cmd.Stdout, cmd.Stderr = io.Discard, said
	if out != nil {
		cmd.Stdout = written
	}
	ownGroup(cmd)
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case written.err != nil:
		return written.err
	}
	text := said.String()
	for _, secret := range r.secrets() {
		text = strings.ReplaceAll(text, secret, "<secret>")
	}
	kind := structs.Unavailable
	switch {
	case strings.Contains(text, "No space left on device"):
		kind = structs.Exhausted
	case strings.Contains(text, "couldn't find remote ref"), strings.Contains(text, "not our ref"), strings.Contains(text, "does not appear to be a git repository"),
		strings.Contains(text, "not found"):
		kind = structs.NotFound
	case strings.Contains(text, "Authentication failed"), strings.Contains(text, "could not read Username"), strings.Contains(text, "not allowed"):
		kind = structs.Forbidden
	}
	var code *exec.ExitError
	if !errors.As(err, &code) {
		return structs.Errorf(structs.Unavailable, r.j.object, "git cannot be run: %w", err)
	}
	return structs.Errorf(kind, r.j.object, "git %s: %s", args[0], hint(text))
}

func (r *gitRun) secrets() (out []string) {
	if r.at.User == nil {
		return nil
	}
	if password, _ := r.at.User.Password(); password != "" {
		out = append(out, password)
	}
	return out
}

// tail keeps the last of what is written.
type tail struct{ bytes.Buffer }

func (t *tail) Write(b []byte) (int, error) {
	t.Buffer.Write(b)
	if n := t.Len(); n > 4096 {
		t.Next(n - 4096)
	}
	return len(b), nil
}

// broken remembers what could not be written.
type broken struct {
	to  io.Writer
	err error
}

func (b *broken) Write(p []byte) (int, error) {
	n, err := b.to.Write(p)
	if err != nil {
		b.err = err
	}
	return n, err
}
