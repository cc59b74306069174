package placement

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// version is numbers with an optional suffix: "6.1.0-13-amd64" is 6 1 0 with "13-amd64".
type version struct {
	numbers []int64
	suffix  string
}

// versionRange is a list of conditions that all hold: ">= 1.2, < 2".
type versionRange struct {
	strict bool // semver: three numbers, and a suffix is a pre-release that comes before its release
	bounds []versionBound
}

type versionBound struct {
	operator string
	version  version
}

// parseVersion reads a version; a leading v and build metadata behind + are dropped.
func parseVersion(s string, strict bool) (version, error) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "v")
	text, _, _ = strings.Cut(text, "+")
	end := 0
	for end < len(text) && (text[end] == '.' || text[end] >= '0' && text[end] <= '9') {
		end++
	}
	numbers, suffix := strings.TrimSuffix(text[:end], "."), text[end:]
	var v version
	for field := range strings.SplitSeq(numbers, ".") {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return version{}, fmt.Errorf("%q is not a version", s)
		}
		v.numbers = append(v.numbers, n)
	}
	v.suffix = strings.TrimLeft(suffix, "-_~.")
	if strict && (len(v.numbers) != 3 || suffix != "" && suffix[0] != '-') {
		return version{}, fmt.Errorf("%q is not a semantic version such as 1.2.3", s)
	}
	return v, nil
}

func parseVersionRange(s string, strict bool) (versionRange, error) {
	r := versionRange{strict: strict}
	for clause := range strings.SplitSeq(s, ",") {
		clause = strings.TrimSpace(clause)
		operator := "="
		for _, o := range []string{">=", "<=", "!=", "~>", ">", "<", "="} {
			if rest, ok := strings.CutPrefix(clause, o); ok {
				operator, clause = o, rest
				break
			}
		}
		if operator == "~>" && strict {
			return r, fmt.Errorf("~> is no operator of semver; use version")
		}
		v, err := parseVersion(clause, false)
		if err != nil {
			return r, err
		}
		r.bounds = append(r.bounds, versionBound{operator, v})
	}
	return r, nil
}

// matches reports whether text is a version inside r. Without strict a suffix of text counts only where the bound has
// one as well: a kernel "6.1.0-13-amd64" is at least 6.1.0.
func (r versionRange) matches(text string) bool {
	v, err := parseVersion(text, r.strict)
	if err != nil {
		return false
	}
	for _, b := range r.bounds {
		c := compareNumbers(v.numbers, b.version.numbers)
		if c == 0 && (r.strict || b.version.suffix != "") {
			c = compareSuffix(v.suffix, b.version.suffix, r.strict)
		}
		ok := false
		switch b.operator {
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
		case "~>": // at least this, and the last number alone may grow
			n := len(b.version.numbers) - 1
			ok = c >= 0 && compareNumbers(v.numbers[:min(n, len(v.numbers))], b.version.numbers[:n]) == 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// compareNumbers compares number by number; what is missing is 0.
func compareNumbers(a, b []int64) int {
	for i := range max(len(a), len(b)) {
		var x, y int64
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// compareSuffix orders pre-releases as semver 2.0 §11 does; no suffix comes last. Without strict, "13-amd64" has two parts.
func compareSuffix(a, b string, strict bool) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	separator := func(r rune) bool { return r == '.' || !strict && strings.ContainsRune("-_~", r) }
	x, y := strings.FieldsFunc(a, separator), strings.FieldsFunc(b, separator)
	for i := range min(len(x), len(y)) {
		n, errN := strconv.ParseUint(x[i], 10, 64)
		m, errM := strconv.ParseUint(y[i], 10, 64)
		c := 0
		switch {
		case errN == nil && errM == nil:
			c = cmp.Compare(n, m)
		case errN == nil:
			c = -1
		case errM == nil:
			c = 1
		default:
			c = strings.Compare(x[i], y[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}
