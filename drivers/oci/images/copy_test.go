//go:build linux

package images_test

import (
	"archive/tar"
	"testing"

	"github.com/proffer/proffer/drivers/oci/images"
)

// TestCopy: a root without overlayfs is what overlayfs would show.
func TestCopy(t *testing.T) {
	h := newHub(t)
	lower := layerTar(t, file{name: "etc/"}, file{name: "etc/gone", body: "g"}, file{name: "etc/kept", body: "k"}, file{name: "etc/changed", body: "old"},
		file{name: "all/"}, file{name: "all/below", body: "b"}, file{name: "all/deep/"}, file{name: "all/deep/x", body: "x"},
		file{name: "dir/"}, file{name: "dir/x", body: "x"}, file{name: "link", kind: tar.TypeSymlink, link: "/etc/kept"},
		file{name: "one", body: "1"}, file{name: "two", kind: tar.TypeLink, link: "one"})
	upper := layerTar(t, file{name: "etc/", mode: 0o700}, file{name: "etc/.wh.gone"}, file{name: "etc/changed", body: "new"},
		file{name: "all/"}, file{name: "all/.wh..wh..opq"}, file{name: "all/mine", body: "m"},
		file{name: "dir", body: "a file now"}, file{name: "link/"}, file{name: "link/in", body: "i"})
	s := open(t, t.TempDir(), images.Options{})
	im := ensure(t, s, h.push(t, "x:1", imageOf(t, lower, upper)), "a")
	to := t.TempDir()
	if err := images.Copy(im.Layers, to); err != nil {
		t.Fatal(err)
	}
	const expected = `-rw-r--r-- all/mine "m"
-rw-r--r-- dir "a file now"
-rw-r--r-- etc/changed "new"
-rw-r--r-- etc/kept "k"
-rw-r--r-- link/in "i"
-rw-r--r-- one "1"
-rw-r--r-- two "1"
drwx------ etc
drwxr-xr-x .
drwxr-xr-x all
drwxr-xr-x link`
	if got := tree(t, to); got != expected {
		t.Errorf("got\n%s", got)
	}
}
