package kernel

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// forgetPlans makes every class of lengths choose its plan again, now and after the test.
func forgetPlans(t testing.TB) {
	forget := func() {
		tuners = [len(plans)][layouts][classes]tuner{}
	}
	forget()
	t.Cleanup(forget)
}

// chosenISAs runs f on every implementation that has plans to choose among.
func chosenISAs(t *testing.T, f func(t *testing.T, all []plan)) {
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			useISA(t, name)
			all := plansInUse()
			if len(all) == 1 {
				t.Skip("it has one plan")
			}
			forgetPlans(t)
			f(t, all)
		})
	}
}

// A fakeClock is read before and after a timed chunk. cost returns the time of a turn's chunk.
type fakeClock struct {
	now, reads int64
	cost       func(turn int) int64
}

func useClock(t testing.TB, cost func(turn int) int64) *fakeClock {
	f, before := &fakeClock{cost: cost}, clock
	clock = func() int64 {
		if f.reads++; f.reads%2 == 0 {
			f.now += f.cost(int(f.reads/2 - 1))
		}
		return f.now
	}
	t.Cleanup(func() { clock = before })
	return f
}

// planAt returns the plan of a turn: each plan once in a round, and each round begins with another
// plan.
func planAt(turn, plans int) int { return (turn + turn/plans) % plans }

// step runs a step of n elements of any data.
func step(n int) {
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	Update(theta, grad, s, usual.LR, usual.Rho, usual.Eps)
}

// Steps too short to be timed use the plan of the shortest class.
func TestPlanOfShortSteps(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		last := len(all) - 1
		f := useClock(t, func(turn int) int64 { return int64(100 - planAt(turn, len(all))) })
		for _, n := range []int{1, minTimed - 1} {
			if got := planName(n); got != all[0].String() {
				t.Errorf("%d elements: %q before anything was timed, want %s", n, got, all[0])
			}
		}
		for range trials * len(all) {
			step(minTimed)
		}
		f.reads = 0
		for _, n := range []int{1, 100, minTimed - 1} {
			step(n)
			if got := planName(n); got != all[last].String() {
				t.Errorf("%d elements: %q, want %s", n, got, all[last])
			}
		}
		if f.reads != 0 {
			t.Error("short steps are timed")
		}
	})
}

// Lengths beyond any memory have a class that chooses a plan.
func TestPlanOfAnyLength(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		i, _ := selection()
		last := &tuners[i][layoutPlain][classes-1]
		for _, n := range []int{1<<28 - 1, 1 << 28, 1 << 29, math.MaxInt32, math.MaxInt} {
			if same := tunerOf(i, layoutPlain, n) == last; same != (n >= 1<<28) {
				t.Errorf("%d elements: the last class: %v", n, same)
			}
		}
	})
}

// Plans are compared by their time for each element, and a choice stays.
func TestPlanTimesElements(t *testing.T) {
	all := []plan{{isaAVX2, 4, 0, 0, 0}, {isaAVX2, 2, 0, 0, 0}}
	var tuner tuner
	for range trials {
		tuner.record(all, 0, 100, minTimed, minTimed)
		tuner.record(all, 1, 150, 2*minTimed, minTimed)
	}
	if got := tuner.chosen.Load(); got != 2 {
		t.Errorf("150 ns for 2,048 elements against 100 for 1,024: chosen %d, want 2", got)
	}
	for range trials {
		tuner.record(all, 0, 1, minTimed, minTimed)
	}
	if got := tuner.chosen.Load(); got != 2 {
		t.Errorf("chosen %d after the choice", got)
	}
}

func TestPlanIsChosen(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		for want := range all {
			forgetPlans(t)
			// The wanted plan is fast in four trials and slow in the others. Each other plan is
			// faster in three trials.
			f := useClock(t, func(turn int) int64 {
				round, plan := turn/len(all), planAt(turn, len(all))
				switch {
				case plan == want && round%3 == 0:
					return 2000
				case plan != want && round%4 == 0:
					return 1000
				}
				return 3000 + int64(plan)
			})
			n := minTimed + 100
			for turn := range trials * len(all) {
				if got := planName(n); got != "" {
					t.Fatalf("%s chosen after %d of %d turns", got, turn, trials*len(all))
				}
				step(n)
			}
			if got := planName(n); got != all[want].String() {
				t.Errorf("%q chosen, want %s", got, all[want])
			}
			reads := f.reads
			if reads != 2*trials*int64(len(all)) {
				t.Errorf("the clock was read %d times in %d turns", reads, trials*len(all))
			}
			step(n)
			step(2*minTimed - 1) // of the same class
			if f.reads != reads {
				t.Error("the clock is read after a plan was chosen")
			}
			if got := planName(2 * minTimed); got != "" {
				t.Errorf("%s chosen for a class that was not seen", got)
			}
			step(2 * minTimed)
			if f.reads == reads {
				t.Error("the clock is not read for another class")
			}
		}
	})
}

// With equal times, as from a coarse clock, the first plan stays.
func TestPlanTies(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		useClock(t, func(int) int64 { return 0 })
		for range trials * len(all) {
			step(minTimed)
		}
		if got := planName(minTimed); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// A long call has many chunks, but its data may be colder than those of all later calls. The
// shorter chunk at the end is not timed if it is too short.
func TestPlanTakesSteps(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		f := useClock(t, func(turn int) int64 { return int64(1 + planAt(turn, len(all))) })
		n := 2*trials*len(all)*chunk + minTimed - 1
		for call := range int64(trialsSteps) {
			if got := planName(n); got != "" {
				t.Errorf("%s chosen after %d calls", got, call)
			}
			step(n)
			if want := 2 * (call + 1) * int64(n/chunk); call < trialsSteps-1 && f.reads != want {
				t.Errorf("call %d: the clock was read %d times, want %d", call, f.reads, want)
			}
		}
		if got := planName(n); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// Each layout has its own choice, and the pieces of an Optimizer's step use the class of the whole
// step.
func TestPlanOfLayouts(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		f := useClock(t, func(turn int) int64 { return int64(100 - planAt(turn, len(all))) })
		last := len(all) - 1
		chosen := func(l layout, n int) int {
			i, _ := selection()
			return int(tunerOf(i, l, n).chosen.Load()) - 1
		}
		for _, a := range arrays {
			o, l := a.RMSProp, a.layout
			o.LR, o.Rho, o.Eps = 0.01, 0.9, 1e-7
			d := o.allocate(minTimed)
			f.reads = 0
			for range trials * len(all) {
				if got := chosen(l, minTimed); got >= 0 {
					t.Fatalf("%s: %s chosen early", a.name, all[got])
				}
				o.Update(d.theta, d.grad, d.state())
			}
			if got := chosen(l, minTimed); got != last {
				t.Errorf("%s: plan %d chosen, want %d", a.name, got, last)
			}
		}

		forgetPlans(t)
		o := Optimizer{Options: RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-7}, Workers: 1}
		params := make([]Param, 9)
		for i := range params {
			params[i] = Param{Theta: make([]float32, minTimed), Grad: make([]float32, minTimed)}
		}
		f.reads = 0
		for range trials * len(all) {
			if _, err := o.Step(params); err != nil {
				t.Fatal(err)
			}
		}
		if got := chosen(layoutPlain, 9*minTimed); got != last {
			t.Errorf("Optimizer: plan %d chosen, want %d", got, last)
		}
		if got := chosen(layoutPlain, minTimed); got >= 0 {
			t.Errorf("Optimizer: plan %d chosen for the length of a tensor", got)
		}
	})
}

// A step in many calls is one step: the first step finds cold data, however many tensors and
// chunks it has.
func TestPlanTakesOptimizersSteps(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		useClock(t, func(turn int) int64 { return 1 })
		o := Optimizer{Options: RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-7}, Workers: 1, ZeroGrad: true}
		params := make([]Param, 2*trials*len(all))
		for i := range params {
			params[i] = Param{Theta: make([]float32, minTimed), Grad: make([]float32, minTimed)}
		}
		for step := range trialsSteps {
			if got := planName(len(params) * minTimed); got != "" {
				t.Errorf("%s chosen after %d steps", got, step)
			}
			if _, err := o.Step(params); err != nil {
				t.Fatal(err)
			}
		}
		if got := planName(len(params) * minTimed); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// The last trials decide, not those of the first step, whose data are in memory.
func TestPlanForgetsFirstTrials(t *testing.T) {
	all := []plan{{isaAVX2, 4, 0, 0, 0}, {isaAVX2, 2, 0, 0, 0}}
	var tuner tuner
	const n = minTimed
	for trial := range 2 * trialsKept {
		cold := trial < trialsKept
		fast, slow := 0, 1
		if cold {
			fast, slow = 1, 0
		}
		tuner.record(all, fast, 100, n, n*trialsKept)
		tuner.record(all, slow, 200, n, n*trialsKept)
		if tuner.chosen.Load() != 0 {
			t.Fatalf("chosen after %d trials", trial)
		}
	}
	for range 2 * trialsKept {
		tuner.record(all, 0, 100, n, n*trialsKept)
		tuner.record(all, 1, 200, n, n*trialsKept)
	}
	if got := tuner.chosen.Load(); got != 1 {
		t.Errorf("chosen %d, want 1, which was faster in the end", got)
	}
}

// Concurrent callers choose together, and each of their steps has the same bits.
func TestPlanConcurrent(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		const n = minTimed + 77
		r := random(t, 3)
		d := variants[0].allocate(n)
		r.training(d)
		want := d.clone()
		variants[0].generic(want)
		var wg waitGroup
		for range 4 {
			wg.Go(func() {
				for planName(n) == "" {
					got := d.clone()
					variants[0].step(got)
					if !slices.Equal(got.theta, want.theta) || !slices.Equal(got.s, want.s) {
						t.Error("other bits")
						return
					}
				}
			})
		}
		wg.Wait()
		if !slices.Contains(planNames(), planName(n)) {
			t.Errorf("planName(%d) = %q, not one of %q", n, planName(n), planNames())
		}
	})
}

// Roots are computed in software only if they are exact, and nothing is prefetched after
// the end of the arrays.
func TestPlanUsed(t *testing.T) {
	numbers := usual.rounded(1, 1)
	for eps, want := range map[float64]int{1: 2, 0x1p-100: 2, float64(math.Nextafter32(0x1p-100, 0)): 0, 0: 0} {
		o := RMSProp{LR: 0.1, Rho: 0.9, Eps: eps}
		k := o.rounded(1, 1)
		c := call{n: chunk, coeffs: &k}
		if c.use(&plan{isaAVX2, 4, 2, 0, 256}, 0); c.roots != want {
			t.Errorf("eps = %g: %d roots in software, want %d", eps, c.roots, want)
		}
	}
	for left, want := range map[int]int{0: 64, 60: 4, 64: 0, chunk: 64 - chunk} {
		c := call{n: chunk, coeffs: &numbers}
		if c.use(&plan{isaAVX2, 4, 2, 0, 256}, left); c.stop != want {
			t.Errorf("%d elements after the chunk: stops prefetching at %d, want %d", left, c.stop, want)
		}
	}
	c := call{n: chunk, coeffs: &numbers}
	if c.use(&plan{isaAVX2, 2, 0, 0, 0}, chunk); c.stop <= chunk || c.vectors != 2 {
		t.Errorf("%d vectors, stops prefetching at %d of %d", c.vectors, c.stop, chunk)
	}
}

func TestSetPlan(t *testing.T) {
	keepSelection(t)
	for _, name := range ISAs() {
		useISA(t, name)
		names := planNames()
		for i, plan := range names {
			if slices.Index(names, plan) != i {
				t.Errorf("%s: two plans are called %s", name, plan)
			}
			if err := setPlan(plan); err != nil {
				t.Error(err)
			}
			for _, n := range []int{0, 1, minTimed, math.MaxInt32} {
				if got := planName(n); got != plan {
					t.Errorf("%s: planName(%d) = %q after setPlan(%q)", name, n, got, plan)
				}
			}
			if err := setPlan("fastest"); err == nil || planName(1) != plan {
				t.Errorf("%s: setPlan of no plan: %v, then planName(1) = %q", name, err, planName(1))
			}
		}
		if err := setPlan(""); err != nil || planName(1) != names[0] {
			t.Errorf("%s: setPlan of \"\": %v, then planName(1) = %q", name, err, planName(1))
		}
	}
}

// An implementation can be selected while a plan of another one is fixed, and both by
// several goroutines at the same time: every step has a plan that exists.
func TestSelectionConcurrent(t *testing.T) {
	keepSelection(t)
	for _, name := range ISAs() {
		if err := SetISA(name); err != nil {
			t.Fatal(err)
		}
		names := planNames()
		if err := setPlan(names[len(names)-1]); err != nil {
			t.Fatal(err)
		}
		for _, other := range ISAs() {
			if err := SetISA(other); err != nil {
				t.Fatal(err)
			}
			step(100)
			if slices.Index(planNames(), planName(100)) < 0 {
				t.Errorf("%s after %s: plan %q", other, name, planName(100))
			}
		}
	}
	var wg waitGroup
	for w := range 4 {
		wg.Go(func() {
			for turn := range 3000 {
				switch w {
				case 0:
					SetISA(ISAs()[turn%len(ISAs())])
				case 1, 2:
					names := planNames()
					setPlan(names[len(names)-1])
				default:
					step(1 + turn%40)
				}
			}
		})
	}
	wg.Wait()
}

// A forced implementation uses only its own plans. By default a CPU with AVX-512
// also uses AVX2's.
func TestPlansSpan(t *testing.T) {
	keepSelection(t)
	for _, name := range append(ISAs(), "") {
		if err := SetISA(name); err != nil {
			t.Fatal(err)
		}
		for _, plan := range planNames() {
			own := strings.HasPrefix(plan, ISA()+"/")
			if !own && (name != "" || ISA() != "avx512" || !strings.HasPrefix(plan, "avx2/v2")) {
				t.Errorf("SetISA(%q): plan %s", name, plan)
			}
		}
	}
	if spans := slices.Contains(planNames(), "avx2/v2r0+2048"); spans != (ISAs()[0] == "avx512" || ISAs()[0] == "avx2") {
		t.Errorf("by default: %q", planNames())
	}
}

// KERNEL_PLAN is read when a program starts, so this test starts itself again.
func TestPlanVariable(t *testing.T) {
	const variable = "KERNEL_TEST_PLAN"
	if os.Getenv(variable) != "" {
		os.Stdout.WriteString("plan " + planName(1) + ".\n")
		os.Exit(0)
	}
	for _, name := range ISAs() {
		useISA(t, name)
		names := planNames()
		for asked, want := range map[string]string{names[len(names)-1]: names[len(names)-1], "nonsense": names[0], "": names[0]} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestPlanVariable$")
			cmd.Env = append(os.Environ(), variable+"=on", "KERNEL_ISA="+name, "KERNEL_PLAN="+asked)
			out, err := cmd.CombinedOutput()
			if _, exited := errorAs[*exec.ExitError](err); err != nil && !exited {
				t.Skip("an emulator runs this test, but not what it starts:", err)
			}
			if err != nil || !strings.HasPrefix(string(out), "plan "+want+".") {
				t.Errorf("KERNEL_ISA=%s KERNEL_PLAN=%s: %v, printed %q, want %s", name, asked, err, out, want)
			}
		}
	}
}
