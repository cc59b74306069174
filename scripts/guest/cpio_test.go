//go:build linux && soak

package guest

import (
	"bytes"
	"fmt"
	"path"
)

// archive is a cpio archive in the format "newc", as the kernel unpacks it:
// https://docs.kernel.org/driver-api/early-userspace/buffer-format.html. Everything in it belongs to root.
type archive struct {
	bytes.Buffer
	inode int
	made  map[string]bool
}

// Types of entries, as in st_mode.
const (
	folder    = 0o040000
	regular   = 0o100000
	link      = 0o120000
	character = 0o020000
)

// add appends an entry, after the folders above it. content is a file's content or a link's target.
func (a *archive) add(name string, mode uint32, content []byte) { a.entry(name, mode, 0, 0, content) }

// device appends a character device.
func (a *archive) device(name string, mode uint32, major, minor int) {
	a.entry(name, character|mode, major, minor, nil)
}

func (a *archive) entry(name string, mode uint32, major, minor int, content []byte) {
	if dir := path.Dir(name); dir != "." && !a.made[dir] {
		a.entry(dir, folder|0o755, 0, 0, nil)
	}
	if mode&folder == folder && mode&link != link {
		if a.made == nil {
			a.made = map[string]bool{}
		}
		a.made[name] = true
	}
	a.inode++
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.WriteString(name + "\x00")
	a.align()
	a.Write(content)
	a.align()
}

// align fills up to a multiple of four bytes.
func (a *archive) align() {
	for a.Len()%4 != 0 {
		a.WriteByte(0)
	}
}

// end appends the trailer; nothing follows it.
func (a *archive) end() []byte {
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	return a.Bytes()
}
