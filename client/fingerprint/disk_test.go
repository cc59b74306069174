//go:build linux || darwin

package fingerprint

import (
	"testing"

	"github.com/proffer/proffer/structs"
	"golang.org/x/sys/unix"
)

// What is kept for others is neither free nor used, so a disk of which nothing is used is not full.
func TestDiskCountsAsDf(t *testing.T) {
	dir := t.TempDir()
	free, total, err := Disk(dir)
	if err != nil {
		t.Fatal(err)
	}
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	size, kept := structs.Bytes(s.Blocks)*structs.Bytes(s.Bsize), structs.Bytes(s.Bfree-s.Bavail)*structs.Bytes(s.Bsize)
	// Others may write meanwhile, which moves both alike.
	if slack := structs.Bytes(1 << 30); free < 0 || free > total || total > size-kept+slack || total < size-kept-slack {
		t.Errorf("%s of %s are free; the disk has %s, of which %s is kept for others", free, total, size, kept)
	}
}
