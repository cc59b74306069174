package structs

import (
	"strconv"
	"strings"
)

// ParseRanges reads "1-10,20": ranges, or single numbers, in any order.
func ParseRanges(s string) (all []Range, err error) {
	for part := range strings.SplitSeq(s, ",") {
		one, err := ParseRange(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return uniteRanges(nil, all), nil
}

// ParseRange reads "20000-32000", or one number.
func ParseRange(s string) (Range, error) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		last = first
	}
	a, err1 := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	b, err2 := strconv.ParseInt(strings.TrimSpace(last), 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		return Range{}, Errorf(Invalid, "", "%q is not a range such as 20000-32000", s)
	case b > 1<<53:
		return Range{}, Errorf(Invalid, "", "%q is out of range", s)
	case a < 0 || b < a:
		return Range{}, Errorf(Invalid, "", "%q ends before it begins", s)
	}
	return Range{First: a, Last: b}, nil
}
