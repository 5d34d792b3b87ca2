//go:build !race && !asan && !msan

// The calls of the race detector and of the sanitizers make slices escape, so
// that these tests hold only without them.

package kernel

import "testing"

func TestAllocs(t *testing.T) {
	const n, width = 640, 16
	rows := []int{3, 1, 39}
	forEachISA(t, func(t *testing.T) {
		for _, m := range variants {
			d := m.allocate(n)
			st := d.state()
			allocs := testing.AllocsPerRun(10, func() {
				m.step(d)
				m.UpdateRows(d.theta, d.grad[:len(rows)*width], st, rows, width)
				var theta, grad, s, meanGrad, b [100]float32
				Update(theta[:], grad[:], s[:], float32(0.1), 0.9, 1e-7)
				onStack := State{MeanSquare: s[:]}
				if m.Centered {
					onStack.MeanGrad = meanGrad[:]
				}
				if m.Momentum != 0 {
					onStack.MomentumBuffer = b[:]
				}
				m.Update(theta[:], grad[:], &onStack)
				if err := m.Validate(); err != nil {
					t.Error(err)
				}
			})
			if allocs != 0 {
				t.Errorf("%v: %v allocations a call", m, allocs)
			}
		}
	})
}

func TestSumSquaresAllocs(t *testing.T) {
	forEachSum(t, func(t *testing.T) {
		heap := make([]float32, 3*normBlock+5)
		allocs := testing.AllocsPerRun(100, func() {
			var stack [100]float32
			stack[99] = 2
			var sums [4]float64
			blockSums(sums[:], heap)
			if sum := SumSquares(heap) + SumSquares(stack[:]) + sums[3]; sum != 4 {
				t.Errorf("the sum is %v, want 4", sum)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
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
			Update(theta, grad, s, usual.LR, usual.Rho, usual.Eps)
		}); allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
		}
		if planName(n) != "" {
			t.Error("a plan was chosen so soon that the test shows nothing")
		}
	})
}
