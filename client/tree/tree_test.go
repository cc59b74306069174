package tree

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

func root(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

// draw lists what is below a folder: mode, name, and content or target.
func draw(t *testing.T, dir string) (lines []string) {
	t.Helper()
	filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		name, _ := filepath.Rel(dir, at)
		info, _ := d.Info()
		what := ""
		switch {
		case name == ".":
			return nil
		case info.Mode()&fs.ModeSymlink != 0:
			what, _ = os.Readlink(at)
			what = " -> " + what
			lines = append(lines, name+what)
			return nil
		case info.Mode().IsRegular():
			raw, _ := os.ReadFile(at)
			what = " " + string(raw)
		}
		lines = append(lines, fmt.Sprintf("%v %s%s", info.Mode(), name, what))
		return nil
	})
	return lines
}

func TestThereAndBack(t *testing.T) {
	from, dir := root(t)
	for _, name := range []string{"data/empty", "data/sub/deep", "data/secrets"} {
		os.MkdirAll(filepath.Join(dir, name), 0o755)
	}
	os.WriteFile(filepath.Join(dir, "data/a"), []byte("alpha"), 0o640)
	os.WriteFile(filepath.Join(dir, "data/sub/deep/run"), []byte("#!"), 0o755)
	os.WriteFile(filepath.Join(dir, "data/secrets/key"), []byte("key"), 0o600)
	os.Symlink("../a", filepath.Join(dir, "data/sub/link"))
	os.Symlink("/etc/passwd", filepath.Join(dir, "data/out"))
	if err := unix.Mkfifo(filepath.Join(dir, "data/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	skip := func(name string) bool { return name == "data/secrets" }
	if err := Pack(t.Context(), from, "data", "copy", skip, &b); err != nil {
		t.Fatal(err)
	}
	to, back := root(t)
	files, size, err := Unpack(t.Context(), to, ".", -1, -1, &b)
	if err != nil || files != 2 || size != 7 {
		t.Errorf("%d files, %d bytes, %v", files, size, err)
	}
	want := []string{"drwxr-xr-x copy", "-rw-r----- copy/a alpha", "drwxr-xr-x copy/empty", "copy/out -> /etc/passwd", "drwxr-xr-x copy/sub", "drwxr-xr-x copy/sub/deep",
		"-rwxr-xr-x copy/sub/deep/run #!", "copy/sub/link -> ../a"}
	if got := draw(t, back); !slices.Equal(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}

	// One file, over one that is there, and a link by itself.
	b.Reset()
	if err := Pack(t.Context(), from, "data/a", "run", nil, &b); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Unpack(t.Context(), to, "copy/sub/deep", -1, -1, &b); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(filepath.Join(back, "copy/sub/deep/run")); string(raw) != "alpha" {
		t.Errorf("%q", raw)
	}
	if err := Pack(t.Context(), from, "none", "x", nil, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := Pack(t.Context(), from, "data/pipe", "x", nil, io.Discard); structs.KindOf(err) != structs.Invalid {
		t.Errorf("a pipe by itself: %v", err)
	}
}

// What a stream tries that is not meant well is refused, and nothing outside of the folder is touched.
func TestNothingLeavesTheFolder(t *testing.T) {
	file := func(name string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 4, Mode: 0o6777}
	}
	link := func(name, target string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}
	}
	for what, entries := range map[string][]*tar.Header{
		"up":                      {file("../evil")},
		"up and down":             {file("a/../../evil")},
		"absolute":                {file("/evil")},
		"through a link":          {link("l", ".."), file("l/evil")},
		"through a link inside":   {link("l", "sub"), file("l/evil")},
		"through a far link":      {link("l", "/"), file("l/evil")},
		"a folder that is a link": {link("l", ".."), {Name: "l", Typeflag: tar.TypeDir, Mode: 0o777}},
		"hard link":               {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../kept"}},
		"device":                  {{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
		"pipe":                    {{Name: "p", Typeflag: tar.TypeFifo}},
		"itself":                  {file(".")},
		"a folder as a file":      {file("sub")},
		"too large":               {{Name: "big", Typeflag: tar.TypeReg, Size: MaxBytes + 1}},
	} {
		t.Run(what, func(t *testing.T) {
			r, dir := root(t)
			os.MkdirAll(filepath.Join(dir, "box/sub"), 0o755)
			os.WriteFile(filepath.Join(dir, "kept"), []byte("kept"), 0o600)
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, h := range entries {
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
				if h.Typeflag == tar.TypeReg && h.Size == 4 {
					io.WriteString(w, "evil")
				}
			}
			w.Flush()
			if _, _, err := Unpack(t.Context(), r, "box", -1, -1, &b); err == nil {
				t.Error("it was taken")
			}
			for _, line := range draw(t, dir) {
				if strings.HasSuffix(line, "evil") {
					t.Error(line)
				}
			}
			if raw, _ := os.ReadFile(filepath.Join(dir, "kept")); string(raw) != "kept" {
				t.Errorf("the file beside it has %q", raw)
			}
		})
	}
	// Bits that would give rights away are dropped.
	r, dir := root(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(file("suid"))
	io.WriteString(w, "evil")
	w.Close()
	if _, _, err := Unpack(t.Context(), r, ".", -1, -1, &b); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(filepath.Join(dir, "suid")); info.Mode() != 0o777 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestCutShort(t *testing.T) {
	r, dir := root(t)
	os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte("x"), 100_000), 0o600)
	var b bytes.Buffer
	if err := Pack(t.Context(), r, "a", "a", nil, &b); err != nil {
		t.Fatal(err)
	}
	to, _ := root(t)
	if _, _, err := Unpack(t.Context(), to, ".", -1, -1, io.LimitReader(bytes.NewReader(b.Bytes()), 50_000)); err == nil {
		t.Error("half of a stream was taken for the whole")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Pack(ctx, r, "a", "a", nil, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := Unpack(ctx, to, ".", -1, -1, bytes.NewReader(b.Bytes())); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := Unpack(t.Context(), to, ".", -1, -1, strings.NewReader("no tar at all")); structs.KindOf(err) != structs.Invalid {
		t.Error(err)
	}
}
