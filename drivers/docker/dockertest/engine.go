//go:build linux

// Package dockertest starts Docker engines for tests, and makes images for them. It needs root and Debian's docker.io and
// busybox-static.
package dockertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// patience bounds what must happen; it says nothing about how long it takes.
const patience = 5 * time.Minute

// Engine is an engine of its own folder and socket, without networks, and with what it takes to harm it.
type Engine struct {
	Dir string
	API *client.Client

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// Endpoint is where it listens.
func (e *Engine) Endpoint() string { return "unix://" + e.Dir + "/sock" }

// Data is the folder of what it keeps.
func (e *Engine) Data() string { return e.Dir + "/data" }

// Start starts an engine with the image busybox:test in it.
func Start() (e *Engine, err error) { return StartOn("") }

// StartOn starts one whose disk has a size, as tmpfs takes it; empty: that of the machine.
func StartOn(size string) (e *Engine, err error) {
	e = &Engine{}
	if e.Dir, err = os.MkdirTemp("", "pd"); err != nil { // short: it has sockets
		return nil, err
	}
	err = os.Chmod(e.Dir, 0o755)
	if err == nil && size != "" {
		if err = os.Mkdir(e.Data(), 0o711); err == nil {
			err = unix.Mount("proffer-test", e.Data(), "tmpfs", 0, "size="+size)
		}
	}
	if err == nil {
		err = e.Run()
	}
	if err == nil {
		e.API, err = client.New(client.WithHost(e.Endpoint()), client.WithAPIVersion("1.41"))
	}
	if err == nil {
		err = e.Load("busybox:test", Busybox())
	}
	if err != nil {
		return nil, errors.Join(err, e.End())
	}
	return e, nil
}

// starts are made by one thread that never ends, so that the engine dies with the tests.
var starts = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

// Run starts dockerd and waits until it answers.
func (e *Engine) Run() error {
	log, err := os.OpenFile(filepath.Join(e.Dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("dockerd", "--data-root", e.Data(), "--exec-root", e.Dir+"/exec", "--pidfile", e.Dir+"/pid", "-H", e.Endpoint(),
		"--bridge=none", "--iptables=false", "--ip-forward=false", "--live-restore", "--shutdown-timeout", "5")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	starts() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return err
	}
	done := make(chan struct{})
	e.mu.Lock()
	e.cmd, e.done = cmd, done
	e.mu.Unlock()
	go func() {
		cmd.Wait()
		close(done)
	}()
	api, err := client.New(client.WithHost(e.Endpoint()))
	if err != nil {
		return err
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, err = api.Ping(ctx, client.PingOptions{}); err == nil {
			return nil
		}
		select {
		case <-done:
			text, _ := os.ReadFile(filepath.Join(e.Dir, "log"))
			return fmt.Errorf("the engine ended: %s", text)
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Signal sends dockerd a signal. After SIGSTOP it has stopped when Signal returns: for a moment its threads might answer calls.
func (e *Engine) Signal(s syscall.Signal) {
	if e.cmd.Process.Signal(s) != nil || s != unix.SIGSTOP {
		return
	}
	for unix.Waitid(unix.P_PID, e.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// Stop ends dockerd in order; what it started runs on.
func (e *Engine) Stop() {
	e.Signal(unix.SIGTERM)
	<-e.done
}

// Kill kills dockerd alone, as a crash does: what it started runs on.
func (e *Engine) Kill() {
	e.Signal(unix.SIGKILL)
	<-e.done
	os.Remove(e.Dir + "/pid")
	e.endContainerd()
}

// endContainerd ends dockerd's child, which dies with it where somebody takes care of orphans. Its file goes too: the next dockerd
// would take a process that nobody waited for as one that runs.
func (e *Engine) endContainerd() {
	file := e.Dir + "/exec/containerd/containerd.pid"
	raw, err := os.ReadFile(file)
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(raw))); err == nil && mine(pid, e.Dir) {
		unix.Kill(pid, unix.SIGKILL)
	}
	os.Remove(file)
}

// End removes all containers and the engine, also one that was stopped by a signal.
func (e *Engine) End() error {
	if e.cmd != nil {
		e.Signal(unix.SIGCONT)
	}
	if e.API != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		list, err := e.API.ContainerList(ctx, client.ContainerListOptions{All: true})
		if err == nil {
			for _, c := range list.Items {
				e.API.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			}
		}
		e.API.Close()
	}
	if e.cmd != nil {
		e.Signal(unix.SIGTERM)
		<-e.done
	}
	e.endContainerd()
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], e.Dir+"/") {
			unix.Unmount(f[1], unix.MNT_DETACH)
		}
	}
	return os.RemoveAll(e.Dir)
}

// mine reports whether a process was started with the engine's folder.
func mine(pid int, dir string) bool {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return bytes.Contains(raw, []byte(dir+"/"))
}

// Load puts an image in the engine.
func (e *Engine) Load(ref string, img v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		return err
	}
	r, err := e.API.ImageLoad(context.Background(), &b)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// Busybox is an image of Debian's static busybox.
var Busybox = sync.OnceValue(func() v1.Image {
	path, err := exec.LookPath("busybox")
	if err != nil {
		panic(err)
	}
	return Image(path)
})

// Image makes an image with busybox, from its path, in it, and further files.
func Image(busybox string, more ...string) v1.Image {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	program, err := os.ReadFile(busybox)
	if err != nil {
		panic(err)
	}
	file := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		w.Write(data)
	}
	for _, dir := range []string{"bin", "etc", "tmp", "dev", "proc", "sys"} {
		file(&tar.Header{Name: dir + "/", Typeflag: tar.TypeDir}, nil)
	}
	file(&tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg}, program)
	for _, name := range strings.Fields("sh cat echo sleep printf dd stty id env ls mount touch kill test true nc wc seq head tail df hostname") {
		file(&tar.Header{Name: "bin/" + name, Linkname: "busybox", Typeflag: tar.TypeSymlink}, nil)
	}
	file(&tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/:/bin/sh\n"))
	for i, text := range more {
		file(&tar.Header{Name: fmt.Sprintf("more%d", i), Typeflag: tar.TypeReg}, []byte(text))
	}
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		panic(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		panic(err)
	}
	conf, err := img.ConfigFile()
	if err != nil {
		panic(err)
	}
	conf = conf.DeepCopy()
	conf.OS, conf.Architecture = "linux", runtime.GOARCH
	conf.Config.Env = []string{"PATH=/bin", "FROM_IMAGE=yes"}
	conf.Config.Cmd = []string{"/bin/sh"}
	if img, err = mutate.ConfigFile(img, conf); err != nil {
		panic(err)
	}
	return img
}
