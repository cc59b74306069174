//go:build linux

package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// Whiteouts in an archive, and how overlayfs has them: a character device 0:0 hides what is below, an attribute makes a folder
// hide all that is below it.
const (
	whiteout       = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	opaqueOfRoot   = "trusted.overlay.opaque"
	opaqueOfUser   = "user.overlay.opaque" // in a store that is not root's, for the copy fallback alone
)

// Bounds of a layer.
const (
	maxFiles = 4 << 20
	maxPath  = 4095
)

// openIn opens a path as if dir were the root: links, absolute ones included, cannot lead out of it. The last element is not
// followed.
func openIn(dir int, name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: something was renamed meanwhile
			return fd, err
		}
	}
}

// tree is a layer that is being unpacked. Everything happens relative to descriptors of folders that were opened with the
// layer as root, so whatever the archive says, nothing outside is touched.
type tree struct {
	root   int
	chown  bool
	opaque string

	dir     int // descriptor of the folder that was used last
	dirName string
	folders []folder // whose modes and times are set at the end: they would be in the way, and change
	size    int64
	most    int64 // that size may get: a sparse file is larger than what the archive has of it
	files   int
}

type folder struct {
	name  string
	mode  uint32
	times []unix.Timespec
}

// apply unpacks an archive into a new folder. size is what it takes on the disk, about.
func (s *Store) apply(r io.Reader, to string) (size int64, err error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return 0, err
	}
	t := &tree{dir: -1, chown: os.Geteuid() == 0, opaque: opaqueOfUser, most: int64(s.opts.MaxImage)}
	if t.chown {
		t.opaque = opaqueOfRoot
	}
	if t.root, err = unix.Open(to, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return 0, &os.PathError{Op: "open", Path: to, Err: err}
	}
	defer unix.Close(t.root)
	defer t.leave()
	for a := tar.NewReader(r); ; {
		h, err := a.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if err := s.step("unpack a file"); err != nil {
			return 0, err
		}
		if err := t.entry(h, a); err != nil {
			var errno unix.Errno
			if errors.As(err, &errno) {
				err = fmt.Errorf("%.100q: %w", h.Name, err)
			}
			return 0, err
		}
	}
	t.leave()
	for _, f := range slices.Backward(t.folders) {
		if err := t.finish(f); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) { // a later entry replaced it
			return 0, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return t.size, nil
}

// finish gives a folder its mode and times.
func (t *tree) finish(f folder) error {
	fd, err := openIn(t.root, "./"+f.name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	self := fmt.Sprintf("/proc/self/fd/%d", fd)
	if err := unix.Chmod(self, f.mode); err != nil {
		return err
	}
	return unix.UtimesNano(self, f.times)
}

// parent returns the folder of a name, with an element to use in it that is no link out. The descriptor is the tree's.
func (t *tree) parent(name string) (fd int, base string, err error) {
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if dir == "" {
		if base == "" {
			base = "."
		}
		return t.root, base, nil
	}
	if t.dir >= 0 && t.dirName == dir {
		return t.dir, base, nil
	}
	fd, err = openIn(t.root, dir+"/.", unix.O_PATH|unix.O_DIRECTORY) // the dot follows the last element too
	if errors.Is(err, unix.ENOENT) {
		if err = t.missing(dir); err == nil {
			fd, err = openIn(t.root, dir+"/.", unix.O_PATH|unix.O_DIRECTORY)
		}
	}
	if err != nil {
		return -1, "", err
	}
	t.leave()
	t.dir, t.dirName = fd, dir
	return fd, base, nil
}

// missing makes the folders that an archive should have had before what is in them.
func (t *tree) missing(dir string) error {
	done := ""
	for el := range strings.SplitSeq(dir, "/") {
		done = path.Join(done, el)
		fd, err := openIn(t.root, done+"/.", unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		parent, base, err := t.parent(done)
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(parent, base, 0o755); err != nil {
			return err // a link to nowhere included
		}
	}
	return nil
}

// leave forgets the folder that was used last: what its name means may change.
func (t *tree) leave() {
	if t.dir >= 0 {
		unix.Close(t.dir)
		t.dir = -1
	}
}

// entry puts one file of the archive in its place.
func (t *tree) entry(h *tar.Header, content io.Reader) error {
	if t.files++; t.files > maxFiles {
		return structs.Errorf(structs.Invalid, "layer", "it has more than %d files", maxFiles)
	}
	if len(h.Name) > maxPath {
		return structs.Errorf(structs.Invalid, "layer", "the name %.100q is longer than %d bytes", h.Name, maxPath)
	}
	if slices.Contains(strings.Split(h.Name, "/"), "..") || strings.ContainsRune(h.Name, 0) {
		return structs.Errorf(structs.Invalid, "layer", "the name %.100q would lead out of it", h.Name)
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	parent, base, err := t.parent(name)
	if err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(base, whiteout); ok {
		return t.hide(parent, base, rest)
	}
	if name == "" && h.Typeflag != tar.TypeDir {
		return structs.Errorf(structs.Invalid, "layer", "its root is no folder")
	}
	t.size += 4096
	switch h.Typeflag {
	case tar.TypeDir:
		if err := t.folder(parent, base); err != nil {
			return err
		}
		if !t.chown && base != "." { // as its owner, who has to get in until the end
			if err := unix.Fchmodat(parent, base, 0o700, 0); err != nil {
				return err
			}
		}
		t.folders = append(t.folders, folder{name, uint32(h.Mode) & 0o7777, times(h)})
	case tar.TypeReg, tar.TypeGNUSparse:
		if h.Size > t.most-t.size {
			return errTooLarge
		}
		return t.file(parent, base, h, content)
	case tar.TypeSymlink:
		if err := t.clear(parent, base); err != nil {
			return err
		}
		if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
			return err
		}
	case tar.TypeLink:
		return t.link(name, h.Linkname)
	case tar.TypeFifo:
		if err := t.clear(parent, base); err != nil {
			return err
		}
		if err := unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
	default:
		// Devices: a container has a /dev of its own. The one with the number 0:0 would be a whiteout.
		return nil
	}
	return t.dress(parent, base, h)
}

// folder makes a folder, or keeps the one that is there.
func (t *tree) folder(parent int, base string) error {
	if base == "." {
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	hidden := err == nil && isWhiteout(&st) // what is below stays hidden
	if err := t.clear(parent, base); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return err
	}
	if hidden {
		return t.setOpaque(parent, base)
	}
	return nil
}

func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// clear removes what has a name already: a later entry wins.
func (t *tree) clear(parent int, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	switch {
	case err == nil:
		t.leaveUnless(parent)
		return nil
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.EPERM):
		err = forceRemove(fmt.Sprintf("/proc/self/fd/%d/%s", parent, base))
		t.leaveUnless(parent)
	}
	return err
}

// leaveUnless forgets the last folder when it could be reached through what was replaced; the one in use stays open.
func (t *tree) leaveUnless(parent int) {
	if t.dir != parent {
		t.leave()
	}
}

func (t *tree) file(parent int, base string, h *tar.Header, content io.Reader) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, base, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if err := t.clear(parent, base); err != nil {
			return err
		}
		fd, err = unix.Openat(parent, base, flags, 0o600)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	defer f.Close()
	n, err := io.Copy(struct{ io.Writer }{f}, content)
	t.size += n
	if err != nil {
		return err
	}
	if t.chown {
		if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
			return err
		}
	}
	for _, x := range attributes(h) {
		if err := unix.Fsetxattr(fd, x.name, x.value, 0); err != nil && !tolerable(err) {
			return fmt.Errorf("attribute %s: %w", x.name, err)
		}
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil { // after chown, which clears setuid
		return err
	}
	return unix.UtimesNanoAt(parent, base, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

// link makes a hard link to a file of the same layer.
func (t *tree) link(name, target string) error {
	if slices.Contains(strings.Split(target, "/"), "..") {
		return structs.Errorf(structs.Invalid, "layer", "the link target %.100q would lead out of it", target)
	}
	target = strings.TrimPrefix(path.Clean("/"+target), "/")
	dir, last := path.Split(target)
	from, err := openIn(t.root, "./"+dir+".", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	parent, base, err := t.parent(name)
	if err != nil {
		return err
	}
	var st, have unix.Stat_t
	if err := unix.Fstatat(from, last, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if unix.Fstatat(parent, base, &have, unix.AT_SYMLINK_NOFOLLOW) == nil && have.Ino == st.Ino {
		return nil
	}
	if st.Mode&unix.S_IFMT == unix.S_IFCHR || st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return structs.Errorf(structs.Invalid, "layer", "%.100q is a link to %.100q, which is no file", name, target)
	}
	if err := t.clear(parent, base); err != nil {
		return err
	}
	return unix.Linkat(from, last, parent, base, 0)
}

// dress gives what was made its owner, attributes, mode and times; mode and times of a folder come at the end.
func (t *tree) dress(parent int, base string, h *tar.Header) error {
	if t.chown {
		if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	self := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	for _, x := range attributes(h) {
		if err := unix.Lsetxattr(self, x.name, x.value, 0); err != nil && !tolerable(err) {
			return fmt.Errorf("attribute %s: %w", x.name, err)
		}
	}
	if h.Typeflag == tar.TypeFifo { // just made, and nobody else writes here
		if err := unix.Fchmodat(parent, base, uint32(h.Mode)&0o7777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(parent, base, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

// hide makes a whiteout. It concerns the layers below alone: what this one has stays.
func (t *tree) hide(parent int, base, rest string) error {
	if base == whiteoutOpaque {
		return t.setOpaque(parent, ".")
	}
	if strings.HasPrefix(rest, whiteout) {
		return nil // of a file system that nobody has any more
	}
	if rest == "" || rest == "." || rest == ".." {
		return structs.Errorf(structs.Invalid, "layer", "%q hides nothing that could be", base)
	}
	err := unix.Mknodat(parent, rest, unix.S_IFCHR, 0)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, rest, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return t.setOpaque(parent, rest)
	}
	return nil
}

func (t *tree) setOpaque(parent int, base string) error {
	self := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	if err := unix.Lsetxattr(self, t.opaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("hide what is below: %w", err)
	}
	return nil
}

type attribute struct {
	name  string
	value []byte
}

// attributes are those of a file that a layer may set: capabilities and the user's own. Those of overlayfs could point into
// other layers.
func attributes(h *tar.Header) (out []attribute) {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if ok && (name == "security.capability" || strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")) {
			out = append(out, attribute{name, []byte(value)})
		}
	}
	return out
}

// tolerable: this file system has no such attributes, or this user may not set them.
func tolerable(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM)
}

func times(h *tar.Header) []unix.Timespec {
	accessed, changed := h.AccessTime, h.ModTime
	if changed.IsZero() {
		changed = time.Unix(0, 0)
	}
	if accessed.IsZero() {
		accessed = changed
	}
	return []unix.Timespec{unix.NsecToTimespec(accessed.UnixNano()), unix.NsecToTimespec(changed.UnixNano())}
}
