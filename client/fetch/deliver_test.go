package fetch

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/structs"
)

// folder makes a task folder.
func folder(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"local", "secrets", "tmp"} {
		os.Mkdir(filepath.Join(dir, sub), 0o755)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// draw lists files and links below a folder.
func draw(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, _ := d.Info()
		what, _ := os.Readlink(path)
		if info.Mode().IsRegular() {
			raw, _ := os.ReadFile(path)
			what = fmt.Sprintf("%v %.40s", info.Mode(), raw)
		}
		lines = append(lines, name+" "+what)
		return nil
	})
	return strings.Join(lines, "\n")
}

func tarOf(t *testing.T, entries ...evil.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := evil.Tar(&b, entries); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t *testing.T, entries ...evil.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.Name, Method: zip.Deflate}
		mode, body := fs.FileMode(e.Mode), e.Body
		switch e.Kind {
		case tar.TypeSymlink:
			mode, body = 0o777|fs.ModeSymlink, e.Link
		case tar.TypeLink:
			continue
		case tar.TypeChar, tar.TypeBlock:
			mode = 0o666 | fs.ModeDevice
		}
		if strings.HasSuffix(e.Name, "/") {
			mode |= fs.ModeDir
		}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, body)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, name string, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch {
	case strings.HasSuffix(name, "gz"):
		w = gzip.NewWriter(&b)
	case strings.HasSuffix(name, "zst"):
		w, _ = zstd.NewWriter(&b)
	case strings.HasSuffix(name, "bz2"), strings.HasSuffix(name, "xz"):
		program := map[bool]string{true: "xz", false: "bzip2"}[strings.HasSuffix(name, "xz")]
		cmd := exec.Command(program, "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(raw), &b
		if err := cmd.Run(); err != nil {
			t.Skip(program, ": ", err)
		}
		return b.Bytes()
	default:
		return raw
	}
	w.Write(raw)
	w.Close()
	return b.Bytes()
}

func TestUnpacked(t *testing.T) {
	good := []evil.Entry{{Name: "app/", Mode: 0o755}, {Name: "app/run", Body: "#!/bin/sh", Mode: 0o4755}, {Name: "app/link", Link: "/abs/olute", Kind: tar.TypeSymlink}}
	for _, name := range []string{"a.tar", "a.tar.gz", "a.tgz", "a.tar.zst", "a.tar.bz2", "a.tar.xz", "a.txz", "a.zip", "A.ZIP"} {
		t.Run(name, func(t *testing.T) {
			raw := packed(t, name, tarOf(t, good...))
			if strings.HasSuffix(strings.ToLower(name), "zip") {
				raw = zipOf(t, good...)
			}
			url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(raw) })
			root, dir := folder(t)
			a := &structs.Artifact{Source: url + "/" + name + "?x=y", Destination: "local/deep/er", Mode: "0644"}
			var said []string
			o := Order{Artifact: a, Root: root, UID: -1, Say: func(s string) { said = append(said, s) }}
			if os.Geteuid() == 0 {
				o.UID, o.GID = 65534, 65534
			}
			c := open(t, nil)
			for range 2 { // again over what is there
				if err := c.Deliver(t.Context(), o); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := draw(t, dir), "local/deep/er/app/link /abs/olute\nlocal/deep/er/app/run -rwxr-xr-x #!/bin/sh"; got != want {
				t.Errorf("got\n%s", got)
			}
			if !strings.Contains(strings.Join(said, "\n"), url+"/"+name+": 1 files") {
				t.Errorf("said %q", said)
			}
			// As it is, when it shall be.
			no := false
			a.Unpack, a.Name, a.Destination, a.Mode = &no, "whole", "tmp", "0600"
			if err := c.Deliver(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(filepath.Join(dir, "tmp/whole")); err != nil || info.Size() != int64(len(raw)) || info.Mode() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
		})
	}
}

// TestEscape: archives and orders that would write outside of the task folder.
func TestEscape(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	os.WriteFile(victim, []byte("untouched"), 0o600)
	unharmed := func(t *testing.T) {
		t.Helper()
		if raw, err := os.ReadFile(victim); string(raw) != "untouched" {
			t.Errorf("the victim is %q, %v", raw, err)
		}
		if info, _ := os.Stat(outside); info.Mode().Perm() == 0o777 {
			t.Error("the folder outside was opened")
		}
		if list, _ := os.ReadDir(outside); len(list) != 1 {
			t.Errorf("outside is %v", list)
		}
	}
	var now []byte
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(now) })
	c := open(t, func(o *Options) { o.MaxUnpacked = 8 << 20 })
	archives := evil.Archives(victim)
	archives["bomb"] = []evil.Entry{{Name: "a", Body: strings.Repeat("0", 5<<20)}, {Name: "b", Body: strings.Repeat("0", 5<<20)}}
	for name, entries := range archives {
		for _, form := range []string{"x.tar.gz", "x.zip"} {
			t.Run(name+" "+form, func(t *testing.T) {
				if now = packed(t, form, tarOf(t, entries...)); form == "x.zip" {
					now = zipOf(t, entries...)
				}
				root, dir := folder(t)
				err := c.Deliver(t.Context(), Order{Artifact: &structs.Artifact{Source: url + "/" + form, Destination: "local", Mode: "0644"}, Root: root, UID: -1})
				if kind := structs.KindOf(err); err != nil && kind != structs.Invalid {
					t.Errorf("%s: %v", kind, err)
				}
				if form == "x.tar.gz" && slices.Contains([]string{"bomb", "dots", "absolute", "through an absolute link", "hard link to the outside", "more than the node takes"}, name) && err == nil {
					t.Error("it was taken")
				}
				unharmed(t)
				filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
					if d != nil && d.Type()&(fs.ModeDevice|fs.ModeNamedPipe) != 0 {
						t.Errorf("%s is %v", path, d.Type())
					}
					return nil
				})
			})
		}
	}

	now = []byte("pwned")
	for what, order := range map[string]struct {
		a    structs.Artifact
		link string // made a link to the outside by the task's earlier start
	}{
		"a destination above":        {structs.Artifact{Destination: "local/../../x"}, ""},
		"an absolute destination":    {structs.Artifact{Destination: outside}, ""},
		"the task folder itself":     {structs.Artifact{Destination: "."}, ""},
		"a folder that is a link":    {structs.Artifact{Destination: "local/l"}, "local/l"},
		"below a link":               {structs.Artifact{Destination: "local/l/deep"}, "local/l"},
		"local itself a link":        {structs.Artifact{Destination: "local"}, "local"},
		"a name with a slash":        {structs.Artifact{Destination: "local", Name: "../victim"}, ""},
		"a name that is dots":        {structs.Artifact{Destination: "local", Name: ".."}, ""},
		"a name made by the address": {structs.Artifact{Destination: "local", Source: "/%2e%2e"}, ""},
		"a slash in the address":     {structs.Artifact{Destination: "local", Source: "/x%2f..%2f..%2fvictim"}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			root, dir := folder(t)
			if order.link != "" {
				os.RemoveAll(filepath.Join(dir, order.link))
				os.Symlink(outside, filepath.Join(dir, order.link))
			}
			a := order.a
			a.Mode = "0644"
			if a.Source = url + a.Source; a.Source == url {
				a.Source += "/victim"
			}
			err := c.Deliver(t.Context(), Order{Artifact: &a, Root: root, UID: -1})
			if structs.KindOf(err) != structs.Invalid && what != "a slash in the address" {
				t.Errorf("%s: %v", structs.KindOf(err), err)
			}
			unharmed(t)
			if _, err := os.Stat(filepath.Join(dir, "victim")); err == nil {
				t.Error("it is in the task folder itself")
			}
		})
	}
	// A file that is a link is replaced, not written through.
	root, dir := folder(t)
	os.Symlink(victim, filepath.Join(dir, "local/victim"))
	if err := c.Deliver(t.Context(), Order{Artifact: &structs.Artifact{Source: url + "/victim", Destination: "local", Mode: "0644"}, Root: root, UID: -1}); err != nil {
		t.Error(err)
	}
	unharmed(t)
	if raw, _ := os.ReadFile(filepath.Join(dir, "local/victim")); string(raw) != "pwned" {
		t.Errorf("%q", raw)
	}
}

// A zip file whose directory alone would fill the memory is refused before it is read.
func TestZipDirectoryBomb(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	name := strings.Repeat("n", 60_000)
	for i := range 1200 {
		h := &zip.FileHeader{Name: fmt.Sprint(i, name)}
		if _, err := w.CreateRaw(h); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(b.Bytes()) })
	root, dir := folder(t)
	err := open(t, nil).Deliver(t.Context(), Order{Artifact: &structs.Artifact{Source: url + "/a.zip", Destination: "local", Mode: "0644"}, Root: root, UID: -1})
	if structs.KindOf(err) != structs.Invalid || !strings.Contains(err.Error(), "directory") {
		t.Error(err)
	}
	if got := draw(t, dir); got != "" {
		t.Errorf("made %.200s", got)
	}
}
