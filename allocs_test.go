//go:build !race && !asan && !msan

// The calls of the race detector and of the sanitizers make slices escape, so
// that these tests hold only without them.

package kernel

import "testing"

func TestAllocs(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		heap := make([]float32, 3*1000)
		allocs := testing.AllocsPerRun(100, func() {
			Update(heap[:1000], heap[1000:2000], heap[2000:], 0.1, 0.9, 1e-7)
			var theta, grad, s [100]float32
			Update(theta[:], grad[:], s[:], float32(0.1), 0.9, 1e-7)
		})
		if allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
		}
	})
}

func TestRMSPropAllocs(t *testing.T) {
	const n, width = 640, 16
	rows := []int{3, 1, 39}
	forEachISA(t, func(t *testing.T) {
		for _, o := range optionSets {
			d := o.allocate(n)
			st := d.state()
			allocs := testing.AllocsPerRun(10, func() {
				o.Update(d.theta, d.grad, st)
				o.UpdateRows(d.theta, d.grad[:len(rows)*width], st, rows, width)
				var theta, grad, s, m, b [100]float32
				onStack := State{MeanSquare: s[:]}
				if o.Centered {
					onStack.MeanGrad = m[:]
				}
				if o.Momentum != 0 {
					onStack.Momentum = b[:]
				}
				o.Update(theta[:], grad[:], &onStack)
				if err := o.Validate(); err != nil {
					t.Error(err)
				}
			})
			if allocs != 0 {
				t.Errorf("%+v: %v allocations a call", o, allocs)
			}
		}
	})
}

// The set of the rows that were seen is on the stack for as long as it fits there.
func TestRMSPropUpdateRowsAllocs(t *testing.T) {
	o := Keras()
	rows := []int{1, 0}
	for n, want := range map[int]float64{1 << 15: 0, 1<<15 + 1: 1} {
		theta, grad, st := make([]float32, n), make([]float32, len(rows)), o.NewState(n)
		if allocs := testing.AllocsPerRun(10, func() { o.UpdateRows(theta, grad, st, rows, 1) }); allocs != want {
			t.Errorf("unsorted rows of a table of %d: %v allocations, want %v", n, allocs, want)
		}
	}
}

// Once the runtime has goroutines to use again, a step allocates nothing. It
// may have to make one now and then, which the average rounds down.
func TestOptimizerAllocs(t *testing.T) {
	r := random(t, 24)
	for _, workers := range []int{1, 2, 4} {
		for _, everything := range []bool{false, true} {
			o := PyTorch()
			o.Momentum = 0.9
			tensors := newTensors(&r, &o, []int{100, 10, 3 * smallestUnit, share, 1}, true)
			params := paramsOf(tensors, always)
			bias := o
			params[1].Options = &bias
			opt := &Optimizer{Options: o, Workers: workers}
			if everything {
				opt.ClipNorm, opt.SkipNonFinite, opt.ZeroGrad = 1, true, true
				opt.Options.BiasCorrection = true
			}
			other, gone := make([]float32, 100), false
			step := func() {
				opt.Options.LR *= 0.999
				// Gradients that come and go, and one that moves.
				gone = !gone
				params[4].Grad = tensors[4].grad
				if gone {
					params[4].Grad = nil
				}
				params[0].Grad, other = other, params[0].Grad
				if _, err := opt.Step(params); err != nil {
					t.Error(err)
				}
			}
			step()
			step()
			if allocs := testing.AllocsPerRun(50, step); allocs != 0 {
				t.Errorf("%d workers, everything on: %v: %v allocations a step", workers, everything, allocs)
			}
		}
	}
}

// Nothing is allocated while a plan is being chosen.
func TestPlanAllocs(t *testing.T) {
	chosenISAs(t, func(t *testing.T, all []plan) {
		const n = 2*chunk + 5
		theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
		if allocs := testing.AllocsPerRun(3, func() {
			Update(theta, grad, s, usual.lr, usual.rho, usual.eps)
		}); allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
		}
		if Plan(n) != "" {
			t.Error("a plan was chosen so soon that the test shows nothing")
		}
	})
}
