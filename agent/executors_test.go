package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The key of a node is made once, is its own alone, and a damaged one is not replaced by another.
func TestExecutorKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "executor-key")
	key, err := executorKey(path)
	if err != nil || len(key) != 32 {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if again, err := executorKey(path); err != nil || !bytes.Equal(again, key) {
		t.Errorf("it is another one after a restart: %v", err)
	}
	if other, err := executorKey(path + "2"); err != nil || bytes.Equal(other, key) {
		t.Errorf("two nodes have the same: %v", err)
	}
	if err := os.WriteFile(path, key[:31], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := executorKey(path); err == nil || !strings.Contains(err.Error(), "31 bytes") {
		t.Errorf("a damaged one: %v", err)
	}
}
