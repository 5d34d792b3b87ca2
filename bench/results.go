package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchfmt"
)

// results are the measurements of a run. A file of them is in the Go benchmark format, for
// benchstat: the machine is the configuration, and each sample is a line such as
//
//	BenchmarkUpdate/kind=kernel/by=avx2/n=32Ki 1500 11004 ns/op 59556 MB/s
//
// An operation is a step on n elements. by has _ instead of spaces.
type results struct {
	mode    string // what was measured: Update or Options
	machine []benchfmt.Config
	sizes   []int
	rows    []row
}

// text returns the file. It begins with notes, in lines that are no results.
func (r results) text(notes ...string) []byte {
	for _, row := range r.rows {
		if row.plan != "" {
			notes = append(notes, fmt.Sprintf("%s ran plan %s at %s elements", row.by, row.plan, formatCount(row.n)))
		}
	}
	var text bytes.Buffer // writing to it never fails
	for _, note := range notes {
		fmt.Fprintln(&text, "#", note)
	}
	out := benchfmt.NewWriter(&text)
	for _, row := range r.rows {
		by := strings.ReplaceAll(row.by, " ", "_")
		name := fmt.Sprintf("%s/kind=%s/by=%s/n=%s", r.mode, row.kind, by, formatCount(row.n))
		for _, ns := range row.samples {
			values := []benchfmt.Value{
				{Value: math.Round(ns), Unit: "ns/op"},
				{Value: math.Round(float64(row.traffic*row.n) * 1000 / ns), Unit: "MB/s"},
			}
			_ = out.Write(&benchfmt.Result{Config: r.machine, Name: benchfmt.Name(name), Iters: row.steps, Values: values})
		}
	}
	return text.Bytes()
}

// fastest returns the row with the smallest lower quartile of those that fit, or nil if none fits.
func fastest(rows []row, fits func(r row) bool) *row {
	var best *row
	for i := range rows {
		if fits(rows[i]) && (best == nil || rows[i].lower() < best.lower()) {
			best = &rows[i]
		}
	}
	return best
}

// limits returns rows without the traffic loops that are not the fastest at their size.
func limits(rows []row) (list []row) {
	for _, r := range rows {
		best := fastest(rows, func(o row) bool { return o.kind == isLimit && o.n == r.n && o.traffic == r.traffic })
		if r.kind != isLimit || r.by == best.by {
			list = append(list, r)
		}
	}
	return list
}

// newTable returns a table with columns of numbers, each ended by a tab, and a last column of names.
func newTable(w io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
}

// writeSize prints what was measured at one size.
func (r results) writeSize(w io.Writer, n int) {
	fmt.Fprintf(w, "\n%s, %s elements, %s an array\n", r.mode, formatCount(n), formatBytes(4*n))
	t := newTable(w)
	defer t.Flush()
	fmt.Fprintln(t, "ns/1000\tmedian\tupper\tbytes\tGB/s\tplan\t")
	for _, r := range limits(r.rows) {
		if r.n == n {
			fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%d\t%.1f\t%s\t  %s\n",
				r.lower(), r.median(), r.quantile(0.75), r.traffic, r.gigabytesPerSecond(), r.plan, r.by)
		}
	}
}

// A comparison divides a row's time by that of the fastest of its bases, which have its size.
type comparison struct {
	title  string
	isBase func(base, r row) bool
}

// comparisons lists all comparisons. Names with the same part before a comma or a slash are compared
// with each other.
var comparisons = []comparison{
	{"the fastest bare traffic loop", func(base, r row) bool {
		return r.kind != isLimit && base.kind == isLimit && base.traffic == r.traffic
	}},
	{"the C loop (-O3, without the rules for tiny inputs)", func(base, r row) bool {
		return r.kind == isKernel && strings.HasPrefix(base.by, theCLoop+" ")
	}},
	{"kernel's fastest", func(base, r row) bool { return r.kind == isPeer && base.kind == isKernel }},
	{"the best plan", func(base, r row) bool {
		return isPlan(base.by) && (r.by == byDefault || strings.HasPrefix(base.by, r.by+"/"))
	}},
	{"Update", func(base, r row) bool { return base.by == before(r.by, ", ")+", Update" }},
}

// isPlan reports whether a name is that of a plan, such as avx2/v4r0.
func isPlan(by string) bool { return strings.Contains(by, "/") }

func before(text, separator string) string {
	text, _, _ = strings.Cut(text, separator)
	return text
}

// ratio returns the time of the row of that name and size over its base's, or "" if there is none.
func (c comparison) ratio(rows []row, by string, n int) string {
	r := fastest(rows, func(r row) bool { return r.by == by && r.n == n })
	if r == nil {
		return ""
	}
	base := fastest(rows, func(base row) bool { return base.n == n && base.by != by && c.isBase(base, *r) })
	if base == nil {
		return ""
	}
	return fmt.Sprintf("%.2f (%.2f)", r.lower()/base.lower(), r.median()/base.median())
}

// writeRatios prints each comparison that the rows allow, with a column for each size.
func (r results) writeRatios(w io.Writer) {
	var names []string
	for _, row := range r.rows {
		if !slices.Contains(names, row.by) {
			names = append(names, row.by)
		}
	}
	for _, c := range comparisons {
		var heading, lines string
		for _, n := range r.sizes {
			heading += formatCount(n) + "\t"
		}
		for _, by := range names {
			line := ""
			for _, n := range r.sizes {
				line += c.ratio(r.rows, by, n) + "\t"
			}
			if strings.TrimSpace(line) != "" {
				lines += line + "  " + by + "\n"
			}
		}
		if lines != "" {
			fmt.Fprintf(w, "\nTime over that of %s: lower quartiles (medians)\n", c.title)
			t := newTable(w)
			fmt.Fprint(t, heading, "\n", lines)
			t.Flush()
		}
	}
}

// binaryUnits lists the suffixes of counts and sizes.
var binaryUnits = []struct {
	suffix string
	shift  int
}{{"Gi", 30}, {"Mi", 20}, {"Ki", 10}}

// parseSizes reads counts such as "1Ki,100,64Mi", each once.
func parseSizes(list string) (sizes []int, err error) {
	for word := range strings.SplitSeq(list, ",") {
		digits, shift := strings.TrimSpace(word), 0
		for _, unit := range binaryUnits {
			if rest, ok := strings.CutSuffix(digits, unit.suffix); ok {
				digits, shift = rest, unit.shift
			}
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > math.MaxInt/bytesPerElement>>shift {
			return nil, fmt.Errorf("count %q, want one such as 1000, 32Ki or 64Mi", word)
		}
		if n <<= shift; !slices.Contains(sizes, n) {
			sizes = append(sizes, n)
		}
	}
	return sizes, nil
}

// formatCount returns 64Ki for 65536. A count that is no whole number of a unit is in digits, so
// that parseSizes reads it back.
func formatCount(n int) string {
	for _, unit := range binaryUnits {
		if n > 0 && n%(1<<unit.shift) == 0 {
			return fmt.Sprint(n>>unit.shift, unit.suffix)
		}
	}
	return strconv.Itoa(n)
}

// formatBytes returns a size, rounded to a tenth of its unit.
func formatBytes(n int) string {
	for _, unit := range binaryUnits {
		if n >= 1<<unit.shift {
			tenths := math.Round(float64(n) / float64(int(1)<<unit.shift) * 10)
			return fmt.Sprint(tenths/10, " ", unit.suffix, "B")
		}
	}
	return fmt.Sprint(n, " bytes")
}
