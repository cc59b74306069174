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
	"runtime"
	"slices"
	"strings"
)

// cache is where the packages of the guests are kept. They are unpacked there: nothing is installed but QEMU.
const cache = "/var/cache/proffer-guest"

// busybox is the Debian package of what the guest has instead of a system.
const busybox = "busybox-static"

// parts are the programs of others that a guest needs, as paths.
type parts struct{ qemu, kernel, busybox string }

// getParts finds them on this machine, or downloads them after saying so.
func getParts(m machine, say func(format string, args ...any)) (p parts, err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return p, err
	}
	if p.qemu, err = exec.LookPath(m.emulator); err != nil {
		say("installing %s with apt-get", m.qemu)
		if _, err := (archives{}).run("apt-get", "install", "-y", "--no-install-recommends", m.qemu); err != nil {
			return p, err
		}
		if p.qemu, err = exec.LookPath(m.emulator); err != nil {
			return p, err
		}
	}
	from, err := archivesOf(m.arch)
	if err != nil {
		return p, err
	}
	if p.kernel, err = getKernel(from, m.kernels, say); err != nil {
		return p, err
	}
	dir, err := from.unpack(busybox, say)
	if err != nil {
		return p, err
	}
	p.busybox, err = find(dir, "busybox")
	return p, err
}

// getKernel returns the path of a kernel image: of the first of kernels that there is.
func getKernel(from archives, kernels []string, say func(string, ...any)) (string, error) {
	var all error
	for _, meta := range kernels {
		out, err := from.run("apt-cache", "depends", meta)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		name := regexp.MustCompile(`Depends: (linux-image-[0-9]\S*)`).FindSubmatch(out)
		if name == nil {
			all = errors.Join(all, fmt.Errorf("%s depends on no kernel", meta))
			continue
		}
		dir, err := from.unpack(string(name[1]), say)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		return find(dir, "vmlinuz*")
	}
	return "", all
}

// archives are what apt-get knows of packages for an architecture: this machine's lists, or lists of their own in the
// cache, so that this machine does not become one of two architectures.
type archives struct {
	arch    string
	options []string
}

func archivesOf(arch string) (archives, error) {
	a := archives{arch: arch}
	if arch == runtime.GOARCH {
		return a, nil
	}
	dir := filepath.Join(cache, "apt-"+arch)
	for key, value := range map[string]string{
		"APT::Architecture": arch, "APT::Architectures": arch,
		"Dir::State::lists": dir + "/lists", "Dir::State::status": "/dev/null", "Dir::Cache": dir + "/cache",
	} {
		a.options = append(a.options, "-o", key+"="+value)
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return a, err
		}
	}
	_, err := a.run("apt-get", "update", "-q")
	return a, err
}

// unpack returns the folder with the files of a package, which is downloaded when it is not there.
func (a archives) unpack(name string, say func(string, ...any)) (string, error) {
	dir := filepath.Join(cache, name+"_"+a.arch)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	say("downloading %s for %s with apt-get, to %s", name, a.arch, cache)
	tmp, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if _, err := a.in(tmp, "apt-get", "download", name); err != nil {
		if _, err := a.run("apt-get", "update", "-q"); err != nil {
			return "", err
		}
		if _, again := a.in(tmp, "apt-get", "download", name); again != nil {
			return "", err
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

func (a archives) run(name string, args ...string) ([]byte, error) { return a.in("", name, args...) }

// in runs a program of apt in a folder, and returns what it says.
func (a archives) in(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, append(slices.Clone(a.options), args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return out, err
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
