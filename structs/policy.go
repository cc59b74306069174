package structs

import (
	"fmt"
	"strings"
	"time"
)

// OnLost is what happens to a group's work when its node is cut off.
type OnLost struct {
	Mode string   // replace, wait or fence
	Wait Duration // with wait: how long the region waits before it replaces
}

// Modes of OnLost.
const (
	OnLostReplace = "replace"
	OnLostWait    = "wait"
	OnLostFence   = "fence"
)

// ParseOnLost reads "replace", "wait(5m)" (up to 30 days) or "fence". The empty string is replace.
func ParseOnLost(s string) (OnLost, error) {
	switch s {
	case "", OnLostReplace:
		return OnLost{Mode: OnLostReplace}, nil
	case OnLostFence:
		return OnLost{Mode: OnLostFence}, nil
	}
	if inner, ok := strings.CutPrefix(s, "wait("); ok && strings.HasSuffix(inner, ")") {
		d, err := ParseDuration(strings.TrimSuffix(inner, ")"))
		if err != nil {
			return OnLost{}, err
		}
		if d < Duration(time.Second) || d > Duration(30*24*time.Hour) {
			return OnLost{}, fmt.Errorf("a wait of %s is out of range (1s to 720h)", d)
		}
		return OnLost{Mode: OnLostWait, Wait: d}, nil
	}
	return OnLost{}, fmt.Errorf("%q is not replace, wait(DURATION) or fence", s)
}

// Signals are the names that a job may use, with their numbers on Linux (amd64 and arm64 alike).
var Signals = map[string]int{
	"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGBUS": 7, "SIGFPE": 8,
	"SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15,
	"SIGSTKFLT": 16, "SIGCHLD": 17, "SIGCONT": 18, "SIGSTOP": 19, "SIGTSTP": 20, "SIGTTIN": 21, "SIGTTOU": 22,
	"SIGURG": 23, "SIGXCPU": 24, "SIGXFSZ": 25, "SIGVTALRM": 26, "SIGPROF": 27, "SIGWINCH": 28, "SIGIO": 29,
	"SIGPWR": 30, "SIGSYS": 31,
}
