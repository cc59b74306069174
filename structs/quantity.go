package structs

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Milli is a count in thousandths: 1500 is 1.5 cores. It is written as a decimal number with at most three places.
type Milli int64

// Bytes is an amount of memory or disk. It is written as "256MiB"; a bare number is bytes.
type Bytes int64

// Duration is written as "1m30s".
type Duration time.Duration

// Time is an instant in nanoseconds since 1970 UTC; zero is "never". It is written as RFC 3339 in UTC, or null. Unlike
// time.Time it costs no allocation when decoded and has one encoding.
type Time int64

// At converts an instant.
func At(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixNano())
}

// Std converts back; the zero Time gives the zero time.Time.
func (t Time) Std() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(t)).UTC()
}

// IsZero reports whether t is "never".
func (t Time) IsZero() bool { return t == 0 }

// Add returns t shifted by d.
func (t Time) Add(d Duration) Time { return t + Time(d) }

// Sub returns t - u.
func (t Time) Sub(u Time) Duration { return Duration(t - u) }

func (t Time) String() string {
	if t == 0 {
		return "never"
	}
	return t.Std().Format(time.RFC3339Nano)
}

// MarshalJSON writes RFC 3339 or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	return t.Std().AppendFormat([]byte{'"'}, time.RFC3339Nano+`"`), nil
}

// UnmarshalJSON reads RFC 3339 or null.
func (t *Time) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		*t = 0
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("a time is a string such as %q", "2026-01-02T15:04:05Z")
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return fmt.Errorf("%q is not a time such as %q", s, "2026-01-02T15:04:05Z")
	}
	*t = At(at)
	return nil
}

// Std converts to the standard library's duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String drops the zero units that the standard library writes: "1m", not "1m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// ParseDuration reads "1m30s"; a negative or absurd duration is an error.
func ParseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as \"30s\" or \"1h30m\"", s)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", s)
	}
	return Duration(d), nil
}

// MarshalJSON writes the string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the string.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return errors.New(`a duration is a string such as "30s" or "1h30m"`)
	}
	v, err := ParseDuration(s)
	*d = v
	return err
}

var units = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15}, {"B", 1},
}

// ParseBytes reads "256MiB", "1.5GB" or a bare number of bytes. Negative, fractional below a byte, and more than an
// exbibyte are errors.
func ParseBytes(s string) (Bytes, error) {
	text, factor := strings.TrimSpace(s), 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			text, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && factor == 1 {
		if n < 0 || n > 1<<60 {
			return 0, fmt.Errorf("%q is out of range (0 to 1024PiB)", s)
		}
		return Bytes(n), nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsAny(text, "xXpPnNiI_") {
		return 0, fmt.Errorf("%q is not a size such as \"256MiB\" or \"1.5GB\"", s)
	}
	v *= factor
	if v < 0 || v > 1<<60 {
		return 0, fmt.Errorf("%q is out of range (0 to 1024PiB)", s)
	}
	if v != math.Trunc(v) && factor == 1 {
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	}
	return Bytes(math.Round(v)), nil
}

// String writes the largest binary unit that divides exactly, so that it reads back as the same number.
func (b Bytes) String() string {
	for i := 4; i >= 0; i-- {
		if f := Bytes(units[i].factor); b != 0 && b%f == 0 {
			return strconv.FormatInt(int64(b/f), 10) + units[i].suffix
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Human writes about three digits, for people: "1.42GiB".
func (b Bytes) Human() string {
	for i := 4; i >= 0; i-- {
		if v := float64(b) / units[i].factor; math.Abs(v) >= 1 {
			digits := max(0, 2-int(math.Log10(math.Abs(v))))
			text := strconv.FormatFloat(v, 'f', digits, 64)
			if strings.Contains(text, ".") {
				text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
			}
			return text + units[i].suffix
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Apart writes a and b for people, exactly when they would look the same and are not.
func Apart(a, b Bytes) (string, string) {
	x, y := a.Human(), b.Human()
	if x == y && a != b {
		return a.String(), b.String()
	}
	return x, y
}

// MarshalJSON writes the string.
func (b Bytes) MarshalJSON() ([]byte, error) { return json.Marshal(b.String()) }

// UnmarshalJSON reads the string or a whole number.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if len(raw) > 0 && raw[0] == '"' {
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
	}
	v, err := ParseBytes(s)
	*b = v
	return err
}

// ParseMilli reads a decimal number with at most three places. Negative numbers and more than 10^12 are errors.
func ParseMilli(s string) (Milli, error) {
	text := strings.TrimSpace(s)
	whole, frac, point := strings.Cut(text, ".")
	if strings.HasPrefix(whole, "-") && strings.Trim(text, "-0123456789.") == "" {
		return 0, fmt.Errorf("%q is negative", s)
	}
	if whole == "" || strings.Trim(whole+frac, "0123456789") != "" || (point && frac == "") {
		return 0, fmt.Errorf("%q is not a number such as 2 or 0.5", s)
	}
	if len(frac) > 3 && strings.Trim(frac[3:], "0") != "" {
		return 0, fmt.Errorf("%q has more than three decimals", s)
	}
	if len(frac) > 3 {
		frac = frac[:3]
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", 3-len(frac)), 10, 64)
	if err != nil || n > 1e15 {
		return 0, fmt.Errorf("%q is out of range (0 to 1e12)", s)
	}
	return Milli(n), nil
}

// String writes the shortest decimal: "1.5".
func (m Milli) String() string { return string(m.append(nil)) }

func (m Milli) append(to []byte) []byte {
	if m < 0 {
		to, m = append(to, '-'), -m
	}
	to = strconv.AppendInt(to, int64(m/1000), 10)
	if rest := m % 1000; rest != 0 {
		to = append(to, strings.TrimRight(fmt.Sprintf(".%03d", rest), "0")...)
	}
	return to
}

// MarshalJSON writes a number.
func (m Milli) MarshalJSON() ([]byte, error) { return m.append(nil), nil }

// UnmarshalJSON reads a number, or the same in a string.
func (m *Milli) UnmarshalJSON(raw []byte) error {
	s := strings.Trim(string(raw), `"`)
	if strings.ContainsAny(s, "eE") { // JSON may write 1e3
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number such as 2 or 0.5", s)
		}
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	v, err := ParseMilli(s)
	*m = v
	return err
}
