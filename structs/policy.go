package structs

import (
	"fmt"
	"regexp"
	"strconv"
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

// Version is a parsed version: numbers, and what follows a '-'. What follows a '+' does not count.
type Version struct {
	Numbers []uint64
	Pre     string
}

var versionForm = regexp.MustCompile(`^v?(\d{1,18}(?:\.\d{1,18}){0,7})(?:[-~]([0-9A-Za-z.-]+)|([a-z][0-9A-Za-z.-]*))?(?:\+[0-9A-Za-z.-]+)?$`)

// ParseVersion reads "1.26.8", "v2.0-rc.1" or, as kernels have it, "6.8.0-45-generic". Semantic versions have exactly three
// numbers.
func ParseVersion(s string, semantic bool) (Version, error) {
	m := versionForm.FindStringSubmatch(s)
	if m == nil {
		return Version{}, fmt.Errorf("%q is not a version such as 1.26.8", s)
	}
	v := Version{Pre: m[2] + m[3]}
	for part := range strings.SplitSeq(m[1], ".") {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil {
			return Version{}, fmt.Errorf("%q is not a version such as 1.26.8", s)
		}
		v.Numbers = append(v.Numbers, n)
	}
	if semantic && (len(v.Numbers) != 3 || m[3] != "") {
		return Version{}, fmt.Errorf("%q is not a semantic version, which has three numbers such as 1.26.0", s)
	}
	return v, nil
}

// Compare orders versions as semver does: numbers (missing ones are 0), then a version with Pre below the one without, then
// the dotted parts of Pre, numbers by value and below words.
func (v Version) Compare(o Version) int {
	for i := range max(len(v.Numbers), len(o.Numbers)) {
		a, b := at(v.Numbers, i), at(o.Numbers, i)
		if a != b {
			if a < b {
				return -1
			}
			return 1
		}
	}
	switch {
	case v.Pre == o.Pre:
		return 0
	case v.Pre == "":
		return 1
	case o.Pre == "":
		return -1
	}
	a, b := strings.Split(v.Pre, "."), strings.Split(o.Pre, ".")
	for i := range min(len(a), len(b)) {
		if c := comparePart(a[i], b[i]); c != 0 {
			return c
		}
	}
	return len(a) - len(b)
}

func at(numbers []uint64, i int) uint64 {
	if i < len(numbers) {
		return numbers[i]
	}
	return 0
}

func comparePart(a, b string) int {
	x, errX := strconv.ParseUint(a, 10, 64)
	y, errY := strconv.ParseUint(b, 10, 64)
	switch {
	case errX == nil && errY == nil && x != y:
		if x < y {
			return -1
		}
		return 1
	case errX == nil && errY == nil:
		return 0
	case errX == nil:
		return -1
	case errY == nil:
		return 1
	}
	return strings.Compare(a, b)
}

// VersionRules is a condition on a version: every rule holds.
type VersionRules []VersionRule

// VersionRule compares with one version.
type VersionRule struct {
	Operator string // =, !=, >, >=, <, <=, or ~> (at least this, and equal but for the last number given)
	Version  Version
}

// ParseVersionRules reads ">= 1.2, < 2", up to 16 rules; a rule without an operator is "=".
func ParseVersionRules(s string, semantic bool) (VersionRules, error) {
	var rules VersionRules
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		op := part[:len(part)-len(strings.TrimLeft(part, "=!<>~"))]
		v, err := ParseVersion(strings.TrimSpace(part[len(op):]), semantic)
		if err != nil {
			return nil, err
		}
		switch op {
		case "":
			op = "="
		case "=", "!=", ">", ">=", "<", "<=", "~>":
		default:
			return nil, fmt.Errorf("%q has no known operator (=, !=, >, >=, <, <=, ~>)", part)
		}
		rules = append(rules, VersionRule{op, v})
		if len(rules) > 16 {
			return nil, fmt.Errorf("more than 16 rules")
		}
	}
	return rules, nil
}

// Match reports whether v satisfies every rule.
func (rules VersionRules) Match(v Version) bool {
	for _, r := range rules {
		c := v.Compare(r.Version)
		ok := false
		switch r.Operator {
		case "=":
			ok = c == 0
		case "!=":
			ok = c != 0
		case ">":
			ok = c > 0
		case ">=":
			ok = c >= 0
		case "<":
			ok = c < 0
		case "<=":
			ok = c <= 0
		case "~>":
			ok = c >= 0
			for i := range len(r.Version.Numbers) - 1 {
				ok = ok && at(v.Numbers, i) == r.Version.Numbers[i]
			}
		}
		if !ok {
			return false
		}
	}
	return true
}
