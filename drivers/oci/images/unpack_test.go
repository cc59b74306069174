//go:build linux

package images_test

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers/evil"
	"github.com/proffer/proffer/drivers/oci/images"
	"github.com/proffer/proffer/structs"
)

// unpacked pulls an image of one layer and returns its folder.
func unpacked(t *testing.T, files ...file) (string, error) {
	t.Helper()
	h := newHub(t)
	ref := h.push(t, "x:1", imageOf(t, layerTar(t, files...)))
	s := open(t, t.TempDir(), images.Options{MaxImage: 8 << 20})
	im, err := s.Ensure(context.Background(), want(t, ref), "a", nil)
	if err != nil {
		return "", err
	}
	return im.Layers[0], nil
}

func TestUnpack(t *testing.T) {
	dir, err := unpacked(t,
		file{name: "./", mode: 0o755},
		file{name: "usr/bin/tool", body: "deep", mode: 0o4755}, // without its folders before it
		file{name: "usr/", mode: 0o750},
		file{name: "closed/", mode: 0o500}, file{name: "closed/in", body: "x"},
		file{name: "bin", kind: tar.TypeSymlink, link: "usr/bin"},
		file{name: "abs", kind: tar.TypeSymlink, link: "/usr"},
		file{name: "abs/share", body: "through a link, in the layer"},
		file{name: "hard", kind: tar.TypeLink, link: "usr/bin/tool"},
		file{name: "fifo", kind: tar.TypeFifo, mode: 0o600},
		file{name: "twice", body: "first"}, file{name: "twice", body: "second"},
		file{name: "was-dir/"}, file{name: "was-dir/x", body: "x"}, file{name: "was-dir", body: "now a file"},
		file{name: "was-file", body: "x"}, file{name: "was-file/"}, file{name: "was-file/in", body: "y"},
		file{name: "dev/null", kind: tar.TypeChar, mode: 0o666},
		file{name: "cap", body: "c", pax: map[string]string{"SCHILY.xattr.user.note": "hi", "SCHILY.xattr.user.overlay.redirect": "/etc",
			"SCHILY.xattr.trusted.overlay.redirect": "/etc"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) }) // for the folder's removal
	const expected = `-rw-r--r-- cap "c"
-rw-r--r-- closed/in "x"
-rw-r--r-- twice "second"
-rw-r--r-- usr/share "through a link, in t"
-rw-r--r-- was-dir "now a file"
-rw-r--r-- was-file/in "y"
Lrwxrwxrwx abs -> /usr
Lrwxrwxrwx bin -> usr/bin
dr-x------ closed
drwxr-x--- usr
drwxr-xr-x .
drwxr-xr-x dev
drwxr-xr-x usr/bin
drwxr-xr-x was-file
prw------- fifo
urwxr-xr-x hard "deep"
urwxr-xr-x usr/bin/tool "deep"`
	if got := tree(t, dir); got != expected {
		t.Errorf("got\n%s", got)
	}
	var a, b unix.Stat_t
	unix.Stat(filepath.Join(dir, "hard"), &a)
	unix.Stat(filepath.Join(dir, "usr/bin/tool"), &b)
	if a.Ino != b.Ino {
		t.Error("the hard link is a copy")
	}
	buf := make([]byte, 100)
	for name, there := range map[string]bool{"user.note": true, "user.overlay.redirect": false, "trusted.overlay.redirect": false} {
		if _, err := unix.Getxattr(filepath.Join(dir, "cap"), name, buf); (err == nil) != there && err != unix.ENOTSUP {
			t.Errorf("attribute %s: %v", name, err)
		}
	}
}

// TestWhiteouts: what a layer hides of those below it, and what it has itself.
func TestWhiteouts(t *testing.T) {
	dir, err := unpacked(t,
		file{name: "etc/"}, file{name: "etc/.wh.gone", body: ""},
		file{name: "etc/conf.d/"}, file{name: "etc/conf.d/.wh..wh..opq"}, file{name: "etc/conf.d/mine", body: "m"},
		file{name: ".wh.both"}, file{name: "both/"}, file{name: "both/new", body: "n"},
		file{name: "kept", body: "k"}, file{name: ".wh.kept"},
		file{name: ".wh..wh.plnk", body: ""},
	)
	if err != nil {
		t.Fatal(err)
	}
	const expected = `-rw-r--r-- both/new "n"
-rw-r--r-- etc/conf.d/mine "m"
-rw-r--r-- kept "k"
Dc--------- etc/gone
drwxr-xr-x .
drwxr-xr-x both
drwxr-xr-x etc
drwxr-xr-x etc/conf.d`
	if got := tree(t, dir); got != expected {
		t.Errorf("got\n%s", got)
	}
	attr := "user.overlay.opaque"
	if os.Geteuid() == 0 {
		attr = "trusted.overlay.opaque"
	}
	buf := make([]byte, 10)
	for name, opaque := range map[string]bool{"etc/conf.d": true, "both": true, "etc": false} {
		n, err := unix.Lgetxattr(filepath.Join(dir, name), attr, buf)
		if err == unix.ENOTSUP {
			t.Skip("no extended attributes here")
		}
		if (err == nil && string(buf[:n]) == "y") != opaque {
			t.Errorf("%s: opaque is not %v: %v", name, opaque, err)
		}
	}
}

// TestEscape: archives that would write outside. Each is refused, or what it does stays in the layer; the victim never changes.
func TestEscape(t *testing.T) {
	outside := t.TempDir()
	victim := filepath.Join(outside, "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, entries := range evil.Archives(victim) {
		var files []file
		for _, e := range entries {
			files = append(files, file{name: e.Name, body: e.Body, mode: e.Mode, kind: e.Kind, link: e.Link, pax: e.PAX})
		}
		t.Run(name, func(t *testing.T) {
			dir, err := unpacked(t, files...)
			if err != nil && structs.KindOf(err) != structs.Invalid && structs.KindOf(err) != structs.Unavailable {
				t.Errorf("got %v of kind %s", err, structs.KindOf(err))
			}
			t.Log(err)
			if b, err := os.ReadFile(victim); string(b) != "untouched" {
				t.Errorf("the victim is %q, %v", b, err)
			}
			if all, _ := os.ReadDir(outside); len(all) != 1 {
				t.Errorf("outside is %v", all)
			}
			if info, _ := os.Stat(outside); info.Mode().Perm() == 0o777 {
				t.Error("the folder outside was opened")
			}
			var st unix.Stat_t
			if unix.Stat(victim, &st); st.Nlink != 1 {
				t.Error("the victim has another name now")
			}
			if dir == "" {
				return
			}
			filepath.WalkDir(dir, func(p string, d os.DirEntry, _ error) error {
				if d != nil && d.Type()&os.ModeDevice != 0 && d.Type()&os.ModeCharDevice == 0 {
					t.Errorf("a device: %s", p)
				}
				return nil
			})
		})
	}
}
