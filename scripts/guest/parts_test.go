//go:build linux && soak

package guest

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
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

// modules are those of the kernel that disks, their quotas, block volumes and layers of images need. What a kernel has none for is built in.
var modules = []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "xfs", "quota_v2", "loop", "overlay"}

// runtimes are the Debian packages of programs that run containers, and those programs.
var runtimes = map[string]string{"runc": "runc", "crun": "crun"}

// parts are the programs of others that a guest needs, as paths.
type parts struct {
	qemu, kernel, busybox string

	modules [][]byte          // of the kernel, in the order in which they are loaded
	linked  map[string]string // programs and the libraries that they need, by path in the guest
}

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
	dirs, err := getKernel(from, m.kernels, say)
	if err != nil {
		return p, err
	}
	if p.kernel, err = find(dirs[0], "vmlinuz*"); err != nil {
		return p, err
	}
	if p.modules, err = getModules(dirs); err != nil {
		return p, err
	}
	dir, err := from.unpack(busybox, say)
	if err != nil {
		return p, err
	}
	if p.busybox, err = find(dir, "busybox"); err != nil {
		return p, err
	}
	p.linked = map[string]string{}
	for name, program := range runtimes {
		dirs, err := from.unpackAll(name, say)
		if err != nil {
			return p, err
		}
		at, err := find(dirs[0], program)
		if err == nil {
			p.linked[path.Join("bin", program)] = at
			err = addLinked(at, dirs, p.linked)
		}
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// unpackAll returns the folders of a package, which is the first, and of all that it depends on.
func (a archives) unpackAll(name string, say func(string, ...any)) (dirs []string, err error) {
	out, err := a.run("apt-cache", "depends", "--recurse", "--important", name)
	if err != nil {
		return nil, err
	}
	names := []string{name}
	for line := range strings.Lines(string(out)) {
		n := strings.TrimSpace(line)
		if n == line[:len(line)-1] && !strings.HasPrefix(n, "<") && n != name { // what it depends on itself is indented
			names = append(names, strings.TrimSuffix(n, ":"+a.arch))
		}
	}
	var missing error
	for _, n := range names {
		dir, err := a.unpack(n, say)
		if err != nil { // one of several of which one is enough: it is missed when a library is
			missing = errors.Join(missing, err)
			continue
		}
		dirs = append(dirs, dir)
	}
	if len(dirs) == 0 || filepath.Base(dirs[0]) != name+"_"+a.arch {
		return nil, missing
	}
	return dirs, nil
}

// addLinked adds what a program or library is linked with to files, from folders of packages.
func addLinked(file string, dirs []string, files map[string]string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if s := f.Section(".interp"); s != nil {
		raw, err := s.Data()
		if err != nil {
			return err
		}
		at := strings.TrimPrefix(strings.TrimRight(string(raw), "\x00"), "/")
		if files[at], err = findLibrary(dirs, path.Base(at)); err != nil {
			return err
		}
	}
	names, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, name := range names {
		at, err := findLibrary(dirs, name)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		in := path.Join("lib", filepath.Base(filepath.Dir(at)), name)
		if files[in] != "" {
			continue
		}
		files[in] = at
		if err := addLinked(at, dirs, files); err != nil {
			return err
		}
	}
	return nil
}

// findLibrary finds the file of a library by its name, which may be a link to one with a longer name.
func findLibrary(dirs []string, name string) (string, error) {
	for _, dir := range dirs {
		for _, pattern := range []string{name, name + ".*"} {
			if at, err := find(dir, pattern); err == nil {
				return at, nil
			}
		}
	}
	return "", fmt.Errorf("no package has the library %s", name)
}

// getKernel returns the folders with a kernel image, which is in the first, and its modules: of the first of kernels that there is.
func getKernel(from archives, kernels []string, say func(string, ...any)) (dirs []string, err error) {
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
		if _, err := os.Stat(filepath.Join(dir, "lib/modules")); err == nil {
			return []string{dir}, nil
		}
		parts, err := from.unpack(strings.Replace(string(name[1]), "image", "modules", 1), say) // as Ubuntu has them
		return []string{dir, parts}, err
	}
	return nil, all
}

// getModules returns the modules and before each those that it depends on, from the folders of a kernel.
func getModules(dirs []string) (loaded [][]byte, err error) {
	files := map[string]string{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if name, _, is := strings.Cut(d.Name(), ".ko"); is && d.Type().IsRegular() {
				files[strings.ReplaceAll(name, "-", "_")] = path
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	done := map[string]bool{}
	var load func(name string) error
	load = func(name string) error {
		file := files[name]
		if file == "" || done[name] {
			return nil
		}
		done[name] = true
		code, err := readModule(file)
		if err != nil {
			return err
		}
		f, err := elf.NewFile(bytes.NewReader(code))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		var info []byte
		if s := f.Section(".modinfo"); s != nil {
			if info, err = s.Data(); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
		for line := range strings.SplitSeq(string(info), "\x00") {
			names, is := strings.CutPrefix(line, "depends=")
			if !is || names == "" {
				continue
			}
			for name := range strings.SplitSeq(names, ",") {
				if err := load(strings.ReplaceAll(name, "-", "_")); err != nil {
					return err
				}
			}
		}
		loaded = append(loaded, code)
		return nil
	}
	for _, name := range modules {
		if err := load(name); err != nil {
			return nil, err
		}
	}
	return loaded, nil
}

// readModule reads the file of a module, which some distributions compress.
func readModule(file string) ([]byte, error) {
	program := map[string]string{".xz": "xz", ".zst": "zstd", ".gz": "gzip"}[filepath.Ext(file)]
	if program == "" {
		return os.ReadFile(file)
	}
	code, err := exec.Command(program, "-dc", file).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -dc %s: %w", program, file, err)
	}
	return code, nil
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
