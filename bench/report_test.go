package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// example has two sizes of four runners.
func example() report {
	r := report{
		Machine: machine{CPU: "Example CPU", Cores: 2, Caches: "L1d 32 KiB", OS: "linux", Arch: "amd64", Go: "go1.26", HugePages: "madvise"},
		Date:    time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Command: "go run -C bench .",
		Unit:    unit,
		Bits:    []verdict{{Arch: "arm64", Emulator: "qemu-aarch64", Implementations: []string{"neon", "generic"}}},
		Cycles:  []prediction{{"avx2", "znver4", 1.1, false}, {"neon", "apple-m1", 1.2, true}},
	}
	for _, n := range []int{1 << 10, 64 << 20} {
		for i, name := range []string{"traffic, avx2", "avx2", "generic", "numpy"} {
			ns := float64(200 + 100*i)
			k := []kind{isLimit, isKernel, isKernel, isPeer}[i]
			r.Rows = append(r.Rows, row{Name: name, Kind: k, Elements: n, Steps: 10,
				spread: spread{ns, ns - 10, ns + 10, ns - 20, ns + 30}, Samples: []float64{ns}})
		}
	}
	return r
}

func TestReportRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	want := example()
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readReport(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReadReportErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.json")
	if _, err := readReport(file); err == nil {
		t.Error("a file that is not there was read")
	}
	for _, text := range []string{"", "[]", `{"unit": "seconds"}`} {
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := readReport(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: error %v, want one that names the file", text, err)
		}
	}
}

func TestWriteSize(t *testing.T) {
	var out strings.Builder
	writeSize(&out, example().Rows[:4])
	want := `
1Ki elements, 12 KiB
               ns/1000   quartiles  GB/s  of limit  time/avx2
traffic, avx2      200  190 to 210   100      100%       0.67
avx2               300  290 to 310  66.7       67%       1.00
generic            400  390 to 410    50       50%       1.33
numpy              500  490 to 510    40       40%       1.67
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

func TestCompare(t *testing.T) {
	as := func(name string, n int, q1, median, q3 float64) row {
		return row{Name: name, Elements: n, spread: spread{Median: median, Q1: q1, Q3: q3}}
	}
	old := []row{
		as("avx2", 10, 95, 100, 105),
		as("avx2", 20, 95, 100, 105),
		as("generic", 10, 95, 100, 105),
		as("neon", 10, 95, 100, 105),
	}
	new := []row{
		as("avx2", 10, 106, 110, 120),
		as("avx2", 20, 70, 75, 94),
		as("generic", 10, 105, 110, 120), // touches the old spread
		as("avx512", 10, 1, 2, 3),        // was not there
	}
	type seen struct {
		name     string
		elements int
		ratio    float64
		mark     string
	}
	var got []seen
	for _, c := range compare(old, new) {
		got = append(got, seen{c.new.Name, c.new.Elements, c.ratio, c.mark})
	}
	want := []seen{{"avx2", 10, 1.1, "slower"}, {"avx2", 20, 0.75, "faster"}, {"generic", 10, 1.1, ""}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWriteChanges(t *testing.T) {
	old, new := example(), example()
	new.Machine.CPU = "Another CPU"
	new.Rows[1].spread = spread{Median: 150, Q1: 140, Q3: 160}
	var out strings.Builder
	writeChanges(&out, old, new)
	for _, want := range []string{
		"2026-01-02 03:04:05",
		"another machine, or another Go:\nCPU        Example CPU",
		"avx2                1Ki           300  150     0.500  faster\n",
		"generic             1Ki           400  400     1.000\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}
