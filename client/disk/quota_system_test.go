//go:build linux && system

package disk

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/drivers"
	"github.com/proffer/proffer/structs"
)

const (
	writeEnv  = "PROFFER_TEST_WRITE"  // this binary writes a file then: path:bytes
	imagesEnv = "PROFFER_TEST_IMAGES" // a folder with the file systems, where they cannot be made: package scripts/guest sets it
)

func TestMain(m *testing.M) {
	if path, size, found := strings.Cut(os.Getenv(writeEnv), ":"); found {
		n, _ := strconv.Atoi(size)
		written, err := write(path, n)
		fmt.Print(written, " ")
		if err != nil {
			fmt.Print(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write fills a file and syncs it; with 0 bytes it makes files until it cannot, and counts them.
func write(path string, n int) (done int, err error) {
	if n == 0 {
		for ; done < 100_000; done++ {
			f, err := os.Create(path + strconv.Itoa(done))
			if err != nil {
				return done, err
			}
			f.Close()
		}
		return done, nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for block := make([]byte, 64<<10); done < n; {
		m, err := f.Write(block)
		if done += m; err != nil {
			return done, err
		}
	}
	return done, f.Sync()
}

// asNobody is write in a process without rights.
func asNobody(path string, n int) (done int, why string, err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{fmt.Sprintf("%s=%s:%d", writeEnv, path, n)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", out, err)
	}
	count, why, _ := strings.Cut(string(out), " ")
	done, err = strconv.Atoi(count)
	return done, why, err
}

// kinds are the file systems with quotas of projects, and how each is made.
var kinds = map[string][]string{
	"ext4": {"mkfs.ext4", "-q", "-F", "-O", "quota,project"},
	"xfs":  {"mkfs.xfs", "-q", "-f"},
}

// options are those of a kernel that has these file systems with quotas of projects.
var options = map[string][]string{
	"ext4": {"CONFIG_EXT4_FS", "CONFIG_QUOTA", "CONFIG_QFMT_V2"},
	"xfs":  {"CONFIG_XFS_FS", "CONFIG_XFS_QUOTA"},
}

// lacks returns the first option that the kernel was built without, as far as it says how it was built.
func lacks(t *testing.T, options []string) string {
	t.Helper()
	config, err := kernelConfig()
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(config), "\n")
	for _, option := range options {
		if !slices.Contains(lines, option+"=y") && !slices.Contains(lines, option+"=m") {
			return option
		}
	}
	return ""
}

func kernelConfig() ([]byte, error) {
	f, err := os.Open("/proc/config.gz")
	if errors.Is(err, fs.ErrNotExist) {
		var name unix.Utsname
		if err := unix.Uname(&name); err != nil {
			return nil, err
		}
		return os.ReadFile("/boot/config-" + unix.ByteSliceToString(name.Release[:]))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// fileSystem mounts a new one of 320 MiB with quotas of projects, or an empty one of those that were made elsewhere.
func fileSystem(t *testing.T, kind string) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the system tests need root")
	}
	if option := lacks(t, options[kind]); option != "" {
		t.Skipf("this kernel was built without %s, so it has no quotas of projects on %s", option, kind)
	}
	image := filepath.Join(os.Getenv(imagesEnv), kind)
	if os.Getenv(imagesEnv) == "" {
		image = filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, 320<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(kinds[kind][0], append(kinds[kind][1:], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", kinds[kind], err, out)
		}
	}
	dir = t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	flags := "prjquota"
	if info, err := os.Stat(image); err != nil {
		t.Fatal(err)
	} else if info.Mode().IsRegular() {
		flags += ",loop"
	}
	if out, err := exec.Command("mount", "-t", kind, "-o", flags, image, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount %s with quotas of projects: %v: %s", kind, err, out)
	}
	t.Cleanup(func() {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
		if err := errors.Join(err, unix.Unmount(dir, 0)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestQuota(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) { quota(t, fileSystem(t, kind)) })
	}
}

func quota(t *testing.T, dir string) {
	limits := func() *Limits {
		t.Helper()
		l, err := Open(dir, Auto, slog.New(slog.DiscardHandler))
		if err != nil || l.Mode() != Quota {
			t.Fatalf("%v: %+v", err, l)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	l := limits()
	const mib = 1 << 20
	folder := func(name string) string {
		t.Helper()
		at := filepath.Join(dir, name)
		if err := os.Mkdir(at, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			t.Fatal(err)
		}
		if err := os.Chmod(at, 0o777); err != nil {
			t.Fatal(err)
		}
		return at
	}
	bound := func(name string, limit structs.Bytes) (string, uint32) {
		t.Helper()
		at := folder(name)
		project, err := l.Bound(at, name, limit)
		if err != nil || !ours(project) || l.Project(at) != project {
			t.Fatalf("%s: project %d, %v", name, project, err)
		}
		return at, project
	}
	fits := func(at string, n, low, high int) {
		t.Helper()
		done, why, err := asNobody(at, n)
		if err != nil {
			t.Errorf("%s takes %d: %v", at, n, err)
		} else if done < low || done > high || n > 0 && (done < n) != (why != "") {
			t.Errorf("%s takes %d of %d: %s", at, done, n, why)
		}
	}
	a, first := bound("a", 4*mib)
	b, second := bound("b", 64*mib)
	if first == second {
		t.Fatal("two folders have the same project")
	}
	alone := latencies(t, b, nil)
	beside := latencies(t, b, func() { fits(a+"/big", 32*mib, 3*mib, 4*mib) })
	t.Logf("write and sync of a neighbour: p50 %v, p99 %v alone, p50 %v, p99 %v while the disk of another is filled", alone[0], alone[1], beside[0], beside[1])
	if used, err := l.Used(first); err != nil || used < 3*mib || used > 4*mib+64<<10 {
		t.Errorf("%d, %v", used, err)
	}
	fits(b+"/big", 16*mib, 16*mib, 16*mib)

	// Moved or linked, a file does not leave what counts it.
	if err := os.Link(a+"/big", b+"/linked"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("a link into another project: %v", err)
	}

	// An agent that was restarted goes on, and may allow more.
	l = limits()
	if at, again := bound("a", 8*mib); again != first || at != a {
		t.Errorf("it was project %d and is %d", first, again)
	}
	fits(a+"/big", 32*mib, 7*mib, 8*mib)

	// Files count even when they are empty.
	few, _ := bound("few", 1*mib)
	fits(few+"/f", 0, 500, someFiles+mib/perFile)

	// What was in a folder before counts too, but for what links lead to.
	old := folder("old")
	for _, path := range []string{"one", "deep/two"} {
		at := filepath.Join(old, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := write(at, 2*mib); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{b + "/big", "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(old, filepath.Base(target))); err != nil {
			t.Fatal(err)
		}
	}
	_, project := bound("old", 5*mib)
	if used, err := l.Used(project); err != nil || used < 4*mib || used > 5*mib {
		t.Errorf("%d, %v", used, err)
	}
	if f, err := os.Open(b + "/big"); err != nil {
		t.Error(err)
	} else if is, err := drivers.Project(f); err != nil || is != second {
		t.Errorf("what a link led to has project %d, %v", is, err)
	} else {
		f.Close()
	}

	// Projects of others are left alone: those with files, those with a bound, those with a name.
	next, err := l.take("new")
	if err != nil {
		t.Fatal(err)
	}
	if beside, err := l.take("new"); err != nil || beside == next {
		t.Errorf("%d is taken twice, %v", beside, err)
	} else {
		l.taken(beside)
	}
	l.taken(next)
	theirs, err := os.Create(filepath.Join(dir, "theirs"))
	if err == nil {
		defer theirs.Close()
		err = drivers.SetProject(theirs, next, false)
	}
	if err == nil {
		err = setLimit(l.top, next+1, 1<<30, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	l.named[next+2], l.named[next+1] = true, true
	if _, got := bound("new", mib); got != next+3 {
		t.Errorf("%d is taken after %d", got, next)
	}

	// What is removed is given back, also when the agent was killed before it could say so.
	for _, at := range []string{a, b} {
		if err := os.RemoveAll(at); err != nil {
			t.Fatal(err)
		}
	}
	// Some file systems count what was removed until they come to it.
	gone := func(project uint32) {
		t.Helper()
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			u, err := usageOf(l.top, project)
			if err != nil {
				t.Fatal(err)
			}
			if u.space == 0 && u.files == 0 {
				return
			}
			select {
			case <-ticker.C:
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			}
		}
	}
	gone(first)
	gone(second)
	l.Release(first)
	if u, err := usageOf(l.top, first); err != nil || u != (usage{}) {
		t.Errorf("%+v, %v", u, err)
	}
	if u, err := usageOf(l.top, second); err != nil || u.limit != 64*mib || u.files != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	l = limits()
	if u, err := usageOf(l.top, second); err != nil || u != (usage{}) {
		t.Errorf("%+v, %v", u, err)
	}
}

// latencies of a hundred writes with sync, as the 50th and 99th part, while something else happens.
func latencies(t *testing.T, dir string, meanwhile func()) [2]time.Duration {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "small"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		if meanwhile != nil {
			meanwhile()
		}
	}()
	var all []time.Duration
	for range 100 {
		begin := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		all = append(all, time.Since(begin))
	}
	<-over
	slices.Sort(all)
	return [2]time.Duration{all[50], all[99]}
}
