package main

import (
	"math"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
)

func TestParseWorkers(t *testing.T) {
	for list, want := range map[string][]int{"1": {1}, "2": {1, 2}, "1, 2,8": {1, 2, 8}, "4,1": {1, 4}} {
		if got, err := parseWorkers(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %d, %v, want %d", list, got, err, want)
		}
	}
	for _, list := range []string{"0", "-1", "two", "1,,2", "1e3", "100000"} {
		if got, err := parseWorkers(list); err == nil || !strings.Contains(err.Error(), list) {
			t.Errorf("%q: %d, %v, want an error that names it", list, got, err)
		}
	}
}

func TestRunWorkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	var stdout, stderr strings.Builder
	if status := run([]string{"-workers", "2", "-sizes", "1000,20000", "-time", "5ms", "-json", file}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	r, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	type seen struct {
		name     string
		elements int
	}
	var got []seen
	for _, row := range r.Rows {
		got = append(got, seen{row.Name, row.Elements})
		if row.Speedup == nil || !(row.Speedup.Median > 0) || row.Samples != nil {
			t.Errorf("%+v: want a speed-up and no samples", row)
		}
	}
	want := []seen{
		{"1 worker", 1000}, {"2 workers", 1000},
		{"1 worker", 20000}, {"2 workers", 20000},
		{"small tensors, Update in a loop", 1_000_000},
		{"small tensors, 1 worker", 1_000_000}, {"small tensors, 2 workers", 1_000_000},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if c := r.Collections; len(c) != 3 || !(c[0].Median > 0) || !(c[1].WorstStop > 0) || !strings.Contains(c[1].Beside, "2 workers on 20000 elements") {
		t.Errorf("collections %+v", c)
	}

	stdout.Reset()
	if status := run([]string{"-workers", "1,2", "-sizes", "1000", "-time", "1ms", "-baseline", file}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if _, changes, _ := strings.Cut(stdout.String(), "now/then"); !strings.Contains(changes, "small tensors, 2 workers") {
		t.Errorf("no comparison in:\n%s", &stdout)
	}
}

func TestSpeedups(t *testing.T) {
	rows := []row{{Samples: []float64{100, 200, 300, 500}}, {Samples: []float64{50, 50, 100}}}
	speedups(rows, rows)
	if got, want := *rows[0].Speedup, (spread{1, 1, 1, 1, 1}); got != want {
		t.Errorf("the first: %v, want %v", got, want)
	}
	if got, want := *rows[1].Speedup, (spread{3, 2.5, 3.5, 2, 4}); got != want {
		t.Errorf("ratios 2, 4 and 3: %v, want %v", got, want)
	}
}

func TestWriteSmall(t *testing.T) {
	as := func(name string, ns, faster float64) row {
		return row{Name: name, Elements: 1_000_000, spread: spread{Median: ns, Q1: ns - 100, Q3: ns + 100},
			Speedup: &spread{Median: faster, Q1: faster - 0.1, Q3: faster + 0.1}}
	}
	var out strings.Builder
	writeSmall(&out, []row{
		as("small tensors, Update in a loop", 500, 1.2),
		as("small tensors, 1 worker", 600, 1),
		as("small tensors, 2 workers", 400, 1.5),
	})
	want := `
10000 tensors of 100 elements, 11.4 MiB
                  ns/tensor  quartiles  beyond Update  GB/s  speed-up     quartiles
Update in a loop         50   40 to 60           +0.0    40      1.20  1.10 to 1.30
1 worker                 60   50 to 70          +10.0  33.3      1.00  0.90 to 1.10
2 workers                40   30 to 50          -10.0    50      1.50  1.40 to 1.60
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

func TestWorstSince(t *testing.T) {
	histogram := func(counts ...uint64) *metrics.Float64Histogram {
		return &metrics.Float64Histogram{Counts: counts, Buckets: []float64{math.Inf(-1), 1, 2, 3, math.Inf(1)}}
	}
	before := histogram(1, 2, 3, 0)
	for _, test := range []struct {
		after *metrics.Float64Histogram
		want  float64
	}{
		{before, 0},
		{histogram(2, 2, 3, 0), 1},
		{histogram(1, 3, 3, 0), 2},
		{histogram(5, 3, 4, 0), 3},
		{histogram(1, 2, 3, 1), 3},
	} {
		if got := worstSince(before, test.after); got != test.want {
			t.Errorf("%v after %v: %v, want %v", test.after.Counts, before.Counts, got, test.want)
		}
	}
}
