//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// figure is one line of the table.
type figure struct {
	Measurement string  `json:"measurement"`
	What        string  `json:"what"`
	Unit        string  `json:"unit"` // as in ms, MB, tasks/s
	Must        float64 `json:"must,omitempty"`
	Aim         float64 `json:"aim,omitempty"`
	Got         float64 `json:"got"`
	More        bool    `json:"more_is_better,omitempty"`
	Note        string  `json:"note,omitempty"`
	Others      float64 `json:"others"` // share of the cores that other programs used meanwhile, 0 to 1
}

// verdict says how a figure stands against what is asked for.
func (f *figure) verdict() string {
	reached := func(bound float64) bool { return f.Got == bound || (f.Got > bound) == f.More }
	switch {
	case f.Unit == "lost" && f.Got > 0:
		return "MISSED"
	case f.Must == 0 && f.Aim == 0 && f.Unit != "lost":
		return ""
	case reached(f.Aim):
		return "aim"
	case f.Must == 0:
		return ""
	case reached(f.Must):
		return "must"
	}
	return "MISSED"
}

func (f *figure) text(v float64, bound bool) string {
	if bound && v == 0 && (f.Must != 0 || f.Aim != 0) && f.Unit != "%" || bound && f.Must == 0 && f.Aim == 0 {
		return ""
	}
	switch {
	case v >= 1000:
		s := strconv.FormatInt(int64(v+0.5), 10)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s + " " + f.Unit
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f %s", v, f.Unit)
	case v >= 10:
		return fmt.Sprintf("%.1f %s", v, f.Unit)
	}
	return fmt.Sprintf("%.2f %s", v, f.Unit)
}

// table prints figures for people.
func table(w io.Writer, machine []fact, figures []*figure) {
	for _, f := range machine {
		fmt.Fprintf(w, "%-24s %s\n", f.Name, f.Value)
	}
	fmt.Fprintln(w)
	rows := [][]string{{"figure", "must", "aim", "measured", "reached", "others", "note"}}
	for _, f := range figures {
		rows = append(rows, []string{f.What, f.text(f.Must, true), f.text(f.Aim, true), f.text(f.Got, false), f.verdict(),
			fmt.Sprintf("%.0f%%", 100*f.Others), f.Note})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			gap := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i >= 1 && i <= 3 || i == 5 { // figures
				line.WriteString(gap + cell + "  ")
			} else {
				line.WriteString(cell + gap + "  ")
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
	fmt.Fprintln(w, "\nothers: the part of all cores that other programs used meanwhile. On a busy machine compare CPU time, not rates.")
}

// spread is a set of times.
type spread []time.Duration

// at returns the time that a share of all, 0 to 1, does not exceed.
func (s spread) at(share float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
