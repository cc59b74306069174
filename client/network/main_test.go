//go:build linux && system

package network

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// The tests are root in a network of their own, so that they see nothing of the machine's and leave nothing there.
func TestMain(m *testing.M) {
	if os.Getenv("PROFFER_TEST_NETWORK") != "" || os.Geteuid() != 0 {
		if act := os.Getenv("PROFFER_TEST_ACT"); act != "" {
			actor(act)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "PROFFER_TEST_NETWORK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
