package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed57504d97/kernel"
)

// A clockwork is a runner whose steps take as long as it says.
type clockwork struct {
	label string
	step  time.Duration
	log   *strings.Builder
	fail  error
}

func (c *clockwork) prepare(n, stagger int) error {
	fmt.Fprint(c.log, " ", n, "+", stagger, " ")
	return nil
}
func (c *clockwork) close() error { return nil }

func (c *clockwork) run(steps int) (time.Duration, error) {
	c.log.WriteString(c.label)
	return time.Duration(steps) * c.step, c.fail
}

func TestMeasure(t *testing.T) {
	for n, placed := range map[int]int{500: 1, large: len(staggers)} {
		var log, warnings strings.Builder
		rows := measure([]contender{
			newContender("Update", isKernel, "fast", 3, &clockwork{"f", time.Microsecond, &log, nil}),
			newContender("Update", isPeer, "slow", 5, &clockwork{"s", time.Hour, &log, nil}),
			newContender("Update", isPeer, "broken", 3, &clockwork{"b", 0, &log, errors.New("out of order")}),
		}, n, time.Second, func(format string, args ...any) { fmt.Fprintf(&warnings, format, args...) })
		if len(rows) != 2 {
			t.Fatalf("rows %v, want those of fast and slow", rows)
		}
		f, s := rows[0], rows[1]
		if f.by != "fast" || f.kind != isKernel || f.n != n || len(f.samples) != rounds || f.lower() != 1e6/float64(n) {
			t.Errorf("%+v, want %d samples of 1 µs for %d elements", f, rounds, n)
		}
		if f.steps < 49_000 || f.steps > 51_000 {
			t.Errorf("%d steps a sample, want a twentieth of a second", f.steps)
		}
		if s.by != "slow" || s.kind != isPeer || s.steps != 1 || len(s.samples) != minSamples || s.traffic != 36 {
			t.Errorf("%+v, want %d samples of 1 step", s, minSamples)
		}
		if want := "broken is left out at " + formatCount(n) + " elements: out of order"; warnings.String() != want {
			t.Errorf("warned %q, want %q", &warnings, want)
		}
		// f warms up and runs, s runs; another one begins each round.
		if want := "ffs" + "sff"; placed == 1 && !strings.Contains(log.String(), want) {
			t.Errorf("order of the runs %s, want %s in it", &log, want)
		}
		for i, stagger := range staggers {
			if got := strings.Count(log.String(), fmt.Sprint(" ", n, "+", stagger, " ")) > 0; got != (i < placed) {
				t.Errorf("%d elements: stagger %d: %t", n, stagger, got)
			}
		}
	}
}

func TestQuantiles(t *testing.T) {
	r := row{n: 500, traffic: 20, samples: []float64{5, 1, 4, 2, 3, 9, 7, 8, 6, 1000, 0}}
	if !(r.lower() > 3 && r.lower() < 6 && r.median() == 10 && r.upper() > 14 && r.upper() < 18) {
		t.Errorf("quartiles %g, %g and %g ns per 1,000", r.lower(), r.median(), r.upper())
	}
	if r.samples[0] != 5 {
		t.Error("the order of the samples is gone")
	}
	if got, want := r.gigabytesPerSecond(), 20*1000/r.lower(); got != want {
		t.Errorf("%g GB/s, want %g", got, want)
	}
}

func TestStepsIn(t *testing.T) {
	for step, want := range map[time.Duration]int{
		time.Microsecond: 1000,
		time.Millisecond: 1,
		time.Second:      1,
		0:                1 << 30, // too short for the clock: the search ends all the same
	} {
		got, err := stepsIn(time.Millisecond, &clockwork{"", step, new(strings.Builder), nil})
		if err != nil || got != want {
			t.Errorf("steps of %v in a millisecond: %d, %v, want %d", step, got, err, want)
		}
	}
}

// What runs is the implementation that the row is called after, on arrays of the
// size and the placement asked for.
func TestContenders(t *testing.T) {
	runtime.LockOSThread() // as in a run: a thread's CPU time is counted
	defer runtime.UnlockOSThread()
	defer kernel.SetISA(kernel.ISA())
	w := &workspace{family: true}
	for _, at := range []struct{ n, stagger int }{{100, 0}, {large, 1344}, {7, 0}} {
		contenders := slices.Concat(updateContenders(w, true), familyContenders(w), stepContenders(w, []int{1, 2}))
		for _, c := range contenders {
			if err := c.prepare(at.n, at.stagger); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range contenders {
			l := c.runner.(*local)
			fillData(w.theta, w.grad, w.s) // thousands of steps have led theta away
			theta := slices.Clone(w.theta)
			if took, err := l.run(2); err != nil || took < 0 {
				t.Fatalf("%s: %v, %v", c.by, took, err)
			}
			if changed := !slices.Equal(theta, w.theta); changed != (c.kind == isKernel) {
				t.Errorf("%s, %s: theta changes: %t", c.bench, c.by, changed)
			}
			if isa := before(before(c.by, ","), ":"); c.kind == isKernel && kernel.ISA() != isa {
				t.Errorf("%s: %s is in use", c.by, kernel.ISA())
			}
		}
		for i, x := range [][]float32{w.theta, w.grad, w.s, w.m, w.b} {
			if at, want := uintptr(unsafe.Pointer(&x[0]))%page, uintptr(i*at.stagger%page); len(x) != len(w.theta) || cap(x) != len(x) || want > 0 && at != want || at%64 != 0 {
				t.Errorf("array %d: length %d, capacity %d, %d bytes into a page, want %d", i, len(x), cap(x), at, want)
			}
		}
		if len(w.theta) != at.n {
			t.Errorf("%d elements, want %d", len(w.theta), at.n)
		}
	}
	names := map[string]bool{}
	for _, c := range familyContenders(w) { // the loops need as many arrays as they are said to take
		if names[c.by] {
			t.Errorf("two are called %s", c.by)
		}
		names[c.by] = true
		func() {
			w.theta, w.grad, w.m, w.b = w.s, w.s, w.s, nil
			defer func() {
				if missed := recover() != nil; missed != (c.traffic > 28) && c.kind == isLimit {
					t.Errorf("%s of %d bytes: misses b: %t", c.by, c.traffic, missed)
				}
			}()
			if c.kind == isLimit {
				c.run(1)
			}
		}()
	}
	if w.took <= 0 || w.had < 0 {
		t.Errorf("had the CPU for %v of %v", w.had, w.took)
	}
	for had, want := range map[time.Duration]string{0: "", 850: "CPU for 15% of", 990: ""} {
		w.took, w.had = 1000, had
		warned := ""
		w.warnOfOthers(func(format string, args ...any) { warned = fmt.Sprintf(format, args...) })
		if !strings.Contains(warned, want) || (warned != "") != (want != "") || w.took != 0 {
			t.Errorf("had %d of 1000: warned %q, want %q", had, warned, want)
		}
	}
}

// The plan that runs is the one in the row: the one asked for, the environment's,
// or what kernel has chosen.
func TestPlans(t *testing.T) {
	defer kernel.SetPlan("")
	defer kernel.SetISA(kernel.ISA())
	for _, isa := range kernel.ISAs() {
		kernel.SetISA(isa)
		names := kernel.Plans()
		for _, variable := range []string{"", "unknown", names[len(names)-1]} {
			t.Setenv("KERNEL_PLAN", variable)
			w := new(workspace)
			seen := 0
			for _, c := range updateContenders(w, true) {
				if before(c.by, ":") != isa {
					continue
				}
				rows := measure([]contender{c}, 3000, time.Microsecond, t.Logf)
				_, asked, fixed := strings.Cut(c.by, ":")
				if !fixed && variable == names[len(names)-1] {
					asked, fixed = variable, true
				}
				if len(names) == 1 {
					asked = ""
				} else if !fixed && len(rows) == 1 && slices.Contains(names, rows[0].plan) {
					asked = rows[0].plan
				}
				if len(rows) != 1 || rows[0].plan != asked || kernel.ISA() != isa || asked != "" && kernel.Plan(3000) != asked {
					t.Errorf("%q: %s ran %s of %s, want %q: %+v", variable, c.by, kernel.Plan(3000), kernel.ISA(), asked, rows)
				}
				seen++
			}
			if want := 1 + len(names); seen != want && (seen != 1 || len(names) > 1) {
				t.Errorf("%s: %d contenders for %d plans", isa, seen, len(names))
			}
		}
	}
}
