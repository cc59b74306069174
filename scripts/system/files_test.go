//go:build linux && system

package system

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/proffer/proffer/agent/api"
	"github.com/proffer/proffer/structs"
	"github.com/proffer/proffer/website"
)

// archive is a tar.gz of files by name.
func archive(t *testing.T, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
	}
	w.Close()
	z.Close()
	return b.Bytes()
}

// inRegistry puts a root into a registry as an image, and a program as an artifact, whose digest it returns.
func inRegistry(t *testing.T, root []byte, program string) (host, digest string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	host = strings.TrimPrefix(s.URL, "http://")
	for ref, layer := range map[string]v1.Layer{"rootfs:v1": static.NewLayer(root, types.OCILayer), "tool:1": static.NewLayer([]byte(program), "application/x-program")} {
		to, err := name.ParseReference(host + "/team/" + ref)
		if err != nil {
			t.Fatal(err)
		}
		im := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		if ref == "tool:1" {
			im = mutate.ConfigMediaType(im, "application/vnd.oci.empty.v1+json")
		}
		im, err = mutate.Append(im, mutate.Addendum{Layer: layer})
		if err == nil {
			err = remote.Write(to, im)
		}
		var d v1.Hash
		if err == nil {
			d, err = im.Digest()
		}
		if err != nil {
			t.Fatal(err)
		}
		if ref == "tool:1" {
			digest = d.String()
		}
	}
	return host, digest
}

func sumOf(b []byte) string { s := sha256.Sum256(b); return "sha256:" + hex.EncodeToString(s[:]) }

// examples are the jobs of a page of the documentation.
func examples(t *testing.T, page string, count int) (texts []string) {
	t.Helper()
	raw, err := website.Files.ReadFile("docs/" + page + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range jobExample.FindAllSubmatch(raw, -1) {
		texts = append(texts, string(m[1]))
	}
	if len(texts) != count {
		t.Fatalf("%d examples, not %d", len(texts), count)
	}
	return texts
}

// ended waits for the end of the only allocation of a batch job.
func (r *region) ended(job string) *structs.Allocation {
	r.t.Helper()
	var last *structs.Allocation
	await(r.t, "the end of "+job, func() error {
		if last = r.allocOf(job); !last.Ended() {
			return fmt.Errorf("it is %s: %s", last.Status, last.Why)
		}
		return nil
	})
	return last
}

var anySum = regexp.MustCompile(`sha256:0{64}`)

// TestArtifacts: the example of the documentation, a second allocation that has all of it from the cache, an agent killed in the middle of
// a transfer, and sources that are not what they should be.
func TestArtifacts(t *testing.T) {
	t.Parallel()
	tool := archive(t, "name.txt", "world\n")
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	tree := archive(t, "bin/ls", string(busybox), "etc/own", "")
	greet := "#!/bin/sh\necho hello; id -u; cat \"$1\"; ls -ln /local | grep greet | cut -d' ' -f1,3\n"
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var sent atomic.Int64
	var half atomic.Bool // who asks for large gets half of it, and then nothing
	half.Store(true)
	reached := make(chan struct{}, 100)
	var ranges atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Add(1)
		w.Header().Set("ETag", `"`+r.URL.Path+`"`)
		switch r.URL.Path {
		case "/tool.tar.gz":
			w.Write(tool)
		case "/rootfs.tar.gz":
			w.Write(tree)
		case "/greet":
			if r.Header.Get("If-None-Match") != "" {
				sent.Add(-1)
				w.WriteHeader(http.StatusNotModified)
				return
			}
			io.WriteString(w, greet)
		case "/large":
			from := 0
			if fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); from > 0 {
				ranges.Store(r.Header.Get("Range"))
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(large)-1, len(large)))
				w.WriteHeader(http.StatusPartialContent)
			} else {
				w.Header().Set("Content-Length", fmt.Sprint(len(large)))
			}
			if half.Load() {
				w.Write(large[from : len(large)/2])
				w.(http.Flusher).Flush()
				reached <- struct{}{}
				<-r.Context().Done()
				return
			}
			w.Write(large[from:])
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	r := newRegion(t)
	a := single(r)
	text := examples(t, "files", 4)[0]
	text = anySum.ReplaceAllString(strings.ReplaceAll(text, "https://files.example.com", server.URL), sumOf(tool))
	const want = "hello\n65534\nworld\n-rwxr-xr-x 65534\n"
	for i, name := range []string{"fetch", "again"} {
		job := r.file(name+".hcl", strings.Replace(text, `job "fetch"`, fmt.Sprintf("job %q", name), 1))
		a.must("job", "validate", job)
		a.must("job", "run", "-detach", job)
		one := r.ended(name)
		if out := a.must("alloc", "logs", string(one.ID)); out != want || one.Status != structs.AllocComplete {
			t.Errorf("%s: %s, %s, %q", name, one.Status, one.Why, out)
		}
		if n := sent.Load(); n != 2 {
			t.Errorf("after %d jobs %d files were sent", i+1, n)
		}
	}

	a.must("job", "run", "-detach", r.file("rooted.hcl", strings.ReplaceAll(examples(t, "files", 4)[2], "https://files.example.com", server.URL)))
	one := r.ended("rooted")
	if out := a.must("alloc", "logs", string(one.ID)); out != "alloc\nbin\ndev\netc\nlocal\nproc\nsecrets\ntmp\n" {
		t.Errorf("with a root of its own: %s, %s, %q", one.Status, one.Why, out)
	}

	host, digest := inRegistry(t, archive(t, "bin/sh", string(busybox)), "#!/bin/sh\necho of a registry\n")
	text = anySum.ReplaceAllString(strings.ReplaceAll(examples(t, "files", 4)[1], "registry.example.com", host), digest)
	a.must("job", "run", "-detach", r.file("from-registry.hcl", text))
	one = r.ended("from-registry")
	if out := a.must("alloc", "logs", string(one.ID)); out != "of a registry\n" {
		t.Errorf("from a registry: %s, %s, %q", one.Status, one.Why, out)
	}

	batch := func(name, artifact, script string) string {
		text := strings.Replace(service(name, 1, script), "{\n  group", "{\n  type = \"batch\"\n  group", 1)
		text = strings.Replace(text, "    count = 1\n", "    count = 1\n    reschedule {\n      attempts = 0\n    }\n", 1)
		return r.file(name+".hcl", strings.Replace(text, "    task \"t\" {\n", "    task \"t\" {\n      artifact {\n"+artifact+"      }\n", 1))
	}
	a.must("job", "run", "-detach", batch("large", fmt.Sprintf("source = %q\nchecksum = %q\n", server.URL+"/large", sumOf(large)), "cat /local/large | wc -c"))
	<-reached
	await(t, "it says how far it is", func() error {
		if out := a.must("alloc", "status", string(r.allocOf("large").ID)); !strings.Contains(out, "512KiB of 1MiB") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	a.kill()
	half.Store(false)
	a.launch()
	a.await()
	if one := r.ended("large"); one.Status != structs.AllocComplete {
		t.Errorf("after the agent was killed: %s, %s", one.Status, one.Why)
	} else if out := a.must("alloc", "logs", string(one.ID)); strings.TrimSpace(out) != fmt.Sprint(len(large)) {
		t.Errorf("after the agent was killed: %q", out)
	}
	if ranges.Load() == nil {
		t.Error("what had arrived was fetched again")
	}

	for name, c := range map[string][2]string{
		"wrong": {fmt.Sprintf("source = %q\nchecksum = %q\n", server.URL+"/greet", sumOf(tool)), "the checksum does not match"},
		"none":  {fmt.Sprintf("source = %q\n", server.URL+"/none?token=hidden"), "404"},
		"local": {`source = "file:///etc/passwd"` + "\n", "this node lets no job read it"},
	} {
		a.must("job", "run", "-detach", batch(name, c[0], "echo started"))
		one := r.ended(name)
		if one.Status != structs.AllocFailed || !strings.Contains(one.Why, c[1]) || strings.Contains(one.Why, "hidden") {
			t.Errorf("%s: %s, %s", name, one.Status, one.Why)
		}
	}
	a.proffer("job", "run", batch("out", `source = "https://example.com/x"`+"\n"+`destination = "../x"`+"\n", "true")).
		has(t, "a destination outside", 4, "", "is not a path below the task folder")
}

// TestTemplateChanges: what a template says changes with the job and with the node, while its task runs.
func TestTemplateChanges(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := r.agent("a", "-server", "-client", "-bootstrap-expect", "1")
	rack := func(name string) { a.inClient = fmt.Sprintf("  meta {\n    rack = %q\n  }\n", name) }
	rack("r1")
	r.startAll()
	text := examples(t, "files", 4)[3]
	a.must("job", "run", r.file("site.hcl", text))
	one := r.allocs("site", 1)[0]
	says := func(alloc *structs.Allocation, what string, want ...string) {
		t.Helper()
		await(t, what, func() error {
			out := a.must("alloc", "logs", string(alloc.ID)) + a.must("alloc", "status", string(alloc.ID))
			for _, w := range want {
				if !strings.Contains(out, w) {
					return fmt.Errorf("no %q in %s", w, out)
				}
			}
			return nil
		})
	}
	a.must("job", "run", r.file("site.hcl", strings.Replace(text, "first", "second", 1)))
	says(one, "the job's new text", "title = second\nrack  = r1\n", "local/site.conf changed", "SIGHUP sent")

	script := strings.NewReplacer(`"site"`, `"script"`, `"signal"`, `"script"`, "change_signal = \"SIGHUP\"", `change_script = ["/bin/sh", "-c", "cat /local/site.conf >/local/seen; exit 3"]`).Replace(text)
	restart := strings.NewReplacer(`"site"`, `"restart"`, `"signal"`, `"restart"`, "change_signal = \"SIGHUP\"", "", "trap 'cat /local/site.conf' HUP;", "cat /local/site.conf;").Replace(text)
	a.must("job", "run", r.file("script.hcl", script))
	a.must("job", "run", r.file("restart.hcl", restart))
	scripted, restarted := r.allocs("script", 1)[0], r.allocs("restart", 1)[0]
	rack("r2")
	a.writeConfig()
	a.signal(syscall.SIGHUP)
	says(one, "the node's new meta", "title = second\nrack  = r2\n")
	says(scripted, "a script", "/bin/sh ran, and failed: exit code 3")
	if out := a.must("alloc", "fs", string(scripted.ID), "t/local/seen"); out != "title = first\nrack  = r2\n" {
		t.Errorf("the script saw %q", out)
	}
	says(restarted, "a restart", "title = first\nrack  = r1\ntitle = first\nrack  = r2\n", "template local/site.conf changed")

	// What was written before the agent was killed is known to the next one.
	a.kill()
	a.launch()
	a.await()
	a.must("job", "run", r.file("site.hcl", strings.Replace(text, "first", "third", 1)))
	says(one, "a change after a restart of the agent", "title = third\nrack  = r2\n")
	for job, alloc := range map[string]*structs.Allocation{"site": one, "script": scripted, "restart": restarted} {
		if now := r.allocs(job, 1)[0]; now.ID != alloc.ID {
			t.Errorf("%s was replaced", job)
		}
	}
}

// TestDispatch: the example of the documentation. A form runs nothing itself and stays, and a dispatch that is repeated is one.
func TestDispatch(t *testing.T) {
	t.Parallel()
	r := newRegion(t)
	a := single(r)
	for _, text := range examples(t, "jobs", 5) {
		if strings.HasPrefix(text, `job "render"`) {
			a.proffer("job", "run", r.file("render.hcl", text)).has(t, "a form", 0, "proffer job dispatch render", "")
		}
	}
	input := r.file("input", "a cube\n")
	out := a.must("job", "dispatch", "-meta", "scene=7", "render", input)
	var child string
	if _, err := fmt.Sscanf(out, "Job \"render\" dispatched as %q", &child); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if out := a.must("alloc", "logs", string(r.ended(child).ID)); out != "rendering 7\na cube\n" {
		t.Errorf("it printed %q", out)
	}
	for what, args := range map[string][]string{`meta.scene`: {"render"}, "meta.scne": {"-meta", "scne=7", "render"}} {
		a.proffer(append([]string{"job", "dispatch"}, args...)...).has(t, what, 4, "", what)
	}
	send := func(key string) (answer api.JobSubmitted) {
		t.Helper()
		request, _ := http.NewRequest("POST", a.url()+"/v1/job/render/dispatch", strings.NewReader(`{"meta": {"scene": "8"}, "payload": "eA=="}`))
		request.Header.Set("Authorization", "Bearer "+r.token)
		request.Header.Set("Idempotency-Key", key)
		request.Header.Set("Content-Type", "application/json")
		got, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		if err := json.NewDecoder(got.Body).Decode(&answer); err != nil || got.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v", got.Status, err)
		}
		return answer
	}
	first, again, other := send("one"), send("one"), send("two")
	if first.Name != again.Name || first.Version != again.Version || first.Name == other.Name {
		t.Errorf("%+v, %+v, %+v", first, again, other)
	}
	if out := a.must("alloc", "logs", string(r.ended(first.Name).ID)); out != "rendering 8\nx" {
		t.Errorf("it printed %q", out)
	}
	await(t, "all that was dispatched", func() error {
		if out := a.must("job", "status", "render"); !strings.Contains(out, "3 jobs: 3 complete") || !strings.Contains(out, other.Name) {
			return fmt.Errorf("the form says %s", out)
		}
		return nil
	})
	if out := a.must("job", "status", "render"); !strings.Contains(out, "pending") || !strings.Contains(out, "parameterized") {
		t.Errorf("the form itself: %s", out)
	}
	a.must("job", "stop", "render")
	a.proffer("job", "dispatch", "-meta", "scene=9", "render").has(t, "a form that was stopped", 5, "", "it is stopped")
}
