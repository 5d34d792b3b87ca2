package main

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestSummarize(t *testing.T) {
	for _, test := range []struct {
		samples []float64
		want    spread
	}{
		{[]float64{7}, spread{7, 7, 7, 7, 7}},
		{[]float64{3, 1}, spread{2, 1.5, 2.5, 1, 3}},
		{[]float64{5, 1, 4, 2, 3}, spread{3, 2, 4, 1, 5}},
		{[]float64{1, 1, 1, 1, 1000}, spread{1, 1, 1, 1, 1000}},
	} {
		before := test.samples[0]
		if got := summarize(test.samples); got != test.want {
			t.Errorf("summarize(%v) = %v, want %v", test.samples, got, test.want)
		}
		if test.samples[0] != before {
			t.Error("summarize changes the samples' order")
		}
	}
}

// A clockwork is a runner whose steps take as long as it says.
type clockwork struct {
	label string
	step  time.Duration
	n     int // as prepared
	log   *strings.Builder
	fail  error
}

func (c *clockwork) name() string        { return c.label }
func (c *clockwork) prepare(n int) error { c.n = n; return nil }
func (c *clockwork) close() error        { return nil }

func (c *clockwork) run(steps int) (time.Duration, error) {
	c.log.WriteString(c.label)
	return time.Duration(steps) * c.step, c.fail
}

func TestMeasure(t *testing.T) {
	var log strings.Builder
	fast := &clockwork{label: "f", step: time.Microsecond, log: &log}
	slow := &clockwork{label: "s", step: time.Hour, log: &log}
	broken := &clockwork{label: "b", fail: errors.New("out of order"), log: &log}
	var warnings strings.Builder
	ticks := 0
	rows := measure([]contender{{fast, isKernel}, {slow, isPeer}, {broken, isPeer}}, 500, time.Second,
		func() { ticks++ },
		func(format string, args ...any) { warnings.WriteString(format) })

	if ticks != rounds {
		t.Errorf("%d ticks, want %d", ticks, rounds)
	}
	if len(rows) != 2 || rows[0].Name != "f" || rows[1].Name != "s" {
		t.Fatalf("rows %v, want those of f and s", rows)
	}
	if f := rows[0]; f.Kind != isKernel || f.Elements != 500 || len(f.Samples) != rounds || f.Median != 2000 {
		t.Errorf("f: %+v, want %d samples of 1 µs for 500 elements, 2000 ns per 1000", f, rounds)
	}
	// A slice is a second in 31 parts.
	if f := rows[0]; f.Steps < 30000 || f.Steps > 33000 {
		t.Errorf("f: %d steps a sample, want 32258", f.Steps)
	}
	if s := rows[1]; s.Steps != 1 || len(s.Samples) != minSamples {
		t.Errorf("s: %d samples of %d steps, want %d of 1", len(s.Samples), s.Steps, minSamples)
	}
	if !strings.Contains(warnings.String(), "left out") {
		t.Errorf("warnings %q do not say that b is left out", warnings.String())
	}
	if fast.n != 500 || slow.n != 500 {
		t.Errorf("prepared for %d and %d elements, want 500", fast.n, slow.n)
	}
	// f warms up and runs, s runs; another one begins each round.
	if got, want := log.String(), "ffs"+"sff"+"ffs"; !strings.Contains(got, want) {
		t.Errorf("order of the runs %s, want %s in it", got, want)
	}
}

func TestStepsIn(t *testing.T) {
	for step, want := range map[time.Duration]int{
		time.Microsecond: 1000,
		time.Millisecond: 1,
		time.Second:      1,
		0:                1 << 30, // too short for the clock: the search ends all the same
	} {
		got, err := stepsIn(time.Millisecond, &clockwork{step: step, log: new(strings.Builder)})
		if err != nil || got != want {
			t.Errorf("steps of %v in a millisecond: %d, %v, want %d", step, got, err, want)
		}
	}
}

// Every implementation and the traffic loop work on the same memory, of the
// size asked for.
func TestWorkspace(t *testing.T) {
	runtime.LockOSThread() // as in a run: the CPU's time is counted by thread
	defer runtime.UnlockOSThread()
	contenders, memory := ourContenders()
	for _, n := range []int{100, 1 << 20, 7} {
		for _, c := range contenders {
			if err := c.prepare(n); err != nil {
				t.Fatal(err)
			}
			if took, err := c.run(2); err != nil || took < 0 {
				t.Fatalf("%s: %v, %v", c.name(), took, err)
			}
		}
		if len(memory.theta) != n || len(memory.grad) != n || len(memory.s) != n {
			t.Errorf("%d, %d and %d elements, want %d", len(memory.theta), len(memory.grad), len(memory.s), n)
		}
		for i, x := range memory.theta {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) || memory.s[i] < 0 {
				t.Fatalf("theta[%d] = %g, s[%d] = %g", i, x, i, memory.s[i])
			}
		}
	}
	if lost := memory.lost(); lost > 1 || math.IsNaN(lost) {
		t.Errorf("other processes had the CPU for %g of the time", lost)
	}
	for _, c := range contenders {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNewSlice(t *testing.T) {
	for _, n := range []int{1, 1000, 1 << 19, 1<<20 + 1} {
		x := newSlice(n)
		if len(x) != n || cap(x) != n {
			t.Errorf("newSlice(%d): length %d, capacity %d", n, len(x), cap(x))
		}
		align := uintptr(64)
		if 4*n >= 2<<20 {
			align = 2 << 20
		}
		if uintptr(unsafe.Pointer(&x[0]))%align != 0 {
			t.Errorf("newSlice(%d): at %p, not aligned to %d", n, x, align)
		}
	}
}
