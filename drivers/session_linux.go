package drivers

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// KillSession kills the processes of a session that are in control groups whose path has group: what a command in a container began, as far
// as that did not leave its session. Numbers are given anew, so that a process of the session alone might be one of somebody else.
func KillSession(session int, group string) {
	if session <= 1 || group == "" {
		return
	}
	for range 3 { // what begins meanwhile is found by the next look
		found := false
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			if pid, _ := strconv.Atoi(filepath.Base(dir)); killOf(pid, session, group) {
				found = true
			}
		}
		if !found {
			return
		}
	}
}

// killOf kills a process that is of a session. It is held while it is looked at, so that no other one gets its number.
func killOf(pid, session int, group string) bool {
	if of, err := unix.Getsid(pid); err != nil || of != session {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	groups, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if of, _ := unix.Getsid(pid); err != nil || of != session || !strings.Contains(string(groups), group) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}
