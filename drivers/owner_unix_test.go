//go:build unix

package drivers_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

func ownerOf(t *testing.T, path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(info.Sys().(*syscall.Stat_t).Uid)
}
