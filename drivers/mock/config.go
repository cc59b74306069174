package mock

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/proffer/proffer/structs"
)

// Config is what a task of this driver may say.
type Config struct {
	RunFor         time.Duration // run_for: how long it runs; -1 ("forever") until it is stopped. Default: it ends at once
	ExitCode       int           // exit_code: with which it then ends
	OOM            bool          // oom: it is reported as killed for its memory
	StartError     string        // start_error: starting fails with this
	StartErrorKind structs.Kind  // start_error_kind: of that error. Default internal
	StartDelay     time.Duration // start_delay: how long starting takes
	FailFirst      int           // fail_first: so many starts end with exit code 1
	IgnoreSignals  bool          // ignore_signals: only a kill ends it
	StopDelay      time.Duration // stop_delay: how long it runs on after a signal that ends it
	Stdout         []string      // stdout: lines that it writes at its start
	Stderr         []string      // stderr
	BusyAfter      time.Duration // busy_after: since its start, when it begins to use busy_cores; before, it uses next to nothing
	BusyCores      int           // busy_cores: how many. Default: it never uses any
	ExecExitCode   int           // exec_exit_code: of commands that are run in it
	ExecStdout     string        // exec_stdout: what they write, after their standard input. Default: their arguments
	ExecRunFor     time.Duration // exec_run_for: how long they run
	ExecFailUntil  time.Duration // exec_fail_until: in a task younger than this they end with exit code 1
	ExecFailAfter  time.Duration // exec_fail_after: and in one that is older than this
	Image          string        // image: the machine has it from the first start on, and says so
	ImageSize      structs.Bytes // image_size: what it then takes. Default: not known
	PullDelay      time.Duration // pull_delay: how much longer a start takes on a machine that does not have it
}

var fields = map[string]func(*Config, any) error{
	"run_for":          func(c *Config, v any) error { return duration(v, &c.RunFor, true) },
	"exit_code":        func(c *Config, v any) error { return integer(v, &c.ExitCode, 0, 255) },
	"oom":              func(c *Config, v any) error { return boolean(v, &c.OOM) },
	"start_error":      func(c *Config, v any) error { return text(v, &c.StartError) },
	"start_error_kind": func(c *Config, v any) error { return kind(v, &c.StartErrorKind) },
	"start_delay":      func(c *Config, v any) error { return duration(v, &c.StartDelay, false) },
	"fail_first":       func(c *Config, v any) error { return integer(v, &c.FailFirst, 0, math.MaxInt32) },
	"ignore_signals":   func(c *Config, v any) error { return boolean(v, &c.IgnoreSignals) },
	"stop_delay":       func(c *Config, v any) error { return duration(v, &c.StopDelay, false) },
	"stdout":           func(c *Config, v any) error { return lines(v, &c.Stdout) },
	"stderr":           func(c *Config, v any) error { return lines(v, &c.Stderr) },
	"busy_after":       func(c *Config, v any) error { return duration(v, &c.BusyAfter, false) },
	"busy_cores":       func(c *Config, v any) error { return integer(v, &c.BusyCores, 0, 1<<20) },
	"exec_exit_code":   func(c *Config, v any) error { return integer(v, &c.ExecExitCode, 0, 255) },
	"exec_stdout":      func(c *Config, v any) error { return text(v, &c.ExecStdout) },
	"exec_run_for":     func(c *Config, v any) error { return duration(v, &c.ExecRunFor, false) },
	"exec_fail_until":  func(c *Config, v any) error { return duration(v, &c.ExecFailUntil, false) },
	"exec_fail_after":  func(c *Config, v any) error { return duration(v, &c.ExecFailAfter, false) },
	"image":            func(c *Config, v any) error { return text(v, &c.Image) },
	"image_size":       func(c *Config, v any) error { return size(v, &c.ImageSize) },
	"pull_delay":       func(c *Config, v any) error { return duration(v, &c.PullDelay, false) },
}

// Parse reads a task's config; object names the place for messages. Every fault is reported, not the first one only.
func Parse(object string, config map[string]any) (*Config, error) {
	c := &Config{StartErrorKind: structs.Internal}
	var problems structs.Problems
	for _, name := range slices.Sorted(maps.Keys(config)) {
		set, ok := fields[name]
		if !ok {
			e := problems.Add(object+"."+name, "the mock driver has no such setting")
			if near := nearest(name); near != "" {
				e.Advise("did you mean %s?", near)
			} else {
				e.Advise("it knows %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
			}
			continue
		}
		if err := set(c, config[name]); err != nil {
			problems.Add(object+"."+name, "%w", err)
		}
	}
	return c, problems.Err()
}

func duration(v any, into *time.Duration, forever bool) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%v is not a duration such as \"30s\"", v)
	}
	if forever && s == "forever" {
		*into = -1
		return nil
	}
	d, err := structs.ParseDuration(s)
	*into = d.Std()
	return err
}

// integer takes every form that a decoder of HCL, JSON or msgpack gives to a whole number.
func integer(v any, into *int, least, most int) error {
	var n int64
	switch x := v.(type) {
	case int:
		n = int64(x)
	case int64:
		n = x
	case uint64:
		n = int64(min(x, math.MaxInt64))
	case int8:
		n = int64(x)
	case float64:
		if x != math.Trunc(x) || math.Abs(x) > 1<<53 {
			return fmt.Errorf("%v is not a whole number", x)
		}
		n = int64(x)
	default:
		return fmt.Errorf("%v is not a whole number", v)
	}
	if n < int64(least) || n > int64(most) {
		return fmt.Errorf("%d is out of range (%d to %d)", n, least, most)
	}
	*into = int(n)
	return nil
}

func size(v any, into *structs.Bytes) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%v is not a size such as \"512MiB\"", v)
	}
	b, err := structs.ParseBytes(s)
	*into = b
	return err
}

func boolean(v any, into *bool) error {
	b, ok := v.(bool)
	if !ok {
		return fmt.Errorf("%v is neither true nor false", v)
	}
	*into = b
	return nil
}

func text(v any, into *string) error {
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("%v is not a string", v)
	}
	*into = s
	return nil
}

func lines(v any, into *[]string) error {
	switch x := v.(type) {
	case string:
		*into = []string{x}
		return nil
	case []string:
		*into = x
		return nil
	case []any:
		for _, item := range x {
			s, ok := item.(string)
			if !ok {
				return fmt.Errorf("%v is not a string", item)
			}
			*into = append(*into, s)
		}
		return nil
	}
	return fmt.Errorf("%v is neither a string nor a list of strings", v)
}

func kind(v any, into *structs.Kind) error {
	kinds := []structs.Kind{structs.NotFound, structs.Invalid, structs.Conflict, structs.Forbidden, structs.Unavailable,
		structs.Unknown, structs.Exhausted, structs.Internal}
	s, ok := v.(string)
	if !ok || !slices.Contains(kinds, structs.Kind(s)) {
		return fmt.Errorf("%v is not a kind of error (%v)", v, kinds)
	}
	*into = structs.Kind(s)
	return nil
}

// nearest returns the setting that name is most likely a slip of; empty when none is near.
func nearest(name string) string {
	best, least := "", 1+len(name)/3
	for _, known := range slices.Sorted(maps.Keys(fields)) {
		if d := distance(name, known); d <= least && (best == "" || d < distance(name, best)) {
			best = known
		}
	}
	return best
}

// distance is the number of single-letter changes that make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
