//go:build linux && soak

package guest

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// insideEnv is set by the guest's init: this binary runs in the guest too.
const insideEnv = "PROFFER_GUEST"

// packages are those whose tests run in the guest, by folder. This one is last: it has the agent as a whole.
var packages = []string{"drivers/exec", "drivers/exec/cgroup", "drivers/exec/guard", "client/disk", "client/supervisor", "scripts/guest"}

// left are the tests that the guest cannot run, and why.
var left = map[string]string{
	"client/supervisor TestTheStageCanBeBuilt": "there is no compiler in the guest",
}

// disks are those of the guest, by their serial numbers, and how each is made. One is mounted at /tmp; client/disk tests
// with the others.
var disks = map[string][]string{
	"tmp":  {"mkfs.ext4", "-q", "-F"},
	"ext4": {"mkfs.ext4", "-q", "-F", "-O", "quota,project"},
	"xfs":  {"mkfs.xfs", "-q", "-f"},
}

const diskSize = 2 << 30 // of which files take what is written

//go:embed init.sh
var initScript string

var (
	inner  = flag.String("guest.run", ".", "which tests run in the guest")
	repeat = flag.Int("guest.count", 1, "how often each of them runs")
)

func TestControlGroupsVersion2(t *testing.T) {
	if os.Getenv(insideEnv) != "" {
		inside(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("it needs root, to install QEMU and to use KVM")
	}
	for _, m := range machines {
		t.Run(m.arch, m.prove)
	}
}

// prove runs the tests of all packages in a guest.
func (m machine) prove(t *testing.T) {
	p, err := getParts(m, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	initramfs := m.build(t, p)
	disks := makeDisks(t)
	built := time.Now()
	kernelLog := filepath.Join(t.TempDir(), "kernel.log")
	out := m.boot(t, p, initramfs, disks, kernelLog)
	t.Logf("built in %v, ran in %v", built.Sub(begin).Round(time.Second), time.Since(built).Round(time.Second))
	for _, pkg := range packages {
		report(t, pkg, out)
	}
	if len(out.names) == 0 {
		t.Errorf("the guest has no tests that match %q", *inner)
	}
	if !slices.Contains(out.notes, "#guest done") {
		t.Errorf("the guest did not end by itself; it said:\n%s", tail(out.all.Bytes(), 4000))
	}
	for _, note := range out.notes {
		t.Log(note)
	}
	if t.Failed() {
		raw, _ := os.ReadFile(kernelLog)
		t.Logf("the kernel said:\n%s", tail(raw, 40_000))
	}
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// build makes the initramfs.
func (m machine) build(t *testing.T, p parts) (file string) {
	t.Helper()
	dir := t.TempDir()
	var a archive
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	compile := func(out string, args ...string) []byte {
		out = filepath.Join(dir, out)
		cmd := exec.Command("go", append(args[:1:1], append([]string{"-trimpath", "-ldflags=-s -w", "-o", out}, args[1:]...)...)...)
		cmd.Dir = filepath.Join("..", "..")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+m.arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
		}
		return read(out)
	}
	// The console is there before /dev is mounted, for what init says when it fails.
	a.device("dev/console", 0o600, 5, 1)
	a.add("init", regular|0o755, []byte(strings.NewReplacer(
		"$PORT", m.tests, "$TIMEOUT", packageTime.String(), "$RUN", *inner, "$COUNT", strconv.Itoa(*repeat)).Replace(initScript)))
	a.add("bin/busybox", regular|0o755, read(p.busybox))
	for at, file := range p.linked {
		a.add(at, regular|0o755, read(file))
	}
	for i, module := range p.modules {
		a.add(fmt.Sprintf("modules/%02d.ko", i), regular|0o644, module)
	}
	a.add("bin/proffer", regular|0o755, compile("proffer", "build", "."))
	a.add("etc/passwd", regular|0o644, []byte("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"))
	a.add("etc/group", regular|0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.add("etc/shadow", regular|0o600, []byte("root:*:1::::::\n"))
	a.add("etc/gshadow", regular|0o600, []byte("root:*::\n"))
	a.add("etc/hosts", regular|0o644, []byte("127.0.0.1 localhost\n"))
	for _, pkg := range packages {
		binary := compile("test", "test", "-c", "-tags", "system soak", "./"+pkg)
		a.add(path.Join("tests", pkg, path.Base(pkg)+".test"), regular|0o755, binary)
	}
	file = filepath.Join(dir, "initramfs")
	if err := os.WriteFile(file, a.end(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// makeDisks makes an image of each disk, and returns the emulator's arguments for them.
func makeDisks(t *testing.T) (args []string) {
	t.Helper()
	dir := t.TempDir()
	for name, mkfs := range disks {
		image := filepath.Join(dir, name)
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(image, diskSize); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mkfs[0], append(mkfs[1:len(mkfs):len(mkfs)], image)...).CombinedOutput(); err != nil {
			t.Fatalf("%v (apt-get install e2fsprogs xfsprogs): %v\n%s", mkfs, err, out)
		}
		args = append(args, "-drive", "if=none,format=raw,cache=unsafe,id="+name+",file="+image,
			"-device", "virtio-blk-pci,drive="+name+",serial="+name)
	}
	return args
}

// output is what came from the guest.
type output struct {
	all   bytes.Buffer
	notes []string                 // the lines of init
	names map[string][]string      // the tests that each package has
	tests map[string]*bytes.Buffer // what the tests of each package said
	codes map[string]string        // exit code of each package's binary
}

// boot runs the guest until it powers off: with KVM when that works, in an emulator otherwise.
func (m machine) boot(t *testing.T, p parts, initramfs string, disks []string, kernelLog string) *output {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), totalTime)
	defer cancel()
	if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil && m.arch == runtime.GOARCH {
		f.Close()
		if out := m.run(ctx, t, p, initramfs, disks, kernelLog, "kvm", "host"); len(out.notes) > 0 {
			return out
		}
		t.Log("no guest boots with this machine's KVM; it is emulated")
	}
	return m.run(ctx, t, p, initramfs, disks, kernelLog, "tcg", m.cpu)
}

// run runs the guest with an accelerator. With KVM it gives up when nothing was heard for bootTime.
func (m machine) run(ctx context.Context, t *testing.T, p parts, initramfs string, disks []string, kernelLog, accelerator, cpu string) *output {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.qemu, "-accel", accelerator, "-cpu", cpu, "-smp", "2", "-m", "1536",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "file:"+kernelLog, "-chardev", "stdio,id=tests",
		"-kernel", p.kernel, "-initrd", initramfs, "-append", "panic=-1 random.trust_cpu=on "+m.kernel)
	cmd.Args = append(append(cmd.Args, m.hardware...), disks...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booting %s with %s", filepath.Base(p.kernel), accelerator)
	impatience := time.AfterFunc(bootTime, func() {
		if accelerator == "kvm" {
			cancel()
		}
	})
	out := &output{names: map[string][]string{}, tests: map[string]*bytes.Buffer{}, codes: map[string]string{}}
	out.read(stdout, func() { impatience.Stop() })
	impatience.Stop()
	if err := cmd.Wait(); err != nil {
		t.Logf("%s: %v %s", m.emulator, err, complaints.Bytes())
	}
	return out
}

// read takes what the guest says until it ends, and calls up once.
func (o *output) read(r io.Reader, up func()) {
	var current *bytes.Buffer
	for in := bufio.NewReader(r); ; {
		line, err := in.ReadString('\n')
		o.all.WriteString(line)
		switch text := strings.TrimRight(line, "\r\n"); {
		case strings.HasPrefix(text, "#guest "):
			up()
			f := strings.Fields(text)
			if f[1] == "has" && len(f) == 4 {
				o.names[f[2]] = append(o.names[f[2]], f[3])
				break
			}
			o.notes = append(o.notes, text)
			switch {
			case f[1] == "begin" && len(f) == 3:
				current = new(bytes.Buffer)
				o.tests[f[2]] = current
			case f[1] == "end" && len(f) == 4:
				o.codes[f[2]], current = f[3], nil
			}
		case current != nil:
			current.WriteString(text + "\n")
		}
		if err != nil {
			return
		}
	}
}

// event is a line of go tool test2json.
type event struct{ Action, Test, Output string }

// report makes a subtest of each test of a package that ran in the guest.
func report(t *testing.T, pkg string, out *output) {
	text := out.tests[pkg]
	if text == nil {
		t.Errorf("%s did not run in the guest", pkg)
		return
	}
	convert := exec.Command("go", "tool", "test2json", "-p", pkg)
	convert.Stdin = bytes.NewReader(text.Bytes())
	converted, err := convert.Output()
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	said, became := map[string]string{}, map[string]string{}
	for d := json.NewDecoder(bytes.NewReader(converted)); ; {
		var e event
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		switch e.Action {
		case "run":
			if !slices.Contains(order, e.Test) { // else it is repeated
				order = append(order, e.Test)
			}
		case "output":
			said[e.Test] += e.Output
		case "pass", "fail", "skip":
			if became[e.Test] != "fail" {
				became[e.Test] = e.Action
			}
		}
	}
	passed := 0
	for _, name := range order {
		what, key := became[name], pkg+" "+name
		if what == "pass" {
			passed++
		}
		t.Run(pkg+"/"+name, func(t *testing.T) {
			switch {
			case what == "pass":
			case what == "skip" && left[key] != "":
				t.Skip(left[key])
			case what == "skip":
				t.Errorf("it was skipped in the guest, where nothing else should be:\n%s", said[name])
			default:
				t.Errorf("%s\n%s", cmp.Or(what, "it did not end"), said[name])
			}
		})
	}
	if len(out.names[pkg]) == 0 && *inner == "." {
		t.Errorf("%s has no tests in the guest", pkg)
	}
	for _, name := range out.names[pkg] {
		if !slices.Contains(order, name) {
			t.Errorf("%s %s did not run in the guest", pkg, name)
		}
	}
	if code := out.codes[pkg]; code != "0" {
		t.Errorf("the tests of %s ended with code %q: %s", pkg, code, said[""])
	}
	t.Logf("%s: %d passed", pkg, passed)
}
