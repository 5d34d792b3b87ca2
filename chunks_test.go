//go:build !race

// Here one goroutine looks at what another one writes.

package kernel

import (
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"
)

// The world can be stopped in the middle of a long call: assembly is not
// preempted, but between two chunks of it there is a stack check. Without, the
// world would stop at the end of the call.
func TestStopsBetweenChunks(t *testing.T) {
	o := Keras()
	o.Momentum, o.Centered, o.WeightDecay = 0.9, true, 1 // theta moves, whatever the gradient is
	withGOMAXPROCS(t, max(2, runtime.GOMAXPROCS(0)))
	forEachISA(t, func(t *testing.T) {
		for name, step := range map[string]func(theta, grad []float32, st *State){
			"Update":         func(theta, grad []float32, st *State) { Update(theta, grad, st.MeanSquare, o.LR, o.Rho, o.Eps) },
			"RMSProp.Update": func(theta, grad []float32, st *State) { o.Update(theta, grad, st) },
			"Optimizer.Step": func(theta, grad []float32, st *State) {
				mustStep(t, &Optimizer{Options: o, Workers: 1}, []Param{{Theta: theta, Grad: grad, State: st}})
			},
			"Optimizer.Step, zeroing": func(theta, grad []float32, st *State) {
				mustStep(t, &Optimizer{Options: o, Workers: 1, ZeroGrad: true}, []Param{{Theta: theta, Grad: grad, State: st}})
			},
		} {
			stopped := false
			// This goroutine must have a CPU while the call runs. Where there are too
			// few, longer calls give it the chance.
			for n := 1 << 20; n <= 16<<20 && !stopped; n *= 2 {
				theta, grad, st := make([]float32, n), make([]float32, n), o.NewState(n)
				for i := range theta {
					theta[i], grad[i] = 1, 1
				}
				for range 8 {
					stopped = stopped || stopsInTheMiddle(theta, func() { step(theta, grad, st) })
				}
			}
			if !stopped {
				t.Errorf("%s: the world never stopped in the middle of a call", name)
			}
		}
	})
}

// stopsInTheMiddle stops the world once call has moved the first element of
// theta, and tells whether the last one had not moved then.
func stopsInTheMiddle(theta []float32, call func()) bool {
	first, last := (*uint32)(unsafe.Pointer(&theta[0])), (*uint32)(unsafe.Pointer(&theta[len(theta)-1]))
	begin, end := atomic.LoadUint32(first), atomic.LoadUint32(last)
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	for atomic.LoadUint32(first) == begin {
	}
	runtime.ReadMemStats(new(runtime.MemStats)) // which stops it
	middle := atomic.LoadUint32(last) == end
	<-done
	return middle
}
