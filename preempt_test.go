//go:build !race

// The race detector would report these tests: one goroutine reads what another one writes.

package kernel

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// The world can stop in the middle of a long call: assembly cannot be preempted, but there is a
// stack check between two chunks. Without it, the world would stop at the end of the call.
func TestStopsBetweenChunks(t *testing.T) {
	o := everything
	o.WeightDecay = 1 // theta moves, whatever the gradient is
	step := func(zero bool) func(d tensorData) {
		opt := &Optimizer{Options: o, Workers: 1, ZeroGrad: zero}
		return func(d tensorData) {
			mustStep(t, opt, []Param{{Theta: d.theta, Grad: d.grad, State: d.state()}})
		}
	}
	withGOMAXPROCS(t, max(2, runtime.GOMAXPROCS(0)))
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("no second thread here to stop the world from") // wasm
	}
	forEachISA(t, func(t *testing.T) {
		for name, call := range map[string]func(d tensorData){
			"Update":                  func(d tensorData) { Update(d.theta, d.grad, d.s, o.LR, o.Rho, o.Eps) },
			"RMSProp.Update":          func(d tensorData) { o.Update(d.theta, d.grad, d.state()) },
			"Optimizer.Step":          step(false),
			"Optimizer.Step, zeroing": step(true),
		} {
			requireStops(t, name, func(n int) bool {
				d := o.allocate(n)
				for i := range n {
					d.theta[i], d.grad[i] = 1, 1
				}
				return stopsInTheMiddle(unsafe.Pointer(&d.theta[0]), unsafe.Pointer(&d.theta[n-1]), func() { call(d) })
			})
		}
		// As SumSquares and the norm of Optimizer do.
		requireStops(t, "blockSums", func(n int) bool {
			x, sums := make([]float32, n), make([]float64, n/normBlock)
			for i := range x {
				x[i] = 1.1
			}
			return stopsInTheMiddle(unsafe.Pointer(&sums[0]), unsafe.Pointer(&sums[len(sums)-1]), func() { blockSums(sums, x) })
		})
	})
}

// requireStops requires the world to stop in the middle of one of a few calls on n elements. This
// goroutine needs a CPU while the call runs; if there are too few, longer calls give it the
// chance.
func requireStops(t *testing.T, name string, stopsInTheMiddle func(n int) bool) {
	t.Helper()
	for n := 1 << 20; n <= 16<<20; n *= 2 {
		for range 8 {
			if stopsInTheMiddle(n) {
				return
			}
		}
	}
	t.Errorf("%s: the world never stopped in the middle of a call", name)
}

// stopsInTheMiddle stops the world once call changed the word at first, and reports whether the
// word at last was unchanged then.
func stopsInTheMiddle(first, last unsafe.Pointer, call func()) bool {
	load := func(p unsafe.Pointer) uint32 { return atomic.LoadUint32((*uint32)(p)) }
	begin, end := load(first), load(last)
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	for load(first) == begin {
		runtime.Gosched() // if preemption is cooperative, this loop must allow the world to stop as well
	}
	runtime.ReadMemStats(new(runtime.MemStats)) // which stops it
	middle := load(last) == end
	<-done
	return middle
}

// BenchmarkGCWait measures how long the garbage collector waits for a step of some 100 ms, and for
// nothing.
func BenchmarkGCWait(b *testing.B) {
	measure := func(b *testing.B, beside func()) {
		waits := gcWaits(max(b.N, 20), beside)
		slices.Sort(waits)
		b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "median-µs")
		b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "worst-µs")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("nothing", func(b *testing.B) { measure(b, func() { time.Sleep(time.Millisecond) }) })
	for _, o := range []RMSProp{usual, everything} {
		opt := &Optimizer{Options: o, Workers: 1}
		const n = 40 << 20
		params := []Param{{Theta: make([]float32, n), Grad: make([]float32, n)}}
		for _, name := range ISAs() {
			b.Run(map[bool]string{false: "plain/", true: "everything/"}[o.Centered]+name, func(b *testing.B) {
				useISA(b, name)
				work := func() { mustStep(b, opt, params) }
				work()
				measure(b, work)
			})
		}
	}
}

// gcWaits returns the time of each of n runs of the garbage collector while another goroutine runs
// work.
func gcWaits(n int, work func()) []time.Duration {
	var stop atomic.Bool
	done := make(chan struct{})
	started := make(chan struct{})
	go func() {
		defer close(done)
		close(started)
		for !stop.Load() {
			work()
		}
	}()
	<-started
	waits := make([]time.Duration, n)
	for i := range waits {
		time.Sleep(time.Millisecond) // into the middle of the work
		start := time.Now()
		runtime.GC()
		waits[i] = time.Since(start)
	}
	stop.Store(true)
	<-done
	return waits
}
