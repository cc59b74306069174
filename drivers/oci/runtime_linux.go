package oci

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/proffer/proffer/structs"
)

// runtimes finds the OCI runtime of the node, and looks again when its file changes.
type runtimes struct {
	asked string // by the node's configuration

	mu      sync.Mutex
	path    string
	version string
	changed time.Time
	failed  error // of a look a moment ago: one runtime that hangs does not hold up all starts, one after the other
	until   time.Time
}

// lookPause is how long the failure of a look stays.
const lookPause = 5 * time.Second

// find returns the path of the runtime and what it says of itself.
func (r *runtimes) find(ctx context.Context, cgroups int) (path, version string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if info, err := os.Stat(r.path); r.path != "" && err == nil && info.ModTime().Equal(r.changed) {
		return r.path, r.version, nil
	}
	if r.failed != nil && time.Now().Before(r.until) {
		return "", "", r.failed
	}
	names := []string{r.asked}
	if r.asked == "" {
		names = []string{"runc", "crun"}
	}
	var why []string
	for _, name := range names {
		path, err := lookPath(name)
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		version, err := ask(ctx, path)
		if err == nil && cgroups == 1 && strings.HasPrefix(version, "crun") && hybrid() {
			err = fmt.Errorf("%s does not take cgroups of both versions at once", path)
		}
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			why = append(why, err.Error())
			continue
		}
		r.path, r.version, r.changed, r.failed = path, version, info.ModTime(), nil
		return path, version, nil
	}
	if ctx.Err() != nil {
		return "", "", context.Cause(ctx)
	}
	r.until = time.Now().Add(lookPause)
	r.failed = structs.Errorf(structs.Unavailable, "OCI runtime", "there is none: %s", strings.Join(why, "; ")).
		Advise("install runc or crun, or name one in the node's configuration of the oci driver")
	return "", "", r.failed
}

// lookPath also looks where services often do not.
func lookPath(name string) (string, error) {
	path, err := osexec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin", "/usr/local/bin", "/usr/bin"} {
			if path, err := osexec.LookPath(dir + "/" + name); err == nil {
				return path, nil
			}
		}
	}
	return "", err
}

func ask(ctx context.Context, path string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := osexec.CommandContext(ctx, path, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first), nil
}

// hybrid reports whether the unified hierarchy beside those of version 1 has controllers: crun refuses that.
func hybrid() bool {
	raw, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers")
	return err == nil && len(bytes.TrimSpace(raw)) > 0
}

// lastWords is what a runtime wrote into its log about why it failed.
func lastWords(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	said := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		var line struct{ Level, Msg string }
		if json.Unmarshal(s.Bytes(), &line) == nil && line.Level == "error" && line.Msg != "" {
			said = line.Msg
		}
	}
	return said
}
