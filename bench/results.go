package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// results are what a run finds out, in a file in the Go benchmark format, for
// benchstat: the machine as the configuration, and a line a sample such as
//
//	BenchmarkUpdate/kind=kernel/by=avx2/n=32Ki 1500 11004000 ns/op 59.55 MB/s
//
// where an operation is a step on n elements, and by has _ for spaces.
type results struct {
	machine []benchfmt.Config
	rows    []row
}

// write has notes first, in lines that are no results.
func (r results) write(w io.Writer, notes ...string) error {
	for _, row := range r.rows {
		if row.plan != "" {
			notes = append(notes, fmt.Sprintf("%s ran plan %s at %s elements", row.by, row.plan, formatCount(row.n)))
		}
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(w, "#", note); err != nil {
			return err
		}
	}
	out := benchfmt.NewWriter(w)
	for _, row := range r.rows {
		name := fmt.Sprintf("%s/kind=%s/by=%s/n=%s", row.bench, row.kind, strings.ReplaceAll(row.by, " ", "_"), formatCount(row.n))
		for _, ns := range row.samples {
			err := out.Write(&benchfmt.Result{Config: r.machine, Name: benchfmt.Name(name), Iters: row.steps, Values: []benchfmt.Value{
				{Value: math.Round(ns), Unit: "ns/op"},
				{Value: math.Round(float64(row.traffic*row.n) * 1000 / ns), Unit: "MB/s"},
			}})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// same: what was measured is.
func (r row) same(other row) bool {
	return r.bench == other.bench && r.by == other.by && r.n == other.n
}

// fastest returns the row with the smallest lower quartile of those that fit,
// nil if there is none.
func fastest(rows []row, fits func(r row) bool) *row {
	var best *row
	for i := range rows {
		if fits(rows[i]) && (best == nil || rows[i].lower() < best.lower()) {
			best = &rows[i]
		}
	}
	return best
}

// limits leaves out the traffic loops that are not the fastest at their size.
func limits(rows []row) (list []row) {
	for _, r := range rows {
		if r.kind == isLimit {
			best := fastest(rows, func(o row) bool {
				return o.kind == isLimit && o.bench == r.bench && o.n == r.n && o.traffic == r.traffic
			})
			if !best.same(r) {
				continue
			}
		}
		list = append(list, r)
	}
	return list
}

// writeSize prints what was measured at one size.
func writeSize(w io.Writer, rows []row) {
	if len(rows) == 0 {
		return // all were warned of
	}
	fmt.Fprintf(w, "\n%s, %s elements, %s an array\n", rows[0].bench, formatCount(rows[0].n), formatBytes(4*rows[0].n))
	t := table{{"", "ns/1000", "median", "upper", "bytes", "GB/s", "plan"}}
	for _, r := range limits(rows) {
		t = append(t, []string{r.by, digits(r.lower()), digits(r.median()), digits(r.upper()),
			fmt.Sprint(r.traffic), digits(r.gigabytesPerSecond()), r.plan})
	}
	t.write(w)
}

// A comparison is of some rows with another at the same size: the fastest that fits.
type comparison struct {
	title string
	of    func(r row) bool
	fits  func(base, r row) bool
}

// comparisons are all there are. In a name, what stands before a comma is
// compared among itself, and so is what stands before a colon.
var comparisons = []comparison{
	{"the fastest bare traffic loop", func(r row) bool { return r.kind != isLimit },
		func(base, r row) bool { return base.kind == isLimit && base.traffic == r.traffic }},
	{"the C loop (gcc -O3, no input rules)", func(r row) bool { return r.kind == isKernel },
		func(base, r row) bool { return base.kind == isPeer && strings.HasPrefix(base.by, theCLoop+" ") }},
	{"kernel's fastest", func(r row) bool { return r.kind == isPeer },
		func(base, r row) bool { return base.kind == isKernel }},
	{"the best plan", func(r row) bool { return r.kind == isKernel },
		func(base, r row) bool { return strings.HasPrefix(base.by, r.by+":") }},
	{"Update", func(r row) bool { return r.kind == isKernel },
		func(base, r row) bool { return base.by == before(r.by, ", ")+", Update" }},
	{"one worker", func(r row) bool { return r.kind == isKernel },
		func(base, r row) bool { return base.by == before(r.by, ", ")+", workers 1" }},
}

func before(text, separator string) string {
	text, _, _ = strings.Cut(text, separator)
	return text
}

// writeRatios prints each comparison that the rows have, with a column a size.
func writeRatios(w io.Writer, rows []row) {
	var sizes []int
	for _, r := range rows {
		if !slices.Contains(sizes, r.n) {
			sizes = append(sizes, r.n)
		}
	}
	for _, c := range comparisons {
		t := table{{""}}
		for column, n := range sizes {
			t[0] = append(t[0], formatCount(n))
			for _, r := range rows {
				base := fastest(rows, func(base row) bool {
					return base.n == n && base.bench == r.bench && base.by != r.by && c.fits(base, r)
				})
				if r.n != n || base == nil || !c.of(r) {
					continue
				}
				line := slices.IndexFunc(t, func(cells []string) bool { return cells[0] == r.by })
				if line < 0 {
					line = len(t)
					t = append(t, []string{r.by})
				}
				for len(t[line]) <= column {
					t[line] = append(t[line], "")
				}
				t[line] = append(t[line], fmt.Sprintf("%.2f (%.2f)", r.lower()/base.lower(), r.median()/base.median()))
			}
		}
		if len(t) > 1 {
			fmt.Fprintf(w, "\nTime over that of %s: lower quartiles (medians)\n", c.title)
			t.write(w)
		}
	}
}
