//go:build unix

package tree

import "syscall"

const noWait = syscall.O_NONBLOCK | syscall.O_NOFOLLOW
