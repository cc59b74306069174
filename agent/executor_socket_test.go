package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/proffer/proffer/agent/config"
	"github.com/proffer/proffer/structs"
)

// The socket of executors takes the place of one that a killed agent left, and is for every user.
func TestExecutorSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "x") // that of the test has too long a path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	a := &Agent{dir: dir, config: &config.Config{Client: &config.Client{ExecutorSocket: true}}}
	path := a.socketOfExecutors()
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil { // as with a umask of 077
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.openExecutorSocket(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("it is %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("its folder is %v, %v", info.Mode(), err)
	}
	a.undo[0](t.Context())
	if _, err := os.Stat(path); err == nil {
		t.Error("the agent stopped, and its socket is there")
	}

	a.dir = filepath.Join(dir, strings.Repeat("x", 100))
	if err := a.openExecutorSocket(); structs.KindOf(err) != structs.Unavailable || !strings.Contains(err.Error(), "107") {
		t.Errorf("in a deep folder: %v", err)
	}
	a.config.Client.ExecutorSocket = false
	if err := a.openExecutorSocket(); err != nil {
		t.Errorf("without one: %v", err)
	}
}
