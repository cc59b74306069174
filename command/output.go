package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/proffer/proffer/structs"
)

// writeJSON writes v indented, as the API sends it.
func writeJSON(b *bytes.Buffer, v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	b.Write(append(raw, '\n'))
	return err
}

// writeTemplate writes v with a Go template over the fields that -json shows.
func writeTemplate(b *bytes.Buffer, text string, v any) error {
	t, err := template.New("-t").Option("missingkey=error").Funcs(template.FuncMap{
		"json":  func(v any) (string, error) { raw, err := json.Marshal(v); return string(raw), err },
		"short": func(s string) string { return structs.Short(s) },
		"join": func(by string, v []any) string {
			return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(v)), by), "[]")
		},
	}).Parse(text)
	if err != nil {
		return usagef("-t: %s", strings.TrimPrefix(err.Error(), "template: "))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return err
	}
	if err := t.Execute(b, plain); err != nil {
		return usagef("-t: %s", strings.TrimPrefix(err.Error(), "template: "))
	}
	if b.Len() > 0 && b.Bytes()[b.Len()-1] != '\n' {
		b.WriteByte('\n')
	}
	return nil
}

// clean replaces what could control a terminal: it is for text that comes from tasks, nodes and users.
func clean(s string) string {
	ok := func(r rune) bool { return r == '\n' || r == '\t' || unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if ok(r) && r != utf8.RuneError {
			return r
		}
		return '\uFFFD'
	}, s)
}

// cell is clean on one line.
func cell(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		return r
	}, clean(s))
}

// table aligns rows under a header. Columns are two spaces apart; nothing follows the last one.
type table struct {
	rows [][]string
}

func newTable(header ...string) *table { return &table{[][]string{header}} }

// row adds a row; each cell is shown as fmt.Sprint would.
func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = cell(fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(b *bytes.Buffer) {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
}

// details aligns names and values.
type details struct{ t table }

func (d *details) add(name string, value any) { d.t.row(name, value) }

// say adds a value that is not empty.
func (d *details) say(name, value string) {
	if value != "" {
		d.add(name, value)
	}
}

func (d *details) write(b *bytes.Buffer) { d.t.write(b) }

// heading begins a part of an output.
func heading(b *bytes.Buffer, text string) { fmt.Fprintf(b, "\n%s\n", text) }

// shorten returns a function that cuts ids to the shortest prefixes, of at least eight digits, that tell all apart.
func shorten[T ~string](ids []T) func(T) string {
	length := 8
	for length < 32 {
		seen, whole := map[T]bool{}, map[T]bool{}
		for _, id := range ids {
			whole[id] = true
			seen[id[:min(len(id), length)]] = true
		}
		if len(seen) == len(whole) {
			break
		}
		length++
	}
	return func(id T) string { return string(id[:min(len(id), length)]) }
}

// moment writes a time for people, in UTC.
func moment(t structs.Time) string { return t.Std().UTC().Format("2006-01-02 15:04:05") }

// rounded leaves out what is below a millisecond.
func rounded(d structs.Duration) structs.Duration {
	return structs.Duration(d.Std().Round(time.Millisecond))
}

// age says how long ago t was: "3m".
func age(now time.Time, t structs.Time) string {
	if t.IsZero() {
		return "-"
	}
	return span(now.Sub(t.Std()))
}

// span rounds a duration to its largest unit, or two when it is short.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
