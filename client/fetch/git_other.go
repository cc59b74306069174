//go:build !unix

package fetch

import (
	"os/exec"
	"time"
)

// ownGroup does what can be done here: it waits no longer than some seconds for what the program started.
func ownGroup(cmd *exec.Cmd) { cmd.WaitDelay = 5 * time.Second }
