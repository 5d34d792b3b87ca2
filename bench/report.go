package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A report is all that a run finds out, as -json writes it and -baseline reads it.
type report struct {
	Machine machine      `json:"machine"`
	Date    time.Time    `json:"date"`
	Command string       `json:"command"`
	Unit    string       `json:"unit"` // of the rows' times
	Rows    []row        `json:"rows,omitempty"`
	Bits    []verdict    `json:"bits,omitempty"`   // of -cross
	Cycles  []prediction `json:"cycles,omitempty"` // of -cross

	Collections []collection `json:"collections,omitempty"` // of -workers
}

const unit = "ns per 1,000 elements"

func (r report) write(file string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o666)
}

func readReport(file string) (report, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return report{}, err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return report{}, fmt.Errorf("%s: %w", file, err)
	}
	if r.Unit != unit {
		return report{}, fmt.Errorf("%s: times in %q, want %q", file, r.Unit, unit)
	}
	return r, nil
}

// fastest returns the fastest row of a kind, nil if there is none.
func fastest(rows []row, k kind) *row {
	var best *row
	for i := range rows {
		if rows[i].Kind == k && (best == nil || rows[i].Median < best.Median) {
			best = &rows[i]
		}
	}
	return best
}

// writeSize prints what was measured at one size.
func writeSize(w io.Writer, rows []row) {
	limit, best := fastest(rows, isLimit), fastest(rows, isKernel)
	if limit == nil || best == nil {
		return // both were warned of
	}
	n := rows[0].Elements
	fmt.Fprintf(w, "\n%s elements, %s\n", formatCount(n), formatBytes(n*bytesPerElement))
	var t table
	t.line("", "ns/1000", "quartiles", "GB/s", "of limit", "time/"+best.Name)
	for _, r := range rows {
		t.line(r.Name, digits(r.Median), digits(r.Q1)+" to "+digits(r.Q3), digits(r.gigabytesPerSecond()),
			fmt.Sprintf("%.0f%%", 100*limit.Median/r.Median), fmt.Sprintf("%.2f", r.Median/best.Median))
	}
	t.write(w)
}

// digits writes three significant digits, or all before the point.
func digits(x float64) string {
	if x >= 100 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// A table's first column is on the left, the others on the right.
type table [][]string

func (t *table) line(cells ...string) { *t = append(*t, cells) }

func (t table) write(w io.Writer) {
	widths := map[int]int{}
	for _, cells := range t {
		for i, cell := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, cells := range t {
		line := fmt.Sprintf("%-*s", widths[0], cells[0])
		for i, cell := range cells[1:] {
			line += fmt.Sprintf("  %*s", widths[i+1], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// ---- Against an earlier run ----

// A change is a row of both runs.
type change struct {
	old, new row
	ratio    float64 // new/old
	mark     string  // where it is more than the spread of both runs
}

func compare(old, new []row) []change {
	var changes []change
	for _, n := range new {
		i := slices.IndexFunc(old, func(o row) bool { return o.Name == n.Name && o.Elements == n.Elements })
		if i < 0 {
			continue
		}
		c := change{old[i], n, n.Median / old[i].Median, ""}
		switch {
		case n.Q1 > c.old.Q3:
			c.mark = "slower"
		case n.Q3 < c.old.Q1:
			c.mark = "faster"
		}
		changes = append(changes, c)
	}
	return changes
}

func writeChanges(w io.Writer, old, new report) {
	fmt.Fprintf(w, "\nagainst %s, marked where the quartiles are apart\n", old.Date.Format(time.DateTime))
	if old.Machine != new.Machine {
		fmt.Fprintln(w, "that was another machine, or another Go:")
		old.Machine.write(w)
	}
	var t table
	t.line("", "elements", "ns/1000 then", "now", "now/then", "")
	for _, c := range compare(old.Rows, new.Rows) {
		t.line(c.new.Name, formatCount(c.new.Elements), digits(c.old.Median), digits(c.new.Median),
			fmt.Sprintf("%.3f", c.ratio), c.mark)
	}
	t.write(w)
}
