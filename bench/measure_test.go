package main

import (
	"cmp"
	"errors"
	"fmt"
	"log"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/seed57504d97/kernel"
	"github.com/seed57504d97/kernel/internal/tuning"
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
		var runs, got strings.Builder
		rows := measure([]contender{
			newContender(isKernel, "fast", 3, &clockwork{"f", time.Microsecond, &runs, nil}),
			newContender(isPeer, "slow", 5, &clockwork{"s", time.Second, &runs, nil}),
			newContender(isPeer, "too short for the clock", 3, &clockwork{"t", 0, &runs, nil}),
			newContender(isPeer, "broken", 3, &clockwork{"b", 0, &runs, errors.New("out of order")}),
		}, n, time.Second, log.New(&got, "", 0))
		for _, r := range rows {
			fmt.Fprintf(&got, "%s %s %d %d: %d of %d steps, %.3g\n",
				r.by, r.kind, r.traffic, r.n, len(r.samples), r.steps, r.lower())
		}
		want := fmt.Sprintf("broken is left out at %s elements: out of order\n"+
			"fast kernel 20 %d: %d of 50000 steps, %.3g\nslow peer 36 %d: %d of 1 steps, %.3g\n"+
			"too short for the clock peer 20 %d: %d of 1073741824 steps, 0\n",
			formatCount(n), n, rounds, 1e6/float64(n), n, minSamples, 1e12/float64(n), n, rounds)
		if got.String() != want {
			t.Errorf("got:\n%s\nwant:\n%s", &got, want)
		}
		// f and t warm up and run, s only runs. Each round begins with another one.
		if want := "ffstt" + "sttff"; placed == 1 && !strings.Contains(runs.String(), want) {
			t.Errorf("order of the runs %s, want %s in it", &runs, want)
		}
		for i, stagger := range staggers {
			if got := strings.Contains(runs.String(), fmt.Sprint(" ", n, "+", stagger, " ")); got != (i < placed) {
				t.Errorf("%d elements: stagger %d: %t", n, stagger, got)
			}
		}
	}
}

func TestQuantiles(t *testing.T) {
	r := row{n: 500, traffic: 20, samples: []float64{5, 1, 4, 2, 3, 9, 7, 8, 6, 1000, 0}}
	if !(r.lower() > 3 && r.lower() < 6 && r.median() == 10 && r.quantile(0.75) > 14 && r.quantile(0.75) < 18) {
		t.Errorf("quartiles %g, %g and %g ns per 1,000", r.lower(), r.median(), r.quantile(0.75))
	}
	if got, want := r.gigabytesPerSecond(), 20*1000/r.lower(); got != want || r.samples[0] != 5 {
		t.Errorf("%g GB/s, want %g, and the samples in order: %v", got, want, r.samples)
	}
}

// The implementation that the row names runs, on arrays of the requested size and placement, and on
// as many arrays as the row's bytes say.
func TestContenders(t *testing.T) {
	runtime.LockOSThread() // as in a run: a thread's CPU time is counted
	defer runtime.UnlockOSThread()
	defer kernel.SetISA(kernel.ISA())
	w := &workspace{more: 2}
	all := slices.Concat(updateContenders(w, true), optionContenders(w))
	arrays := func() [][]float32 { return [][]float32{w.theta, w.s, w.m, w.b, w.grad} }
	for _, at := range []struct{ n, stagger int }{{100, 0}, {large, 1344}, {7, 0}} {
		for _, c := range all {
			if err := c.prepare(at.n, at.stagger); err != nil {
				t.Fatal(err)
			}
			// The steps before a plan is chosen move theta away, and m to its limit.
			fillData(w.theta, w.grad, w.s)
			clear(w.m)
			var old [][]float32
			for _, x := range arrays() {
				old = append(old, slices.Clone(x))
			}
			if took, err := c.run(2); err != nil || took < 0 {
				t.Fatalf("%s: %v, %v", c.by, took, err)
			}
			changed := 0
			for i, x := range arrays() {
				if !slices.Equal(old[i], x) {
					changed++
				}
			}
			if want := (c.traffic - 4) / 8; c.kind == isKernel && changed != want || c.kind == isLimit && changed > 0 {
				t.Errorf("%s: changes %d arrays, want %d", c.by, changed, want)
			}
			isa := before(before(c.by, ","), "/")
			if isa == byDefault {
				isa = kernel.ISAs()[0]
			}
			if c.kind == isKernel && kernel.ISA() != isa {
				t.Errorf("%s: %s is in use", c.by, kernel.ISA())
			}
		}
		for i, x := range [][]float32{w.theta, w.grad, w.s, w.m, w.b} {
			into, want := uintptr(unsafe.Pointer(&x[0]))%page, uintptr(i*at.stagger%page)
			if len(x) != at.n || cap(x) != at.n || want > 0 && into != want || into%64 != 0 {
				t.Errorf("array %d: length %d, capacity %d, %d bytes into a page, want %d", i, len(x), cap(x), into, want)
			}
		}
	}
	// A traffic loop changes nothing. It panics if it misses an array.
	w.m, w.b = nil, nil
	for _, c := range all {
		missed := func() (missed bool) {
			defer func() { missed = recover() != nil }()
			c.run(1)
			return false
		}
		if c.kind == isLimit && missed() != (c.traffic > 20) {
			t.Errorf("%s, said to be of %d bytes: misses an array: %t", c.by, c.traffic, c.traffic <= 20)
		}
	}
}

// There is a warning at each size at which other processes had the CPU.
func TestWarnOfOthers(t *testing.T) {
	for had, want := range map[time.Duration]int{0: 0, 850: 2, 990: 0} {
		var warned strings.Builder
		var w workspace
		for range 2 {
			w.took, w.had = w.took+1000, w.had+had
			w.warnOfOthers(log.New(&warned, "", 0))
		}
		text := warned.String()
		if strings.Count(text, "CPU for 15% of") != want || strings.Count(text, "\n") != want {
			t.Errorf("had %d of 1000: warned %q, want %d times", had, text, want)
		}
	}
}

// The plan in the row runs: the requested one, the environment's, or the one that kernel chose.
func TestPlans(t *testing.T) {
	defer kernel.SetISA("")
	seen := map[string]int{} // contenders
	for _, c := range updateContenders(new(workspace), true) {
		isa, asked := before(c.by, "/"), ""
		seen[isa]++
		if isPlan(c.by) {
			asked = c.by
		}
		if c.by == byDefault {
			isa = ""
		}
		if kernel.SetISA(isa) != nil {
			continue // a traffic loop
		}
		plans := tuning.Plans()
		last := plans[len(plans)-1]
		for variable, want := range map[string]string{"": "", "unknown": "", last: last} {
			t.Setenv("KERNEL_PLAN", variable)
			rows := measure([]contender{c}, 3000, time.Microsecond, log.New(t.Output(), "", 0))
			if want = cmp.Or(asked, want, tuning.Plan(3000)); len(plans) == 1 {
				want = ""
			}
			if rows[0].plan != want || isa != "" && kernel.ISA() != isa || want != "" && tuning.Plan(3000) != want {
				t.Errorf("%q: %s of %s ran, want %s: %+v", variable, tuning.Plan(3000), kernel.ISA(), want, rows)
			}
		}
		if len(plans) > 1 && asked != "" && !slices.Contains(plans, asked) {
			t.Errorf("%s has no plan %s", isa, asked)
		}
	}
	for _, isa := range kernel.ISAs() {
		kernel.SetISA(isa)
		if plans := len(tuning.Plans()); plans > 1 && seen[isa] != 1+plans || plans == 1 && seen[isa] != 1 {
			t.Errorf("%s: %d contenders for %d plans", isa, seen[isa], plans)
		}
	}
	if seen[byDefault] != 1 {
		t.Errorf("%d contenders by default", seen[byDefault])
	}
}
