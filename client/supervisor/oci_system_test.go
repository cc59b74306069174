//go:build linux && system

package supervisor_test

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/drivers/conformance"
	"github.com/proffer/proffer/drivers/oci"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// pier is a node with images of busybox and what counts what containers leave behind.
type pier struct {
	*node
	store *images.Store
	image string // in a registry of this process
	opts  oci.Options

	number atomic.Int64
}

func newPier(t testing.TB) *pier {
	if os.Geteuid() != 0 {
		t.Fatal("the system tests need root")
	}
	before, here := census(t), ""
	t.Cleanup(func() { // the last one: the supervisor has ended as well
		for what, now := range census(t) {
			for _, one := range now {
				if !slices.Contains(before[what], one) && strings.Contains(one, here) {
					t.Errorf("%s: %s was not there before", what, one)
				}
			}
		}
	})
	n := newNode(t)
	here = n.dir
	p := &pier{node: n, image: busybox(t)}
	store, err := images.Open(filepath.Join(n.dir, "images"), images.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.store = store
	p.opts = oci.Options{Dir: filepath.Join(n.dir, "containers"), Runtime: os.Getenv("OCI_RUNTIME"), HostPaths: []string{filepath.Join(n.dir, "shared")}}
	t.Cleanup(func() {
		store.Close()
		if left, _ := filepath.Glob(filepath.Join(n.dir, "containers", "*", "*")); len(left) > 0 {
			t.Errorf("of containers there is left: %v", left)
		}
		if holds, err := os.ReadDir(filepath.Join(n.dir, "images", "holds")); err != nil || len(holds) > 0 {
			t.Errorf("images are still used: %v %v", holds, err)
		}
	})
	return p
}

func (p *pier) driver() *oci.Driver { return oci.New(p.client, p.store, p.opts) }

// folder makes one that tasks can reach.
func (p *pier) folder(t *testing.T) string {
	dir, err := os.MkdirTemp(p.dir, "tasks")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// census lists what containers could leave on a host: mounts, and processes by their root or command line.
func census(t testing.TB) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	out["mounts"] = strings.Split(string(raw), "\n")
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lines {
		raw, _ := os.ReadFile(l)
		out["processes"] = append(out["processes"], l+" "+strings.ReplaceAll(string(raw), "\x00", " "))
	}
	return out
}

// busybox builds an image of the host's static busybox and serves it from this process.
func busybox(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal("there is no busybox: apt-get install busybox-static")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, body []byte) {
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		w.Write(body)
	}
	for _, dir := range []string{"./", "bin/", "etc/", "tmp/", "home/"} {
		put(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	}
	put(tar.Header{Name: "bin/busybox", Mode: 0o755}, raw)
	for _, name := range []string{"sh", "sleep", "printf", "dd", "stty", "cat", "echo", "true", "kill", "id", "ls", "touch", "mount", "env", "hostname", "mknod", "wc", "head", "test", "[", "mv", "setsid", "tail", "tr", "readlink"} {
		put(tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
	}
	put(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0:root:/root:/bin/sh\napp:x:4321:4322:app:/home:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"))
	put(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\napp:x:4322:\nextra:x:4400:app\n"))
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	im, err := mutate.AppendLayers(empty.Image, layer)
	if err == nil {
		im, err = mutate.Config(im, v1.Config{Cmd: []string{"/bin/sh"}, User: "app", Env: []string{"FROM=image"}, WorkingDir: "/home"})
	}
	if err != nil {
		t.Fatal(err)
	}
	hub := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(hub.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(hub.URL, "http://") + "/busybox:1")
	if err == nil {
		err = remote.Write(ref, im)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

// TestOCIConformance: containers keep the contract of drivers, with the runtime that the node chooses.
func TestOCIConformance(t *testing.T) {
	p := newPier(t)
	conformance.Run(t, &conformance.Harness{
		New: func(t *testing.T) drivers.Driver {
			p.opts.Profiles = conformance.Profiles(t)
			return p.driver()
		},
		Config: func(s conformance.Script) map[string]any {
			return map[string]any{"image": p.image, "command": "/bin/sh", "args": []any{"-c", s.Shell()}}
		},
		Named: func(program, arg0 string, args ...any) map[string]any {
			return map[string]any{"image": p.image, "command": program, "arg0": arg0, "args": args}
		},
		Bad: []map[string]any{{}, {"image": 5}, {"image": "UPPER CASE"}, {"image": p.image, "network_mode": "bridge"},
			{"image": p.image, "cap_add": []any{"sys_admin"}}},
		Folder: p.folder, Limits: true, Mounts: true, Profiles: true, Slow: true, Commands: true,
	})
}

// Limits that the kernel gives nobody here end the start for good, whichever runtime says so.
func TestOCILimitsOfTheNode(t *testing.T) {
	p := newPier(t)
	raw, err := os.ReadFile("/proc/sys/fs/nr_open")
	if err != nil {
		t.Fatal(err)
	}
	for _, runtime := range []string{"runc", "crun"} {
		p.opts.Runtime = runtime
		d := p.driver()
		if f := d.Fingerprint(t.Context()); !f.Healthy {
			t.Logf("without %s: %s", runtime, f.Why)
			continue
		}
		_, err = d.Start(t.Context(), p.container("true", map[string]any{"ulimit": map[string]any{"nofile": strings.TrimSpace(string(raw)) + "0"}}))
		if structs.KindOf(err) != structs.Forbidden {
			t.Errorf("%s: %v", runtime, err)
		}
	}
}

// TestOCICrun: crun leaves another process between than runc does. Where it can be used, containers of it are adopted too.
func TestOCICrun(t *testing.T) {
	p := newPier(t)
	p.opts.Runtime = "crun"
	if f := p.driver().Fingerprint(t.Context()); !f.Healthy {
		t.Skip(f.Why)
	}
	for range 3 {
		if exit, out := p.run(t, p.container("echo hi; exit 5", nil)); exit.Code != 5 || out != "hi\n" {
			t.Errorf("%+v %q", exit, out)
		}
	}
	s := p.container("while :; do sleep 1; done", nil)
	task, err := p.driver().Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if exit, err := task.Exec(t.Context(), drivers.Command{Args: []string{"sh", "-c", "echo in; exit 3"}, Stdout: &out}); err != nil || exit.Code != 3 || out.String() != "in\n" {
		t.Errorf("%+v %v %q", exit, err, out.String())
	}
	if err := task.Stop(t.Context(), "SIGTERM", 0); err != nil {
		t.Error(err)
	}
	if exit, err := task.Wait(t.Context()); err != nil || exit.Signal != 9 {
		t.Errorf("%+v %v", exit, err)
	}
	if err := task.Destroy(t.Context()); err != nil {
		t.Error(err)
	}
}
