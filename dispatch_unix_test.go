//go:build unix

package kernel

import (
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unsafe"
)

// isaWords lists the words in the names of the functions that read the slices.
var isaWords = map[string]string{"avx512": "AVX512", "avx2": "AVX2", "neon": "NEON", "generic": "Generic"}

// The selected implementation runs. Its bits cannot show that, because all implementations
// have the same. Here the last page of the gradient is unreadable, and the fault shows which
// function tried to read it.
func TestDispatch(t *testing.T) {
	page := os.Getpagesize() / 4
	const n = 2*chunk + 320 // whole blocks: what is left goes to another implementation
	forbidden := forbiddenEnd(t, n+page)
	centered, momentum, clipped, corrected := everything, everything, Keras(), GoMLX()
	centered.Momentum, momentum.Centered = 0, false
	clipped.ClipValue = 1
	type call struct {
		name string
		f    func(grad []float32)
	}
	calls := []call{
		{"Update", func(grad []float32) {
			Update(make([]float32, len(grad)), grad, make([]float32, len(grad)), 0.1, 0.9, 1e-7)
		}},
		{"SumSquares", func(grad []float32) { SumSquares(grad) }},
	}
	for name, o := range map[string]RMSProp{"Keras": Keras(), "PyTorch": PyTorch(), "centered": centered, "momentum": momentum, "both": everything,
		"clipped": clipped, "corrected": corrected} {
		calls = append(calls,
			call{"RMSProp.Update, " + name, func(grad []float32) { o.Update(make([]float32, len(grad)), grad, o.NewState(len(grad))) }},
			call{"RMSProp.UpdateRows, " + name, func(grad []float32) {
				o.UpdateRows(make([]float32, len(grad)), grad, o.NewState(len(grad)), []int{0}, len(grad))
			}},
			call{"Optimizer.Step, " + name, func(grad []float32) {
				mustStep(t, &Optimizer{Options: o, Workers: 1}, []Param{{Theta: make([]float32, len(grad)), Grad: grad}})
			}},
			call{"Optimizer.Step, zeroing, " + name, func(grad []float32) {
				mustStep(t, &Optimizer{Options: o, Workers: 1, ZeroGrad: true}, []Param{{Theta: make([]float32, len(grad)), Grad: grad}})
			}})
	}
	calls = append(calls, call{"Optimizer's norm", func(grad []float32) {
		mustStep(t, &Optimizer{Options: everything, Workers: 1, ClipNorm: 1}, []Param{{Theta: make([]float32, len(grad)), Grad: grad}})
	}})
	forEachISA(t, func(t *testing.T) {
		want := isaWords[ISA()]
		for _, length := range []int{8, 64, 320, n} {
			grad := forbidden[len(forbidden)-page:][:min(length, page)]
			if length > page {
				grad = forbidden[len(forbidden)-page-length+1:][:length] // all but the last element may be read
			}
			for _, call := range calls {
				if length < normLanes && (call.name == "SumSquares" || call.name == "Optimizer's norm") {
					continue // which Go adds up
				}
				if at := faulting(t, func() { call.f(grad) }).Function; !strings.Contains(at, want) {
					t.Errorf("%s of %d elements is the work of %s, not of a function for %s", call.name, length, at, want)
				}
			}
		}
	})
}

// The selected plan runs. The first place at which it reads the gradient shows its blocks.
func TestPlanRuns(t *testing.T) {
	grad := forbiddenEnd(t, minTimed)
	grad = grad[len(grad)-minTimed:]
	chosenISAs(t, func(t *testing.T, all []plan) {
		theta, s := make([]float32, minTimed), make([]float32, minTimed)
		reads := func() uintptr {
			return faulting(t, func() { Update(theta, grad, s, usual.LR, usual.Rho, usual.Eps) }).PC
		}
		before := selected.Load()
		var wants []uintptr
		for _, p := range all {
			if err := setPlan(p.String()); err != nil {
				t.Fatal(err)
			}
			wants = append(wants, reads())
		}
		selected.Store(before)
		for i, p := range all {
			if (wants[i] == wants[0]) != (p.vectors == all[0].vectors && p.isa == all[0].isa) {
				t.Errorf("%s reads at %#x, %s at %#x", p, wants[i], all[0], wants[0])
			}
		}
		for turn := range trials * len(all) {
			if p := planAt(turn, len(all)); reads() != wants[p] {
				t.Errorf("turn %d does not take %s", turn, all[p])
			}
		}
	})
}

// Nothing, assembly included, reads the place at which an empty slice begins.
func TestEmptyReadsNothing(t *testing.T) {
	forbidden := forbiddenEnd(t, 1)
	empty := forbidden[len(forbidden)-1:][:0]
	forEachISA(t, func(t *testing.T) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		for name, f := range map[string]func(){
			"Update":     func() { Update(empty, empty, empty, 0.1, 0.9, 1e-7) },
			"SumSquares": func() { SumSquares(empty) },
			"RMSProp.Update": func() {
				everything.Update(empty, empty, &State{MeanSquare: empty, MeanGrad: empty, MomentumBuffer: empty})
			},
			"RMSProp.UpdateRows": func() {
				everything.UpdateRows(empty, empty, &State{MeanSquare: empty, MeanGrad: empty, MomentumBuffer: empty}, nil, 1)
			},
			"Optimizer.Step": func() {
				mustStep(t, &Optimizer{Options: everything, ClipNorm: 1, ZeroGrad: true}, []Param{{Theta: empty, Grad: empty}})
			},
		} {
			if err := recovered(f); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// forbiddenEnd returns n elements or a few more, whose last page is inaccessible.
func forbiddenEnd(t *testing.T, n int) []float32 {
	t.Helper()
	page := os.Getpagesize() / 4
	memory := newGuarded(t, max(0, n-page))
	return unsafe.Slice(unsafe.SliceData(memory), len(memory)+page)
}

// faulting returns the place at which f touches inaccessible memory.
func faulting(t *testing.T, f func()) (at runtime.Frame) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Error("no fault")
			return
		}
		var pcs [50]uintptr
		frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
		for faulted := false; ; {
			frame, more := frames.Next()
			if faulted && !strings.HasPrefix(frame.Function, "runtime.") {
				at = frame
				return
			}
			faulted = faulted || frame.Function == "runtime.sigpanic"
			if !more {
				return
			}
		}
	}()
	f()
	return at
}
