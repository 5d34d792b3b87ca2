package main

import (
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
)

// The hashes of the weights that seed 1 ends in, on every machine.
const (
	hashAfter3  = "0c30c149dfd06e1745f9794041db29dec069064ef06948adbaafa119c2f78cc9" // -epochs 3
	hashAfter30 = "2e9bf3ac6f27cdaabf3ffb0fe22df873172124244751399ca087bebe13fe584c" // no flags
)

// A result is what a run prints last.
type result struct {
	accuracy float64
	hash     string
}

var lastLines = regexp.MustCompile(`\nfinal test accuracy ([0-9.]+)%, total time \S+\nsha256 of the weights ([0-9a-f]{64})\n$`)

// mustRun runs the program, which must succeed and print a line on what it
// trains, one on how, one an epoch and the result.
func mustRun(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr strings.Builder
	if status := run(args, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("%q: status %d, stderr %q", args, status, stderr.String())
	}
	return lastResult(t, args, stdout.String())
}

func lastResult(t *testing.T, args []string, printed string) result {
	t.Helper()
	m := lastLines.FindStringSubmatch(printed)
	if m == nil {
		t.Fatalf("%q: no result at the end of:\n%s", args, printed)
	}
	accuracy, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return result{accuracy, m[2]}
}

// mustEnd runs the program, which must end with the status and, if a message is
// given, print that one line and nothing else.
func mustEnd(t *testing.T, status int, message string, args ...string) {
	t.Helper()
	var stdout, stderr strings.Builder
	if got := run(args, &stdout, &stderr); got != status {
		t.Errorf("%q: status %d, want %d", args, got, status)
	}
	if stdout.Len() > 0 {
		t.Errorf("%q: stdout %q, want nothing", args, stdout.String())
	}
	if got := stderr.String(); message != "" && got != "digits: "+message+"\n" {
		t.Errorf("%q: stderr\n\t%q, want\n\t%q", args, got, "digits: "+message+"\n")
	}
}

func TestSameWeightsEverywhere(t *testing.T) {
	before := kernel.ISA()
	defer kernel.SetISA(before)
	for _, isa := range kernel.ISAs() {
		t.Run(isa, func(t *testing.T) {
			if err := kernel.SetISA(isa); err != nil {
				t.Fatal(err)
			}
			if got := mustRun(t, "-epochs", "3").hash; got != hashAfter3 {
				t.Errorf("hash %s, want %s", got, hashAfter3)
			}
		})
	}
}

func TestSeed(t *testing.T) {
	a, b := mustRun(t, "-epochs", "1"), mustRun(t, "-epochs", "1", "-seed", "2")
	if a.hash == b.hash {
		t.Error("seeds 1 and 2 end in the same weights")
	}
}

func TestDefaults(t *testing.T) {
	if testing.Short() {
		t.Skip("30 epochs")
	}
	got := mustRun(t)
	if got.accuracy <= 96 {
		t.Errorf("accuracy %.2f%%, want more than 96%%", got.accuracy)
	}
	if got.hash != hashAfter30 {
		t.Errorf("hash %s, want %s", got.hash, hashAfter30)
	}
}

func TestOutput(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run([]string{"-epochs", "2", "-hidden", "16"}, &stdout, &stderr); status != 0 {
		t.Fatal(stderr.String())
	}
	duration := `[^0]\S*s`
	if runtime.GOOS == "windows" { // its clock may not advance within a step
		duration = `\d\S*s`
	}
	want := regexp.MustCompile(`^digits\.csv\.gz: 1438 images of 8x8 pixels to train on, 359 to test; ` +
		`network 64-16-10, 1210 parameters; kernel ` + kernel.ISA() + `
batch 32, lr 0\.01 falling to 0, rho 0\.9, eps 1e-07, seed 1
epoch 1  loss \d\.\d{4}  test accuracy \d\d\.\d\d%  in Step ` + duration + `
epoch 2  loss \d\.\d{4}  test accuracy \d\d\.\d\d%  in Step ` + duration + `
final test accuracy \d\d\.\d\d%, total time ` + duration + `
sha256 .*
$`)
	if !want.MatchString(stdout.String()) {
		t.Errorf("printed\n%s\nwant\n%v", stdout.String(), want)
	}
}

func TestOverflow(t *testing.T) {
	for _, args := range [][]string{
		{"-lr", "1e19"},
		{"-rho", "1", "-eps", "0"}, // divides by the root of 0
	} {
		var stdout, stderr strings.Builder
		status := run(args, &stdout, &stderr)
		want := "digits: the weights overflowed in epoch 1: use a smaller -lr or a larger -eps\n"
		if status != 1 || stderr.String() != want {
			t.Errorf("%q: status %d, stderr %q, want 1 and %q", args, status, stderr.String(), want)
		}
	}
}
