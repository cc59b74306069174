//go:build linux

package images

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Copy makes a folder of layers, lowest first, as overlayfs would show them: for hosts that have none. to must be empty. Layers do
// not change meanwhile, and nobody else writes to the folder.
func Copy(layers []string, to string) error {
	for _, layer := range layers {
		if err := copyLayer(layer, to); err != nil {
			return err
		}
	}
	return nil
}

func copyLayer(layer, to string) error {
	links := map[uint64]string{} // of files with several names
	type folder struct {
		path  string
		mode  uint32
		times []unix.Timespec
	}
	var folders []folder
	err := filepath.WalkDir(layer, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(layer, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel) // each folder above it is one that was made here and no link
		var st, have unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		exists := unix.Lstat(target, &have) == nil
		isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if exists && rel != "." && (!isDir || have.Mode&unix.S_IFMT != unix.S_IFDIR || isOpaque(path)) {
			if err := os.RemoveAll(target); err != nil {
				return err
			}
			exists = false
		}
		times := []unix.Timespec{st.Atim, st.Mtim}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if !exists {
				if err := os.Mkdir(target, 0o700); err != nil {
					return err
				}
			}
			folders = append(folders, folder{target, st.Mode & 0o7777, times})
		case unix.S_IFREG:
			if first := links[st.Ino]; first != "" {
				return os.Link(first, target)
			}
			if st.Nlink > 1 {
				links[st.Ino] = target
			}
			if err := copyFile(path, target); err != nil {
				return err
			}
		case unix.S_IFLNK:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if err := os.Symlink(link, target); err != nil {
				return err
			}
		case unix.S_IFIFO:
			if err := unix.Mkfifo(target, 0o600); err != nil {
				return err
			}
		default:
			return nil // a whiteout: what it hides is gone
		}
		if os.Geteuid() == 0 {
			if err := unix.Lchown(target, int(st.Uid), int(st.Gid)); err != nil {
				return err
			}
		}
		if err := copyAttributes(path, target); err != nil {
			return err
		}
		if isDir {
			return nil
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if err := unix.Chmod(target, st.Mode&0o7777); err != nil {
				return err
			}
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, target, times, unix.AT_SYMLINK_NOFOLLOW)
	})
	for i := len(folders) - 1; i >= 0 && err == nil; i-- {
		f := folders[i]
		if err = unix.Chmod(f.path, f.mode); err == nil {
			err = unix.UtimesNanoAt(unix.AT_FDCWD, f.path, f.times, unix.AT_SYMLINK_NOFOLLOW)
		}
	}
	return err
}

func isOpaque(path string) bool {
	buf := make([]byte, 4)
	for _, name := range []string{opaqueOfRoot, opaqueOfUser} {
		if n, err := unix.Lgetxattr(path, name, buf); err == nil && string(buf[:n]) == "y" {
			return true
		}
	}
	return false
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // in the kernel, and by reference where the file system can
	return errors.Join(err, out.Close())
}

func copyAttributes(from, to string) error {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "listxattr", Path: from, Err: err}
	}
	for _, name := range splitNul(list[:n]) {
		if name == opaqueOfRoot || name == opaqueOfUser {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(from, name, value)
		if err == nil {
			err = unix.Lsetxattr(to, name, value[:n], 0)
		}
		if err != nil && !tolerable(err) {
			return fmt.Errorf("attribute %s of %s: %w", name, from, err)
		}
	}
	return nil
}

func splitNul(b []byte) (out []string) {
	for len(b) > 0 {
		i := 0
		for i < len(b) && b[i] != 0 {
			i++
		}
		out = append(out, string(b[:i]))
		b = b[min(i+1, len(b)):]
	}
	return out
}
