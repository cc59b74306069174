package schema

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/proffer/proffer/structs"
)

// Ulimit is a limit of a process; -1 is none.
type Ulimit struct {
	Name       string // in lower case, without RLIMIT_
	Soft, Hard int64
}

var ulimitNames = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
	"rttime", "sigpending", "stack"}

// Ulimits reads name = "soft:hard", or one number for both; -1 and "unlimited" are none. They are sorted by name.
func (b *Block) Ulimits(key string) (out []Ulimit) {
	m := b.TextMap(key)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := key + "." + name
		if !slices.Contains(ulimitNames, name) {
			p := b.Problem(at, "there is no such limit")
			if near := structs.Nearest(name, ulimitNames); near != "" {
				p.Advise("did you mean %q?", near)
			} else {
				p.Advise("there are %s", strings.Join(ulimitNames, ", "))
			}
			continue
		}
		soft, hard, ok := Limits(m[name])
		if !ok {
			b.Problem(at, `%q is neither a limit nor "soft:hard"`, m[name])
			continue
		}
		out = append(out, Ulimit{name, soft, hard})
	}
	return out
}

// Limits reads "soft:hard", or one number for both; -1 and "unlimited" are none.
func Limits(text string) (soft, hard int64, ok bool) {
	first, second, both := strings.Cut(text, ":")
	if !both {
		second = first
	}
	soft, ok1 := limit(first)
	hard, ok2 := limit(second)
	return soft, hard, ok1 && ok2 && (hard == -1 || soft <= hard && soft != -1)
}

func limit(text string) (int64, bool) {
	if text == "unlimited" {
		return -1, true
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n >= -1
}
