package structs

import (
	"fmt"
	"strconv"
	"strings"
)

// Band is a class of priority; a higher one is served first. See the order in website/docs/concepts.
type Band int8

const (
	BestEffort Band = iota
	BatchBand
	Production
	Monitoring
)

var bandNames = [...]string{"best-effort", "batch", "production", "monitoring"}

func (b Band) String() string {
	if b < 0 || int(b) >= len(bandNames) {
		return "band " + strconv.Itoa(int(b))
	}
	return bandNames[b]
}

// Priority is a band and a level inside it, written "batch+10". Levels run from -100 to 100.
type Priority struct {
	Band  Band `json:"band"`
	Level int8 `json:"level"`
}

// DefaultPriority is batch+0.
var DefaultPriority = Priority{Band: BatchBand}

// ParsePriority reads "production", "batch+10" or "batch-5". The empty string is the default.
func ParsePriority(s string) (Priority, error) {
	if s == "" {
		return DefaultPriority, nil
	}
	for b, name := range bandNames {
		rest, ok := strings.CutPrefix(s, name)
		if !ok {
			continue
		}
		if rest == "" {
			return Priority{Band: Band(b)}, nil
		}
		if rest[0] != '+' && rest[0] != '-' {
			continue
		}
		level, err := strconv.Atoi(rest)
		if err != nil || level < -100 || level > 100 {
			return Priority{}, fmt.Errorf("%q: a level is a whole number from -100 to 100", s)
		}
		return Priority{Band(b), int8(level)}, nil
	}
	return Priority{}, fmt.Errorf("%q is not a priority: a band (%s) with an optional level, such as \"batch+10\"",
		s, strings.Join(bandNames[:], ", "))
}

func (p Priority) String() string {
	if p.Level == 0 {
		return p.Band.String()
	}
	return fmt.Sprintf("%s%+d", p.Band, p.Level)
}

// Compare is positive when p is served before o.
func (p Priority) Compare(o Priority) int {
	if p.Band != o.Band {
		return int(p.Band) - int(o.Band)
	}
	return int(p.Level) - int(o.Level)
}
