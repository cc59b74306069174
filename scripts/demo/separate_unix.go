//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// separate keeps the terminal's Ctrl-C from the agent.
func separate(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
