//go:build linux && soak

package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Debian packages of the guest. The kernel is taken out of its package: nothing is installed but QEMU.
const (
	emulator = "qemu-system-x86_64"
	qemu     = "qemu-system-x86"
	busybox  = "busybox-static"
)

// cache is where they are kept.
const cache = "/var/cache/proffer-guest"

// kernels are packages that depend on the kernel of the day: the smallest first, then Debian's usual one and Ubuntu's.
var kernels = []string{"linux-image-cloud-amd64", "linux-image-amd64", "linux-image-virtual"}

// parts are the programs of others that a guest needs, as paths.
type parts struct{ qemu, kernel, busybox string }

// getParts finds them on this machine, or downloads them after saying so.
func getParts(say func(format string, args ...any)) (p parts, err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return p, err
	}
	if p.qemu, err = exec.LookPath(emulator); err != nil {
		say("installing %s with apt-get", qemu)
		if err := apt("install", "-y", "--no-install-recommends", qemu); err != nil {
			return p, err
		}
		if p.qemu, err = exec.LookPath(emulator); err != nil {
			return p, err
		}
	}
	if p.kernel, err = getKernel(say); err != nil {
		return p, err
	}
	dir, err := unpack(busybox, say)
	if err != nil {
		return p, err
	}
	p.busybox, err = find(dir, "busybox")
	return p, err
}

// getKernel returns the path of a kernel image.
func getKernel(say func(string, ...any)) (string, error) {
	var all error
	for _, meta := range kernels {
		out, err := exec.Command("apt-cache", "depends", meta).Output()
		if err != nil {
			all = errors.Join(all, fmt.Errorf("apt-cache depends %s: %w", meta, err))
			continue
		}
		name := regexp.MustCompile(`Depends: (linux-image-[0-9]\S*)`).FindSubmatch(out)
		if name == nil {
			all = errors.Join(all, fmt.Errorf("%s depends on no kernel", meta))
			continue
		}
		dir, err := unpack(string(name[1]), say)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		return find(dir, "vmlinuz*")
	}
	return "", all
}

// unpack returns the folder with the files of a package, which is downloaded when it is not there.
func unpack(name string, say func(string, ...any)) (string, error) {
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	say("downloading %s with apt-get, to %s", name, cache)
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	download := exec.Command("apt-get", "download", name)
	download.Dir = tmp
	if out, err := download.CombinedOutput(); err != nil {
		if err := apt("update", "-q"); err != nil {
			return "", err
		}
		again := exec.Command("apt-get", "download", name)
		again.Dir = tmp
		if again.Run() != nil {
			return "", fmt.Errorf("apt-get download %s: %w\n%s", name, err, out)
		}
	}
	file, err := find(tmp, "*.deb")
	if err != nil {
		return "", err
	}
	files := filepath.Join(tmp, "files")
	if out, err := exec.Command("dpkg", "-x", file, files).CombinedOutput(); err != nil {
		return "", fmt.Errorf("unpack %s: %w\n%s", file, err, out)
	}
	return dir, os.Rename(files, dir)
}

func apt(args ...string) error {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// find returns the first regular file below dir whose name matches pattern.
func find(dir, pattern string) (found string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ok, _ := filepath.Match(pattern, d.Name()); ok && d.Type().IsRegular() {
			found = path
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && found == "" {
		err = fmt.Errorf("no %s below %s", pattern, dir)
	}
	return found, err
}
