//go:build !race && !asan && !msan

// The race detector's and the sanitizers' calls make slices escape, so these tests hold only
// without them.

package kernel

import (
	"runtime"
	"testing"
)

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
				if m.Centered || m.FirstMoment != 0 {
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

// The set of listed rows is on the stack if it fits there.
func TestRMSPropUpdateRowsAllocs(t *testing.T) {
	o := Keras()
	for n, want := range map[int]float64{1 << 15: 0, 1<<15 + 1: 1} {
		rows := []int{n - 1, 0}
		theta, grad, st := make([]float32, n), make([]float32, len(rows)), o.NewState(n)
		if allocs := testing.AllocsPerRun(10, func() { o.UpdateRows(theta, grad, st, rows, 1) }); allocs != want {
			t.Errorf("unsorted rows up to the last of %d: %v allocations, want %v", n, allocs, want)
		}
	}
}

// A step allocates nothing once the runtime has goroutines to reuse. It may have to make one
// now and then; the average rounds that down.
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

// Rows, sorted or not, once or twice, allocate nothing once their sums have had room.
func TestOptimizerRowsAllocs(t *testing.T) {
	const n, width = 1000, 16
	for _, workers := range []int{1, 2} {
		opt := &Optimizer{Options: Keras(), Workers: workers, ClipNorm: 1, ZeroGrad: true}
		params := []Param{{Theta: make([]float32, n*width), Width: width}, {Theta: make([]float32, n*width), Width: width}}
		lists := [][]int{{1, 2, 3}, {3, 1, 2, 999, 1}, {5, 4}, {}}
		grads := [2][]float32{make([]float32, 5*width), make([]float32, 5*width)}
		turn := 0
		step := func() {
			for i := range params {
				p := &params[i]
				p.Rows = lists[(turn+i)%len(lists)]
				p.Grad = grads[i][:len(p.Rows)*width]
			}
			turn++
			if _, err := opt.Step(params); err != nil {
				t.Error(err)
			}
		}
		for range 8 {
			step()
		}
		if allocs := testing.AllocsPerRun(50, step); allocs != 0 {
			t.Errorf("%d workers: %v allocations a step", workers, allocs)
		}
	}
}

// A frozen tensor whose Param is made again in each step costs a State. The places of the
// tensors are not learned again.
func TestOptimizerFrozenAllocs(t *testing.T) {
	opt := &Optimizer{Options: Keras()}
	params := []Param{{Theta: make([]float32, 3), Grad: make([]float32, 3)}, {Theta: make([]float32, 3)}}
	mustStep(t, opt, params)
	opt.places.written[0].slice += 1000 // a mark, which learning the places again would remove
	allocs := testing.AllocsPerRun(10, func() {
		params[1].State = nil
		mustStep(t, opt, params)
	})
	if allocs != 1 || opt.places.written[0].slice < 1000 {
		t.Errorf("%v allocations, written %v", allocs, opt.places.written)
	}
}

// The first step allocates the states that the options need, and little else.
func TestOptimizerMemory(t *testing.T) {
	const n = 4 << 20
	plain, centered := Keras(), Keras()
	centered.Centered = true
	for _, test := range []struct {
		o      RMSProp
		slices uint64
	}{{plain, 1}, {centered, 2}, {everything, 3}} {
		params := []Param{{Theta: make([]float32, n), Grad: make([]float32, n)}, {Theta: make([]float32, n)}} // the second is frozen
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		mustStep(t, &Optimizer{Options: test.o, Workers: 2}, params)
		runtime.ReadMemStats(&after)
		grown, want := after.TotalAlloc-before.TotalAlloc, test.slices*4*n
		if grown < want || grown > want+want/50 {
			t.Errorf("%d slices of %d bytes: %d bytes were allocated", test.slices, 4*n, grown)
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
