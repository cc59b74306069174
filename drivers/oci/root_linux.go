package oci

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// probeName is the folder in which overlayfs is tried.
const probeName = "probe"

// canOverlay tries to mount overlayfs in a folder, where upper folders of containers will be. What an agent left that was killed
// meanwhile goes first.
func canOverlay(dir string) error {
	probe := filepath.Join(dir, probeName)
	if err := unmount(probe + "/root"); err != nil {
		return err
	}
	if err := os.RemoveAll(probe); err != nil {
		return err
	}
	defer os.RemoveAll(probe)
	for _, sub := range []string{"", "lower", "upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(probe, sub), 0o700); err != nil {
			return err
		}
	}
	if err := mountOverlay([]string{probe + "/lower"}, probe+"/upper", probe+"/work", probe+"/root", 0); err != nil {
		return err
	}
	return unmount(probe + "/root")
}

// mountOverlay mounts layers, lowest first, below an upper folder. Paths that are too long together for mount(2) are given as
// descriptors.
func mountOverlay(layers []string, upper, work, at string, flags uintptr) error {
	lower := slices.Clone(layers)
	slices.Reverse(lower)
	options := "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + upper + ",workdir=" + work
	if len(options) >= os.Getpagesize() || strings.ContainsAny(strings.Join(lower, "")+upper+work, `,:\`) {
		var fds []int
		defer func() {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}()
		short := func(dir string) (string, error) {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return "", &os.PathError{Op: "open", Path: dir, Err: err}
			}
			fds = append(fds, fd)
			return fmt.Sprintf("/proc/self/fd/%d", fd), nil
		}
		var err error
		for i := range lower {
			if lower[i], err = short(lower[i]); err != nil {
				return err
			}
		}
		if upper, err = short(upper); err != nil {
			return err
		}
		if work, err = short(work); err != nil {
			return err
		}
		options = "lowerdir=" + strings.Join(lower, ":") + ",upperdir=" + upper + ",workdir=" + work
	}
	if err := unix.Mount("overlay", at, "overlay", unix.MS_NODEV|flags, options); err != nil {
		return &os.PathError{Op: "mount overlay on", Path: at, Err: err}
	}
	return nil
}

// unmount takes a mount away, also one that is in use. One that is not there is no error.
func unmount(at string) error {
	err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "unmount", Path: at, Err: err}
}

// inRoot opens a file of a container's root as the container would find it. Links do not lead out.
func inRoot(root, name string, flags int) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// look finds a program as the container's runtime will: a path, or a name in PATH. code is what a shell would end with, 0 when
// it is there, or would be looked for in something mounted, which the runtime sees.
func look(root string, mounts []specs.Mount, program string, env []string, cwd string) (code int) {
	places := []string{path.Join(cwd, program)}
	if path.IsAbs(program) {
		places = []string{program}
	} else if !strings.Contains(program, "/") {
		places = nil
		for _, kv := range env {
			if list, ok := strings.CutPrefix(kv, "PATH="); ok {
				for dir := range strings.SplitSeq(list, ":") {
					places = append(places, path.Join("/", dir, program))
				}
			}
		}
	}
	code = 127
	for _, p := range places {
		if slices.ContainsFunc(mounts, func(m specs.Mount) bool { return p == m.Destination || strings.HasPrefix(p, m.Destination+"/") }) {
			return 0
		}
		f, err := inRoot(root, p, unix.O_PATH)
		if err != nil {
			continue
		}
		info, err := f.Stat()
		f.Close()
		switch {
		case err != nil:
		case info.IsDir(), info.Mode()&0o111 == 0:
			code = 126
		default:
			return 0
		}
	}
	return code
}

// maxAccounts bounds what is read of an image's passwd and group.
const maxAccounts = 4 << 20

// resolve finds a user of the image: "", "name", "uid", "name:group", "uid:gid".
func resolve(object, root, text string) (id identity, err error) {
	user, group, hasGroup := strings.Cut(text, ":")
	if user == "" {
		user = "0"
	}
	number, isNumber := idOf(user)
	found := false
	name := user
	err = accounts(root, "etc/passwd", func(f []string) bool {
		if len(f) < 6 {
			return false
		}
		uid, ok := idOf(f[2])
		if !ok || f[0] != user && !(isNumber && uid == number) {
			return false
		}
		gid, _ := idOf(f[3])
		id.uid, id.gid, id.home, name, found = uid, gid, f[5], f[0], true
		return true
	})
	if err != nil {
		return id, structs.Errorf(structs.Invalid, object, "the image's /etc/passwd: %w", err)
	}
	switch {
	case !found && !isNumber:
		return id, structs.Errorf(structs.Invalid, object, "the image has no user %q", user).Advise("name one of its users, or write uid:gid")
	case !found:
		id.uid, id.gid = number, 0
	}
	if hasGroup {
		gid, ok := idOf(group)
		if !ok {
			err = accounts(root, "etc/group", func(f []string) bool {
				if len(f) >= 3 && f[0] == group {
					gid, ok = idOf(f[2])
				}
				return ok
			})
			if err != nil || !ok {
				return id, structs.Errorf(structs.Invalid, object, "the image has no group %q", group).Advise("write the group's number")
			}
		}
		id.gid = gid
		return id, nil
	}
	if found {
		err = accounts(root, "etc/group", func(f []string) bool {
			if gid, ok := uint32(0), false; len(f) >= 4 && slices.Contains(strings.Split(f[3], ","), name) {
				if gid, ok = idOf(f[2]); ok && len(id.groups) < 1024 {
					id.groups = append(id.groups, gid)
				}
			}
			return false
		})
		if err != nil {
			return id, structs.Errorf(structs.Invalid, object, "the image's /etc/group: %w", err)
		}
	}
	return id, nil
}

func idOf(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return uint32(n), err == nil
}

// accounts reads a file such as /etc/passwd of an image until each says true. One that is missing has no lines.
func accounts(root, name string, each func(fields []string) bool) error {
	f, err := inRoot(root, name, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.New("it is no file")
	}
	s := bufio.NewScanner(io.LimitReader(f, maxAccounts))
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' && each(strings.Split(line, ":")) {
			return nil
		}
	}
	return s.Err()
}
