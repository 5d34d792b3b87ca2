package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

// The whole command at sizes of no meaning: everything that it can write is
// written. Its times are not looked at.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	before := kernel.ISA()
	var stdout, stderr strings.Builder
	status := run([]string{"-sizes", "16,100", "-time", "2ms", "-samples",
		"-json", file("a.json"), "-svg", file("a.svg"), "-png", file("a.png")}, &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	for _, want := range append(kernel.ISAs(), "CPU ", "16 elements, 192 bytes", "100 elements", "traffic, ", "quartiles") {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in:\n%s", want, &stdout)
		}
	}
	if kernel.ISA() != before {
		t.Errorf("%s is in use afterwards, not %s", kernel.ISA(), before)
	}
	for _, name := range []string{"a.svg", "a.png"} {
		if info, err := os.Stat(file(name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := readReport(file("a.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * (1 + len(kernel.ISAs())); len(r.Rows) != want || len(r.Rows[0].Samples) < minSamples {
		t.Errorf("%d rows, want %d, with samples: %+v", len(r.Rows), want, r.Rows)
	}

	stdout.Reset()
	status = run([]string{"-sizes", "100", "-time", "2ms", "-baseline", file("a.json"), "-json", file("b.json")}, &stdout, &stderr)
	if status != 0 || !strings.Contains(stdout.String(), "now/then") {
		t.Errorf("status %d, no comparison in:\n%s%s", status, &stdout, &stderr)
	}
	if r, err = readReport(file("b.json")); err != nil || len(r.Rows) == 0 || r.Rows[0].Samples != nil {
		t.Errorf("%v, samples without -samples: %+v", err, r.Rows)
	}
}

func TestRunErrors(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-help"}, 0, "-sizes"},
		{[]string{"-sizes", "12x"}, 2, `size "12x"`},
		{[]string{"-fast"}, 2, "-fast"},
		{[]string{"64Mi"}, 2, `"64Mi"`},
		{[]string{"-time", "0s"}, 2, "-time"},
		{[]string{"-cross", "-png", "a.png"}, 2, "-cross"},
		{[]string{"-workers", "two"}, 2, "-workers"},
		{[]string{"-workers", "0"}, 2, "-workers"},
		{[]string{"-family", "-workers", "2"}, 2, "one at a time"},
		{[]string{"-family", "-peers"}, 2, "one at a time"},
		{[]string{"-cross", "-workers", "2"}, 2, "one at a time"},
		{[]string{"-family", "-svg", "a.svg"}, 2, "-svg"},
		{[]string{"-baseline", filepath.Join(t.TempDir(), "none.json")}, 1, "none.json"},
		{[]string{"-sizes", "16", "-time", "1ms", "-json", filepath.Join(t.TempDir(), "none", "a.json")}, 1, "a.json"},
	} {
		var stdout, stderr strings.Builder
		if status := run(test.args, &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%q: status %d, want %d and %q:\n%s", test.args, status, test.status, test.want, &stderr)
		}
	}
}

// Each mode has sizes of its own, unless there are -sizes.
func TestParse(t *testing.T) {
	for _, test := range []struct{ args, sizes, workers string }{
		{"", usualSizes, "[]"},
		{"-svg a.svg", allSizes, "[]"},
		{"-family", familySizes, "[]"},
		{"-workers 4,2", workerSizes, "[1 4 2]"},
		{"-family -sizes 7", "7", "[]"},
		{"-workers 1 -sizes 7,1Ki", "7,1Ki", "[1]"},
	} {
		o, err := parse(strings.Fields(test.args), t.Output())
		if err != nil || formatSizes(o.sizes) != test.sizes || fmt.Sprint(o.workers) != test.workers {
			t.Errorf("%s: %s elements, %d workers, %v, want %s and %s",
				test.args, formatSizes(o.sizes), o.workers, err, test.sizes, test.workers)
		}
		if want := strings.Contains(test.args, "-family"); o.family != want {
			t.Errorf("%s: family %t", test.args, o.family)
		}
	}
}
