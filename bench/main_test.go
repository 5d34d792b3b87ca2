package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

// The whole command at sizes of no meaning, in each mode: everything that it can
// write is written, and read again. Its times are not looked at.
func TestRun(t *testing.T) {
	dir, isa := t.TempDir(), kernel.ISA()
	file := func(name string) string { return filepath.Join(dir, name) }
	bench := func(args ...string) (stdout, stderr string) {
		t.Helper()
		var out, warnings strings.Builder
		if status := run(args, &out, &warnings); status != 0 {
			t.Fatalf("%q: status %d: %s", args, status, &warnings)
		}
		if kernel.ISA() != isa {
			t.Errorf("%q: %s is in use afterwards, not %s", args, kernel.ISA(), isa)
		}
		return out.String(), warnings.String()
	}
	wantAll := func(text string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in:\n%s", want, text)
			}
		}
	}

	out, _ := bench("-sizes", "16,100", "-time", "2ms", "-peers", "go", "-plans", "-out", file("a.txt"), "-plot", file("a.svg")+","+file("a.png"))
	wantAll(out, append(kernel.ISAs(), "cpu: ", "Update, 16 elements, 64 bytes an array", "100 elements", "\ntraffic, ", "\ngo-loop ", "bare traffic loop:", "kernel's fastest:")...)
	for name, want := range map[string]string{"a.txt": "# go run -C bench . -sizes 16,100 ", "a.svg": "<?xml", "a.png": "\x89PNG"} {
		if text, err := os.ReadFile(file(name)); err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s: %v, %.100q, want it to begin with %q", name, err, text, want)
		}
	}
	out, _ = bench("-family", "-sizes", "100", "-time", "1ms")
	for _, isa := range kernel.ISAs() {
		for member, bytes := range map[string]string{"Update": "20", "plain": "20", "loss scale and L2": "20", "momentum": "28", "centered": "28", "centered momentum": "36"} {
			_, line, found := strings.Cut(out, "\n"+isa+", "+member+"  ")
			if columns := strings.Fields(line); !found || columns[3] != bytes {
				t.Errorf("%s, %s: no line, or not with %s bytes, in:\n%s", isa, member, bytes, out)
			}
		}
	}
	out, warnings := bench("-workers", "2", "-sizes", "1000,999Gi", "-time", "1ms")
	wantAll(out, isa+", workers 1", isa+", workers 2", "one worker:", "on any CPU")
	wantAll(warnings, "only 1 of the sizes are measured")
}

func TestRunErrors(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "none", "a")
	for _, test := range []struct {
		args   string
		status int
		want   string
	}{
		{"-help", 0, "-sizes"},
		{"-sizes 12x", 2, `size "12x"`},
		{"-fast", 2, "-fast"},
		{"64Mi", 2, `"64Mi"`},
		{"-time 0s", 2, "-time"},
		{"-cross -out a.txt", 2, "-cross"},
		{"-workers two", 2, "-workers"},
		{"-workers 0", 2, "-workers"},
		{"-family -workers 2", 2, "one at a time"},
		{"-family -plans", 2, "one at a time"},
		{"-cross -plans", 2, "one at a time"},
		{"-family -plot a.svg", 2, "-plot"},
		{"-sizes 999Gi -peers none", 1, "memory is short"},
		{"-sizes 16 -time 1ms -peers none -out " + nowhere, 1, nowhere},
		{"-sizes 16 -time 1ms -peers none -plot " + nowhere + ".svg", 1, nowhere},
		{"-sizes 16 -time 1ms -peers none -plot " + t.TempDir() + "/a.txt", 1, "txt"},
		{"-sizes 16 -time 1ms -peers nobody", 0, `there is no "nobody"`},
	} {
		var stdout, stderr strings.Builder
		if status := run(strings.Fields(test.args), &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: status %d, want %d and %q:\n%s", test.args, status, test.status, test.want, &stderr)
		}
	}
}

// Each mode has sizes of its own, unless there are -sizes, and workers begin with
// one.
func TestParse(t *testing.T) {
	for args, want := range map[string]string{
		"":                        "1536,8Ki,30Ki,1Mi,16Mi,64Mi []",
		"-plot a.png":             "512,1536,4Ki,8Ki,16Ki,30Ki,64Ki,128Ki,256Ki,1Mi,4Mi,16Mi,64Mi []",
		"-family":                 "8Ki,30Ki,1Mi,16Mi []",
		"-workers 4,2,4":          "64Mi [1 4 2]",
		"-family -sizes 7":        "7 []",
		"-workers 1 -sizes 1Ki,7": "1Ki,7 [1]",
	} {
		o, err := parse(strings.Fields(args), t.Output())
		var sizes []string
		for _, n := range o.sizes {
			sizes = append(sizes, formatCount(n))
		}
		if got := fmt.Sprint(strings.Join(sizes, ","), " ", o.workers); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", args, got, err, want)
		}
	}
}

// This machine's own tests say that the bits are the same; a program that runs
// nothing, or that fails, does not.
func TestGolden(t *testing.T) {
	isas, err := golden("..", runtime.GOARCH, "")
	if err != nil || !slices.Equal(strings.Fields(isas), kernel.ISAs()) {
		t.Errorf("%q, %v, want %q", isas, err, kernel.ISAs())
	}
	for program, want := range map[string]string{"true": "no implementation was run", "false": "exit status 1"} {
		if isas, err := golden("..", runtime.GOARCH, program); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want an error with %q", program, isas, err, want)
		}
	}
}
