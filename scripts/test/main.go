// Command test runs the test suites and ends with a line for each: that it ran and how, or why it did not.
//
//	unit    every hermetic test of every package, with the race detector: anywhere, unprivileged
//	system  tests with the build tag "system": real processes, namespaces and cgroups, as root on Linux
//	soak    tests with the build tag "soak": proofs that take hours, only when asked for
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/client/fingerprint"
)

func main() {
	suites := flag.String("suites", "unit,system", "which suites to run")
	all := flag.Bool("require-all", false, "fail when a suite was left out")
	run := flag.String("run", "", "only tests that match this expression")
	count := flag.Int("count", 1, "how often to run each test")
	flag.Parse()

	known := map[string]func(*suite){"unit": unit, "system": system, "soak": soak}
	for _, low := range lowDisks() {
		fmt.Printf("the disk of %s, and tests need room\n", low)
	}
	var ran []*suite
	for _, name := range strings.Split(*suites, ",") {
		start, ok := known[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "no suite %q: there are unit, system and soak\n", name)
			os.Exit(2)
		}
		s := &suite{name: name, args: []string{"-count", fmt.Sprint(*count)}, match: *run}
		begin := time.Now()
		start(s)
		s.took = time.Since(begin).Round(time.Second)
		ran = append(ran, s)
	}
	os.Exit(summarize(ran, *all))
}

// suite is one suite and what became of it.
type suite struct {
	name  string
	args  []string // further arguments of go test
	match string   // the -run expression of the user

	left     string // why it did not run; "" if it did
	passed   int    // tests, not counting subtests
	skipped  []string
	failures []string
	took     time.Duration
}

func summarize(suites []*suite, all bool) (code int) {
	fmt.Println()
	for _, s := range suites {
		for _, skipped := range s.skipped {
			fmt.Printf("%s: skipped %s\n", s.name, skipped)
		}
		for _, failure := range s.failures {
			fmt.Printf("%s: FAILED %s\n", s.name, failure)
		}
	}
	for _, s := range suites {
		switch {
		case s.left != "":
			fmt.Printf("%-8s did not run: %s\n", s.name, s.left)
		case len(s.failures) > 0:
			fmt.Printf("%-8s FAILED: %d failed, %d passed, %d skipped, %s\n", s.name, len(s.failures), s.passed, len(s.skipped), s.took)
			code = 1
		default:
			fmt.Printf("%-8s passed: %d tests, %d skipped, %s\n", s.name, s.passed, len(s.skipped), s.took)
		}
		if len(s.failures) > 0 {
			for _, low := range lowDisks() {
				fmt.Printf("%-8s may have failed for want of room: the disk of %s\n", s.name, low)
			}
		}
		if all && (s.left != "" || s.passed == 0) {
			fmt.Printf("%-8s was left out, and every suite is required here\n", s.name)
			code = 1
		}
	}
	return code
}

// lowDisks names the folders of tests and builds whose disk has so little room that they may fail, or wait in vain, for that.
func lowDisks() (low []string) {
	cache, _ := exec.Command("go", "env", "GOCACHE").Output()
	for _, dir := range []string{os.TempDir(), strings.TrimSpace(string(cache))} {
		if free, _, err := fingerprint.Disk(dir); err == nil && free < 4<<30 {
			low = append(low, fmt.Sprintf("%s has %s left", dir, free.Human()))
		}
	}
	return low
}

func unit(s *suite) {
	// One processor a test process: the race detector of Go 1.26 was seen to crash, now and then, on bubbles that run on
	// several. Packages still run side by side.
	s.args = append(s.args, "-cpu", "1")
	if why := raceDetector(); why != "" {
		s.left = why
		return
	}
	s.test("./...")
}

// system runs the tests of files with the build tag. Packages run one after the other, as they share the machine's
// loopback addresses and cgroups.
func system(s *suite) {
	tagged(s, "system", "iproute2", "nftables", "e2fsprogs", "xfsprogs", "docker.io", "busybox-static", "runc", "crun", "containernetworking-plugins")
}

func soak(s *suite) {
	tagged(s, "soak", "iproute2", "nftables", "e2fsprogs", "xfsprogs", "docker.io", "busybox-static", "runc", "crun", "containernetworking-plugins", "qemu-system-x86", "qemu-system-arm")
}

func tagged(s *suite, tag string, packages ...string) {
	tests, folders, err := testsWithTag(tag)
	switch {
	case err != nil:
		s.failures = append(s.failures, err.Error())
		return
	case len(tests) == 0:
		s.left = fmt.Sprintf("there are no tests with the build tag %q", tag)
		return
	case runtime.GOOS != "linux":
		s.left = "it needs Linux, and this is " + runtime.GOOS
		return
	case os.Geteuid() != 0:
		s.left = fmt.Sprintf("it needs root, and this is user %d: sudo make test-%s", os.Geteuid(), tag)
		return
	}
	if s.left = raceDetector(); s.left != "" {
		return
	}
	if s.left = install(packages); s.left != "" {
		return
	}
	tags := tag
	if tag == "soak" {
		tags = "soak,system"
	}
	if s.match == "" {
		s.match = "^(" + strings.Join(tests, "|") + ")$"
	}
	s.args = append(s.args, "-tags", tags, "-p", "1")
	s.test(folders...)
}

// raceDetector says what is missing for go test -race.
func raceDetector() string {
	cc := cmp(os.Getenv("CC"), "gcc")
	if _, err := exec.LookPath(strings.Fields(cc)[0]); err != nil {
		return fmt.Sprintf("the race detector needs a C compiler, and %s is not here: apt-get install gcc", cc)
	}
	return ""
}

func cmp(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// programs is what each Debian package is wanted for.
var programs = map[string]string{
	"iproute2": "ip", "nftables": "nft", "e2fsprogs": "mkfs.ext4", "xfsprogs": "mkfs.xfs", "docker.io": "dockerd", "busybox-static": "busybox", "runc": "runc", "crun": "crun", "containernetworking-plugins": "/usr/lib/cni/bridge", "qemu-system-x86": "qemu-system-x86_64", "qemu-system-arm": "qemu-system-aarch64",
}

// install gets what is missing from Debian or Ubuntu, after saying so.
func install(packages []string) string {
	missing := slices.DeleteFunc(packages, func(p string) bool {
		_, err := exec.LookPath(programs[p])
		return err == nil
	})
	if len(missing) == 0 {
		return ""
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Sprintf("%s is not here, and only Debian and Ubuntu are known: install it", strings.Join(missing, ", "))
	}
	fmt.Printf("installing with apt-get: %s\n", strings.Join(missing, " "))
	get := func(args ...string) error {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, missing...)
	if get(args...) == nil {
		return ""
	}
	if err := errors.Join(get("update", "-q"), get(args...)); err != nil {
		return fmt.Sprintf("apt-get could not install %s: %v", strings.Join(missing, ", "), err)
	}
	return ""
}

var (
	constraint = regexp.MustCompile(`(?m)^//go:build (.*)$`)
	testFunc   = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)
)

// testsWithTag finds the tests in files with a build tag, and their folders.
func testsWithTag(tag string) (tests, folders []string, err error) {
	wanted := regexp.MustCompile(`\b` + tag + `\b`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if c := constraint.FindSubmatch(text); c == nil || !wanted.Match(c[1]) || bytes.Contains(c[1], []byte("!"+tag)) {
			return nil
		}
		for _, m := range testFunc.FindAllSubmatch(text, -1) {
			if name := string(m[1]); name != "TestMain" {
				tests = append(tests, name)
			}
		}
		folders = append(folders, "./"+filepath.ToSlash(filepath.Dir(path)))
		return nil
	})
	slices.Sort(folders)
	return tests, slices.Compact(folders), err
}

// event is a line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string

	ImportPath  string // of a build-output event
	FailedBuild string
}

// test runs go test over packages, prints a line for each of them and the output of what failed.
func (s *suite) test(packages ...string) {
	args := append([]string{"test", "-json", "-race", "-timeout", "40m"}, s.args...)
	if s.name == "soak" {
		args = append(args, "-timeout", "12h")
	}
	if s.match != "" {
		args = append(args, "-run", s.match)
	}
	args = append(args, packages...)
	fmt.Printf("== %s: go %s\n", s.name, strings.Join(args, " "))
	cmd := exec.Command("go", args...)
	// A race that is found stops nothing by itself. Every process with the race detector sleeps for a second before it ends, for the sake of
	// goroutines that might still race: a second for each command and agent of the system tests.
	cmd.Env = append([]string{"GORACE=atexit_sleep_ms=20"}, append(os.Environ(), "CGO_ENABLED=1")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.failures = append(s.failures, err.Error())
		return
	}
	log := map[string][]string{} // output by package and test
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Println(lines.Text())
			continue
		}
		s.take(e, log)
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil && len(s.failures) == 0 {
		s.failures = append(s.failures, err.Error())
	}
}

// take notes one event.
func (s *suite) take(e event, log map[string][]string) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		log[key] = append(log[key], e.Output)
		if e.Test == "" && (strings.HasPrefix(e.Output, "ok ") || strings.HasPrefix(e.Output, "FAIL\t")) {
			fmt.Print(e.Output)
		}
	case "fail":
		fmt.Print(strings.Join(log[key], ""))
		switch {
		case e.Test != "":
			s.failures = append(s.failures, key+": "+reason(log[key]))
		case e.FailedBuild != "":
			s.failures = append(s.failures, e.Package+": it does not build")
		case !slices.ContainsFunc(s.failures, func(f string) bool { return strings.HasPrefix(f, e.Package+" ") }):
			s.failures = append(s.failures, e.Package)
		}
		delete(log, key)
	case "skip":
		if e.Test != "" { // a package without tests is "skipped" too
			s.skipped = append(s.skipped, key+": "+reason(log[key]))
		}
		delete(log, key)
	case "pass":
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			s.passed++
		}
		delete(log, key)
	}
}

// reason finds what a test said that was skipped or failed; of one that failed, more is in its output, above.
func reason(lines []string) string {
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}
