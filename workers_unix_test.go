//go:build unix

package kernel

import (
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// A fault in a gradient, in any worker's share, is a panic of the caller if the caller asked for that.
// Nothing is written after it, and the next step works.
func TestOptimizerFault(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	const n = 64 * share
	grad := forbiddenEnd(t, n)
	for _, clip := range []float64{0, 1} {
		for range 10 {
			params := []Param{{Theta: make([]float32, len(grad)), Grad: grad}}
			opt := &Optimizer{Options: Keras(), Workers: 4, ClipNorm: clip}
			if recovered(func() { opt.Step(params) }) == nil {
				t.Fatal("no fault")
			}
			theta, s := slices.Clone(params[0].Theta), slices.Clone(params[0].State.MeanSquare)
			time.Sleep(time.Millisecond)
			requireSame(t, "theta after the fault", params[0].Theta, theta)
			requireSame(t, "s after the fault", params[0].State.MeanSquare, s)
			params[0].Grad = make([]float32, len(grad))
			mustStep(t, opt, params)
		}
	}
}

// The same holds for a fault while rows are added up, before the work is divided.
func TestOptimizerFaultInRows(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	const n = 64 * share
	forbidden := forbiddenEnd(t, n)
	opt := &Optimizer{Options: Keras(), Workers: 2}
	mustStep(t, opt, []Param{{Theta: make([]float32, n), Grad: make([]float32, n)}})
	rows := make([]int, len(forbidden))
	params := []Param{{Theta: make([]float32, 3), Grad: forbidden, Width: 1, Rows: rows}}
	if recovered(func() { opt.Step(params) }) == nil {
		t.Fatal("no fault")
	}
	params[0].Grad, params[0].Rows = []float32{1, 2, 3}, []int{2, 0, 2}
	mustStep(t, opt, params)
	if theta := params[0].Theta; theta[0] >= 0 || theta[1] != 0 || theta[2] >= 0 {
		t.Errorf("theta = %v", theta)
	}
}
