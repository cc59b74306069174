package simulate

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/proffer/proffer/structs"
)

// String tells the report in a table for the region, one for the roles, and what waits at the end; no line break at the end.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of virtual time on at most %d nodes\n", span(r.Took), r.Nodes)
	fmt.Fprintf(&b, "%d allocations submitted, %d placements: %d finished, %d stopped, %d running and %d waiting at the end\n",
		r.Submitted, r.Placed, r.Finished, r.Stopped, r.Running, r.Waiting)
	fmt.Fprintf(&b, "%d preempted, %d lost with their nodes; both begin anew\n", r.Preempted, r.Lost)
	t := table{columns: []string{"USED", "MEAN", "PEAK"}}
	t.row("cpu", percent(r.CPU.Mean), percent(r.CPU.Peak))
	t.row("memory", percent(r.Memory.Mean), percent(r.Memory.Peak))
	t.write(&b)
	if len(r.Roles) > 0 {
		t = table{columns: []string{"ROLE", "SUBMITTED", "PLACED", "PREEMPTED", "LOST", "WAITING", "WAIT P50", "P99", "MAX"}}
		for _, x := range r.Roles {
			t.row(x.Role, x.Submitted, x.Placed, x.Preempted, x.Lost, x.Waiting, span(x.P50), span(x.P99), span(x.Max))
		}
		t.write(&b)
	}
	for i, u := range r.Unplaced {
		if i == 0 {
			b.WriteString("\nWaiting at the end\n")
		}
		fmt.Fprintf(&b, "%s\n", u.Why)
	}
	return strings.TrimRight(b.String(), "\n")
}

// percent writes a part in percent with one decimal.
func percent(part structs.Milli) string { return fmt.Sprintf("%d.%d%%", part/10, part%10) }

// span leaves out what is too short to matter beside the rest.
func span(d structs.Duration) string {
	unit := time.Millisecond
	if d.Std() > time.Minute {
		unit = time.Second
	}
	return structs.Duration(d.Std().Round(unit)).String()
}

// table aligns columns.
type table struct {
	columns []string
	rows    [][]string
}

func (t *table) row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

func (t *table) write(b *strings.Builder) {
	b.WriteByte('\n')
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.columns, "\t"))
	for _, row := range t.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
}
