package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"

	"github.com/proffer/proffer/structs"
)

// plugins runs those of one allocation. They and what they start inherit a lock: a plugin outlives an agent that is killed, and what it
// then adds would belong to nobody if the next agent had left the network before.
type plugins struct {
	*invoke.RawExec
	version.PluginDecoder
	lock *os.File
}

// pluginDelay is how long what a plugin started may hold its output when the plugin itself has ended.
const pluginDelay = 5 * time.Second

// ExecPlugin runs one.
func (p *plugins) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	var out, errs bytes.Buffer
	c := exec.CommandContext(ctx, path)
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, bytes.NewReader(stdin), &out, &errs
	c.ExtraFiles, c.WaitDelay = []*os.File{p.lock}, pluginDelay
	err := c.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	said := &types.Error{}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the plugin %s was given up: %w", filepath.Base(path), context.Cause(ctx))
	case json.Unmarshal(out.Bytes(), said) == nil && said.Msg != "":
		return nil, said
	}
	return nil, fmt.Errorf("the plugin %s failed: %w: %s", filepath.Base(path), err, bytes.TrimSpace(append(errs.Bytes(), out.Bytes()...)))
}

// locked opens the lock of an allocation's plugins, once nobody else has it. The caller closes it.
func (n *Networks) locked(ctx context.Context, alloc structs.AllocID) (*os.File, error) {
	if err := os.MkdirAll(n.folder(alloc), 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(n.folder(alloc), "cni.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
			err = structs.Errorf(structs.Unavailable, "network of allocation "+structs.Short(alloc), "a plugin that an earlier agent started is still at work")
		}
		break
	}
	f.Close()
	return nil, err
}
