package drivers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Pinner is a driver whose tasks keep off the cores that others have for themselves. Each has to: a core is a task's alone only when
// the tasks of all drivers keep off it.
type Pinner interface {
	// KeepOff says which cores of the node tasks have for themselves, whichever drivers run them, and which are left. Those of the
	// driver's tasks that have none run on what is left from now on, or anywhere where nothing is, as do those to come. It is called before a
	// task with cores starts, after one ended, and when the agent starts. What may hang is not waited for: it is done when it can be.
	KeepOff(ctx context.Context, taken, left []int) error
}

// FormatCores writes a list of cores as the kernel reads it.
func FormatCores(cores []int) string {
	list := make([]string, len(cores))
	for i, n := range cores {
		list[i] = strconv.Itoa(n)
	}
	return strings.Join(list, ",")
}

// ParseCores reads a list such as "0-3,8".
func ParseCores(text string) (out []int, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		a, b, ranged := strings.Cut(part, "-")
		first, err := strconv.Atoi(a)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(b)
		}
		if err != nil || first < 0 || last < first || last > 1<<16 {
			return nil, fmt.Errorf("%q is not a list of cores", text)
		}
		for n := first; n <= last; n++ {
			out = append(out, n)
		}
	}
	return out, nil
}
