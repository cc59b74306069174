package exec

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Isolation and network modes of a config.
const (
	isolationFull = "full"
	isolationNone = "none"
	networkHost   = "host"
	networkNone   = "none"
)

// config is what a job writes for a task of this driver.
type config struct {
	command   string
	args      []string
	isolation string // empty: full where it is possible
	network   string
	capAdd    []string
	rlimits   []Rlimit
	pids      int // 0: the default
}

// keys has the fields of a config; the values are what they hold, for messages.
var keys = map[string]string{
	"command":   "a string",
	"args":      "a list of strings",
	"isolation": `"full" or "none"`,
	"network":   `"host" or "none"`,
	"cap_add":   "a list of capabilities",
	"rlimits":   "a map of limits",
	"pids":      "a number",
}

// rlimits that a config may set, with their numbers for setrlimit on Linux.
var rlimits = map[string]int{"fsize": 1, "stack": 3, "core": 4, "nproc": 6, "nofile": 7, "memlock": 8}

const maxArgs = 4096

// parse reads a config and collects everything that is wrong with it. object names the place for messages.
func parse(object string, raw map[string]any) (*config, error) {
	c := &config{network: networkHost}
	var problems structs.Problems
	for _, key := range slices.Sorted(maps.Keys(raw)) {
		value, at := raw[key], object+"."+key
		switch key {
		case "command":
			s, ok := value.(string)
			if !ok || s == "" || strings.ContainsRune(s, 0) {
				problems.Add(at, "it must be the path or name of a program, not %s", describe(value))
			}
			c.command = s
		case "args":
			c.args = stringsOf(&problems, at, value)
			if len(c.args) > maxArgs {
				problems.Add(at, "%d arguments are more than %d", len(c.args), maxArgs)
			}
		case "isolation":
			c.isolation = oneOf(&problems, at, value, isolationFull, isolationNone)
		case "network":
			c.network = oneOf(&problems, at, value, networkHost, networkNone)
		case "cap_add":
			for _, name := range stringsOf(&problems, at, value) {
				if _, ok := Capability(name); !ok {
					p := problems.Add(at, "capability %q may not be added", name)
					short := strings.TrimPrefix(strings.ToLower(name), "cap_")
					if near := nearest(short, slices.Sorted(maps.Keys(capabilities))); near != "" {
						p.Advise("did you mean %q?", near)
					} else {
						p.Advise("allowed are %s", strings.Join(slices.Sorted(maps.Keys(capabilities)), ", "))
					}
					continue
				}
				c.capAdd = append(c.capAdd, name)
			}
		case "rlimits":
			c.rlimits = rlimitsOf(&problems, at, value)
		case "pids":
			n, ok := whole(value)
			if !ok || n < 2 || n > 1<<22 {
				problems.Add(at, "it must be a number from 2 to %d, not %s", 1<<22, describe(value))
			}
			c.pids = int(n)
		default:
			p := problems.Add(at, "the exec driver has no such setting")
			if near := nearest(key, slices.Sorted(maps.Keys(keys))); near != "" {
				p.Advise("did you mean %q?", near)
			} else {
				p.Advise("it has %s", strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
			}
		}
	}
	if _, ok := raw["command"]; !ok {
		problems.Add(object+".command", "it is missing").Advise(`write the program to run, such as command = "/usr/bin/python3"`)
	}
	if c.isolation == isolationNone {
		for key, set := range map[string]bool{"network": c.network != networkHost, "cap_add": c.capAdd != nil} {
			if set {
				problems.Add(object+"."+key, `it needs isolation = "full"`)
			}
		}
	}
	return c, problems.Err()
}

func stringsOf(problems *structs.Problems, at string, value any) []string {
	switch list := value.(type) {
	case []string:
		return list
	case []any:
		out := make([]string, 0, len(list))
		for i, v := range list {
			s, ok := v.(string)
			if !ok || strings.ContainsRune(s, 0) {
				problems.Add(fmt.Sprintf("%s[%d]", at, i), "it must be a string, not %s", describe(v))
				continue
			}
			out = append(out, s)
		}
		return out
	}
	problems.Add(at, "it must be a list of strings, not %s", describe(value))
	return nil
}

func oneOf(problems *structs.Problems, at string, value any, allowed ...string) string {
	s, ok := value.(string)
	if !ok || !slices.Contains(allowed, s) {
		p := problems.Add(at, `it must be "%s", not %s`, strings.Join(allowed, `" or "`), describe(value))
		if near := nearest(s, allowed); near != "" {
			p.Advise("did you mean %q?", near)
		}
	}
	return s
}

func rlimitsOf(problems *structs.Problems, at string, value any) []Rlimit {
	m, ok := value.(map[string]any)
	if list, isList := value.([]any); isList && len(list) == 1 {
		m, ok = list[0].(map[string]any)
	}
	if !ok {
		problems.Add(at, "it must be a map such as { nofile = 65536 }, not %s", describe(value))
		return nil
	}
	var out []Rlimit
	for _, name := range slices.Sorted(maps.Keys(m)) {
		number, ok := rlimits[name]
		if !ok {
			p := problems.Add(at+"."+name, "there is no such limit")
			if near := nearest(name, slices.Sorted(maps.Keys(rlimits))); near != "" {
				p.Advise("did you mean %q?", near)
			} else {
				p.Advise("there are %s", strings.Join(slices.Sorted(maps.Keys(rlimits)), ", "))
			}
			continue
		}
		n, ok := whole(m[name])
		limit := uint64(n)
		if m[name] == "unlimited" {
			limit, ok = ^uint64(0), true
		} else if n < 0 {
			ok = false
		}
		if !ok {
			problems.Add(at+"."+name, `it must be a whole number or "unlimited", not %s`, describe(m[name]))
			continue
		}
		out = append(out, Rlimit{number, limit, limit})
	}
	return out
}

// whole returns the value of any kind of number that a decoder may give, when it is whole.
func whole(value any) (int64, bool) {
	switch n := value.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return 0, false
}

func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("%q", v)
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	case []any, []string:
		return "a list"
	case map[string]any:
		return "a map"
	}
	return fmt.Sprintf("a %T", value)
}

// nearest returns the candidate that a typing error away from word, or "".
func nearest(word string, candidates []string) string {
	best, limit := "", len(word)/2+1
	for _, c := range candidates {
		if d := distance(word, c); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// distance is the number of insertions, deletions and replacements between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
