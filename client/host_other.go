//go:build !unix

package client

import (
	"context"
	"io/fs"
	"os/exec"
	"time"
)

func apart(ctx context.Context, args []string) *exec.Cmd {
	p := exec.CommandContext(ctx, args[0], args[1:]...)
	p.WaitDelay = time.Second
	return p
}

func ownerOf(fs.FileInfo) (uid, gid int) { return -1, -1 }

func linksOf(fs.FileInfo) (links int, uid, gid uint32) { return 1, 0, 0 }
