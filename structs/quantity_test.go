package structs

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQuantitiesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Milli(rapid.Int64Range(0, 1e15).Draw(t, "milli"))
		if got, err := ParseMilli(m.String()); err != nil || got != m {
			t.Fatalf("%d is written %s and read as %d, %v", m, m, got, err)
		}
		b := Bytes(rapid.OneOf(rapid.Int64Range(0, 1<<60), rapid.Map(rapid.IntRange(0, 60), func(n int) int64 { return 1 << n }),
			rapid.Map(rapid.Int64Range(0, 1<<30), func(n int64) int64 { return n << 20 })).Draw(t, "bytes"))
		if got, err := ParseBytes(b.String()); err != nil || got != b {
			t.Fatalf("%d is written %s and read as %d, %v", b, b, got, err)
		}
		d := Duration(rapid.OneOf(rapid.Int64Range(0, math.MaxInt64), rapid.Map(rapid.Int64Range(0, 1e6), func(n int64) int64 { return n * 1e9 }),
			rapid.Map(rapid.Int64Range(0, 1e4), func(n int64) int64 { return n * 60e9 })).Draw(t, "duration"))
		if got, err := ParseDuration(d.String()); err != nil || got != d {
			t.Fatalf("%d is written %s and read as %d, %v", d, d, got, err)
		}
		at := Time(rapid.Int64().Draw(t, "time"))
		// As JSON too.
		type all struct {
			M Milli
			B Bytes
			D Duration
			T Time
		}
		in := all{m, b, d, at}
		raw, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out all
		if err := json.Unmarshal(raw, &out); err != nil || out != in {
			t.Fatalf("%s is read as %v, %v", raw, out, err)
		}
	})
}

func TestParseMilli(t *testing.T) {
	for s, want := range map[string]Milli{"0": 0, "2": 2000, "0.5": 500, "1.500": 1500, "0.0010000": 1, " 1 ": 1000, "1000000000000": 1e15, "007": 7000} {
		if got, err := ParseMilli(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"":                      `"" is not a number such as 2 or 0.5`,
		"-":                     `"-" is negative`,
		"-1":                    `"-1" is negative`,
		"+1":                    `"+1" is not a number such as 2 or 0.5`,
		"1.":                    `"1." is not a number such as 2 or 0.5`,
		".5":                    `".5" is not a number such as 2 or 0.5`,
		"1.-5":                  `"1.-5" is not a number such as 2 or 0.5`,
		"1_000":                 `"1_000" is not a number such as 2 or 0.5`,
		"NaN":                   `"NaN" is not a number such as 2 or 0.5`,
		"Inf":                   `"Inf" is not a number such as 2 or 0.5`,
		"0x10":                  `"0x10" is not a number such as 2 or 0.5`,
		"1.2.3":                 `"1.2.3" is not a number such as 2 or 0.5`,
		"0.0001":                `"0.0001" has more than three decimals`,
		"1000000000000.001":     `"1000000000000.001" is out of range (0 to 1e12)`,
		strings.Repeat("9", 40): `"` + strings.Repeat("9", 40) + `" is out of range (0 to 1e12)`,
	} {
		if got, err := ParseMilli(s); err == nil || err.Error() != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for s, want := range map[string]Bytes{"0": 0, "1024": 1024, "1KiB": 1024, "1.5GB": 1.5e9, "256 MiB": 256 << 20, "0.5KiB": 512,
		"1kB": 1000, "1KB": 1000, "7B": 7, "1024PiB": 1 << 60, "1152921504606846975": 1<<60 - 1} {
		if got, err := ParseBytes(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for s, want := range map[string]string{
		"":                    `"" is not a size such as "256MiB" or "1.5GB"`,
		"MiB":                 `"MiB" is not a size such as "256MiB" or "1.5GB"`,
		"lots":                `"lots" is not a size such as "256MiB" or "1.5GB"`,
		"256M":                `"256M" is not a size such as "256MiB" or "1.5GB"`,
		"NaN":                 `"NaN" is not a size such as "256MiB" or "1.5GB"`,
		"infMiB":              `"infMiB" is not a size such as "256MiB" or "1.5GB"`,
		"0x1p4":               `"0x1p4" is not a size such as "256MiB" or "1.5GB"`,
		"-1":                  `"-1" is out of range (0 to 1024PiB)`,
		"-1MiB":               `"-1MiB" is out of range (0 to 1024PiB)`,
		"1025PiB":             `"1025PiB" is out of range (0 to 1024PiB)`,
		"1e300GiB":            `"1e300GiB" is out of range (0 to 1024PiB)`,
		"9223372036854775807": `"9223372036854775807" is out of range (0 to 1024PiB)`,
		"0.5":                 `"0.5" is not a whole number of bytes`,
	} {
		if got, err := ParseBytes(s); err == nil || err.Error() != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for b, want := range map[Bytes]string{0: "0B", 512: "512B", 1 << 20: "1MiB", 1527000000: "1.42GiB", 24684092 << 10: "23.5GiB",
		1000 << 20: "1000MiB", 1<<30 - 1: "1024MiB", 100 << 20: "100MiB", 62016 << 20: "60.6GiB", 1 << 60: "1024PiB", -3 << 19: "-1.5MiB"} {
		if got := b.Human(); got != want {
			t.Errorf("%d: %s", b, got)
		}
	}
}

func TestSizesThatDifferLookDifferent(t *testing.T) {
	if a, b := Apart(2<<30, 2<<30-4096); a != "2GiB" || b != "2097148KiB" {
		t.Error(a, b)
	}
	if a, b := Apart(2<<30, 1550<<20); a != "2GiB" || b != "1.51GiB" {
		t.Error(a, b)
	}
}

func TestDurationForms(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", time.Second: "1s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s",
		time.Hour + time.Second: "1h0m1s", 10 * time.Hour: "10h", 1500 * time.Millisecond: "1.5s", 100 * time.Minute: "1h40m"} {
		if got := Duration(d).String(); got != want {
			t.Errorf("%v is written %s", d, got)
		}
	}
	for _, s := range []string{"", "5", "-1s", "1 s", "1d", "9999999h", "NaNs"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

func TestTime(t *testing.T) {
	if !At(time.Time{}).IsZero() || !Time(0).Std().IsZero() || Time(0).String() != "never" {
		t.Error("the zero Time is never")
	}
	at := At(time.Date(2026, 1, 2, 15, 4, 5, 6, time.FixedZone("x", 3600)))
	if got := at.String(); got != "2026-01-02T14:04:05.000000006Z" {
		t.Error(got)
	}
	if at.Add(Duration(time.Second)).Sub(at) != Duration(time.Second) {
		t.Error("Add and Sub")
	}
	for _, raw := range []string{`1`, `"yesterday"`, `{}`} {
		if err := json.Unmarshal([]byte(raw), &at); err == nil {
			t.Errorf("%s is read as %s", raw, at)
		}
	}
	if err := json.Unmarshal([]byte("null"), &at); err != nil || at != 0 {
		t.Error("null is never")
	}
}

// Whatever is accepted is what exact arithmetic says, in range, and reads back.
func FuzzQuantities(f *testing.F) {
	for _, s := range []string{"1", "0.5", "256MiB", "1.5GB", "1e3", "-1", "NaN", "1h30m", "0x1p-2", "1_0", "١", "1024PiB", "1.0000000001KiB", "infinity"} {
		f.Add(s)
	}
	decimal := regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := ParseMilli(s); err == nil {
			exact, ok := new(big.Rat).SetString(strings.TrimSpace(s))
			if !decimal.MatchString(strings.TrimSpace(s)) || !ok || exact.Cmp(big.NewRat(int64(m), 1000)) != 0 {
				t.Errorf("ParseMilli(%q) = %d", s, m)
			}
			if again, err := ParseMilli(m.String()); err != nil || again != m {
				t.Errorf("%q reads back as %d, %v", s, again, err)
			}
		}
		if b, err := ParseBytes(s); err == nil {
			if b < 0 || b > 1<<60 {
				t.Errorf("ParseBytes(%q) = %d", s, b)
			}
			if again, err := ParseBytes(b.String()); err != nil || again != b {
				t.Errorf("%q reads back as %d, %v", s, again, err)
			}
		}
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(d.String()); d < 0 || err != nil || again != d {
				t.Errorf("%q reads back as %d, %v", s, again, err)
			}
		}
		if p, err := ParsePriority(s); err == nil {
			if again, err := ParsePriority(p.String()); err != nil || again != p {
				t.Errorf("%q reads back as %v, %v", s, again, err)
			}
		}
		if r, err := ParseOnLost(s); err == nil && r.Mode == OnLostWait && r.Wait < Duration(time.Second) {
			t.Errorf("ParseOnLost(%q) = %v", s, r)
		}
		var m Milli
		if m.UnmarshalJSON([]byte(s)) == nil && (m < 0 || m > 1e15) {
			t.Errorf("%q as JSON is %d", s, m)
		}
	})
}
