package kernel

import (
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// forgetPlans has every class of lengths choose anew, and again after the test.
func forgetPlans(t testing.TB) {
	forget := func() {
		choosers = [len(plans)][layouts][classes]chooser{}
	}
	forget()
	t.Cleanup(forget)
}

// chosenISAs runs f on every implementation that has plans to choose among.
func chosenISAs(t *testing.T, f func(t *testing.T, all []plan)) {
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			useISA(t, name)
			all := plans[active.Load()]
			if len(all) == 1 {
				t.Skip("it has one plan")
			}
			forgetPlans(t)
			f(t, all)
		})
	}
}

// A fakeClock is read before and after a chunk that is timed. cost is how long
// the chunk of a turn takes.
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

// planAt is the plan whose turn it is: each once a round, each round beginning with
// another.
func planAt(turn, plans int) int { return (turn + turn/plans) % plans }

// step takes a step of n elements of any data.
func step(n int) {
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	Update(theta, grad, s, usual.LR, usual.Rho, usual.Eps)
}

func TestPlanIsChosen(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		for want := range all {
			forgetPlans(t)
			// The one that is wanted is the slowest but for one time.
			best := looks/2*len(all) + slices.Index(turnsOfRound(looks/2, len(all)), want)
			f := useClock(t, func(turn int) int64 {
				if turn == best {
					return 1000
				}
				return 2000 + int64(planAt(turn, len(all))) + 500*int64(turn%2)
			})
			n := minTimed + 100
			for turn := range looks * len(all) {
				if got := Plan(n); got != "" {
					t.Fatalf("%s chosen after %d of %d turns", got, turn, looks*len(all))
				}
				step(n)
			}
			if got := Plan(n); got != all[want].String() {
				t.Errorf("%q chosen, want %s", got, all[want])
			}
			reads := f.reads
			if reads != 2*looks*int64(len(all)) {
				t.Errorf("the clock was read %d times in %d turns", reads, looks*len(all))
			}
			step(n)
			step(2*minTimed - 1) // of the same class
			if f.reads != reads {
				t.Error("the clock is read after a plan was chosen")
			}
			if got := Plan(2 * minTimed); got != "" {
				t.Errorf("%s chosen for a class that was not seen", got)
			}
			step(2 * minTimed)
			if f.reads == reads {
				t.Error("the clock is not read for another class")
			}
		}
	})
}

// turnsOfRound are the plans in their order in a round.
func turnsOfRound(round, plans int) (order []int) {
	for turn := round * plans; turn < (round+1)*plans; turn++ {
		order = append(order, planAt(turn, plans))
	}
	return order
}

// Equal times leave the first plan, as on a clock too coarse to tell.
func TestPlanTies(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		useClock(t, func(int) int64 { return 0 })
		for range looks * len(all) {
			step(minTimed)
		}
		if got := Plan(minTimed); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// A long call has many chunks, but one call's data may be colder than those of all
// later ones. The chunk at the end, which is shorter, is not timed with it if
// it is too short.
func TestPlanTakesSteps(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		f := useClock(t, func(turn int) int64 { return int64(1 + planAt(turn, len(all))) })
		n := 2*looks*len(all)*chunk + minTimed - 1
		for call := range int64(looksSteps) {
			if got := Plan(n); got != "" {
				t.Errorf("%s chosen after %d calls", got, call)
			}
			step(n)
			if want := 2 * (call + 1) * int64(n/chunk); call < looksSteps-1 && f.reads != want {
				t.Errorf("call %d: the clock was read %d times, want %d", call, f.reads, want)
			}
		}
		if got := Plan(n); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// The family chooses for each layout, and Optimizer's pieces go by the whole step.
func TestPlanOfLayouts(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		f := useClock(t, func(turn int) int64 { return int64(100 - planAt(turn, len(all))) })
		last := len(all) - 1
		chosen := func(l layout, n int) int { return int(chooserOf(isa(active.Load()), l, n).chosen.Load()) - 1 }
		for _, a := range arrays {
			o := RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-7, EpsOutside: true, Centered: a.centered}
			l := layoutPlain
			if a.centered {
				l |= layoutCentered
			}
			if a.momentum {
				o.Momentum = 0.9
				l |= layoutMomentum
			}
			d := o.allocate(minTimed)
			f.reads = 0
			for range looks * len(all) {
				if got := chosen(l, minTimed); got >= 0 {
					t.Fatalf("%s: %s chosen early", a.name, all[got])
				}
				o.Update(d.theta, d.grad, d.state())
			}
			if got := chosen(l, minTimed); got != last {
				t.Errorf("%s: plan %d chosen, want %d", a.name, got, last)
			}
		}

		o := Optimizer{Options: RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-7}, Workers: 1}
		params := make([]Param, 9)
		for i := range params {
			params[i] = Param{Theta: make([]float32, minTimed), Grad: make([]float32, minTimed)}
		}
		f.reads = 0
		for range looks * len(all) {
			if _, err := o.Step(params); err != nil {
				t.Fatal(err)
			}
		}
		if got := chosen(layoutUpdate, 9*minTimed); got != last {
			t.Errorf("Optimizer: plan %d chosen, want %d", got, last)
		}
		if got := chosen(layoutUpdate, minTimed); got >= 0 {
			t.Errorf("Optimizer: plan %d chosen for the length of a tensor", got)
		}
	})
}

// A step that comes in many calls is one all the same: the first finds cold data,
// however many tensors and chunks it has.
func TestPlanTakesOptimizersSteps(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		useClock(t, func(turn int) int64 { return 1 })
		o := Optimizer{Options: RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-7}, Workers: 1, ZeroGrad: true}
		params := make([]Param, 2*looks*len(all))
		for i := range params {
			params[i] = Param{Theta: make([]float32, minTimed), Grad: make([]float32, minTimed)}
		}
		for step := range looksSteps {
			if got := Plan(len(params) * minTimed); got != "" {
				t.Errorf("%s chosen after %d steps", got, step)
			}
			if _, err := o.Step(params); err != nil {
				t.Fatal(err)
			}
		}
		if got := Plan(len(params) * minTimed); got != all[0].String() {
			t.Errorf("%q chosen, want %s", got, all[0])
		}
	})
}

// Callers at the same time choose together, and each step has the same bits while
// they do.
func TestPlanConcurrent(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		const n = minTimed + 77
		r := random(t, 3)
		d := members[0].allocate(n)
		r.training(d)
		want := d.clone()
		members[0].generic(want)
		var wg waitGroup
		for range 4 {
			wg.Go(func() {
				for Plan(n) == "" {
					got := d.clone()
					members[0].step(got)
					if !slices.Equal(got.theta, want.theta) || !slices.Equal(got.s, want.s) {
						t.Error("other bits")
						return
					}
				}
			})
		}
		wg.Wait()
		if !slices.Contains(Plans(), Plan(n)) {
			t.Errorf("Plan(%d) = %q, not one of %q", n, Plan(n), Plans())
		}
	})
}

// A root is taken in software only where s + eps cannot be below 2^-100, and
// nothing is prefetched behind the end of the arrays.
func TestPlanTaken(t *testing.T) {
	p, numbers := plan{vectors: 4, software: 2, ahead: 256}, usual.rounded(1, 1)
	for eps, want := range map[float64]int{1: 2, minRootEps: 2, float64(math.Nextafter32(minRootEps, 0)): 0, 0: 0} {
		o := RMSProp{LR: 0.1, Rho: 0.9, Eps: eps}
		numbers := o.rounded(1, 1)
		c := call{n: chunk, p: &numbers}
		if c.take(&p, 0); c.software != want {
			t.Errorf("eps = %g: %d roots in software, want %d", eps, c.software, want)
		}
	}
	for left, want := range map[int]int{0: 64, 60: 4, 64: 0, chunk: 64 - chunk} {
		c := call{n: chunk, p: &numbers}
		if c.take(&p, left); c.stop != want {
			t.Errorf("%d elements behind the chunk: stops prefetching at %d, want %d", left, c.stop, want)
		}
	}
	c := call{n: chunk, p: &numbers}
	if c.take(&plan{vectors: 2}, chunk); c.stop <= chunk || c.vectors != 2 {
		t.Errorf("%d vectors, stops prefetching at %d of %d", c.vectors, c.stop, chunk)
	}
}

func TestSetPlan(t *testing.T) {
	before := fixed.Load()
	t.Cleanup(func() { fixed.Store(before) })
	for _, name := range ISAs() {
		useISA(t, name)
		names := Plans()
		for i, plan := range names {
			if slices.Index(names, plan) != i {
				t.Errorf("%s: two plans are called %s", name, plan)
			}
			if err := SetPlan(plan); err != nil {
				t.Error(err)
			}
			for _, n := range []int{0, 1, minTimed, math.MaxInt32} {
				if got := Plan(n); got != plan {
					t.Errorf("%s: Plan(%d) = %q after SetPlan(%q)", name, n, got, plan)
				}
			}
			if err := SetPlan("fastest"); err == nil || Plan(1) != plan {
				t.Errorf("%s: SetPlan of no plan: %v, then Plan(1) = %q", name, err, Plan(1))
			}
		}
		if err := SetPlan(""); err != nil || Plan(1) != names[0] {
			t.Errorf("%s: SetPlan of \"\": %v, then Plan(1) = %q", name, err, Plan(1))
		}
	}
}

// KERNEL_PLAN is asked for when a program starts: this test starts itself again.
func TestPlanVariable(t *testing.T) {
	const variable = "KERNEL_TEST_PLAN"
	if os.Getenv(variable) != "" {
		os.Stdout.WriteString("plan " + Plan(1) + ".\n")
		os.Exit(0)
	}
	for _, name := range ISAs() {
		useISA(t, name)
		names := Plans()
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
