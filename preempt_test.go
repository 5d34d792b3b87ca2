package kernel

import (
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// gcWaits returns how long each of n runs of the garbage collector takes while
// another goroutine is in work.
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

// updateLong returns a call of Update that takes some 100 ms.
func updateLong() func() {
	const n = 64 << 20
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	return func() { Update(theta, grad, s, usual.lr, usual.rho, usual.eps) }
}

// Assembly is not preempted: were there no stack check between the chunks, each
// stop of the world would wait for the end of the whole call. The bound is
// generous, for a busy machine; the benchmark measures.
func TestGCIsNotHeldUp(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 768 MB")
	}
	for name, long := range map[string]func() func(){
		"Update": updateLong, "RMSProp": rmspropLong, "Optimizer": optimizerLong, "norm": normLong, "SumSquares": sumSquaresLong,
	} {
		work := long()
		t.Run(name, func(t *testing.T) {
			forEachISA(t, func(t *testing.T) {
				work()
				waits := gcWaits(9, work)
				slices.Sort(waits)
				if median := waits[len(waits)/2]; median > 50*time.Millisecond {
					t.Errorf("runtime.GC takes %v beside it", waits)
				}
			})
		})
	}
}

// rmspropLong is the same for RMSProp.Update, centered and with momentum.
func rmspropLong() func() {
	o := RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9, Centered: true, WeightDecay: 0.01}
	const n = 36 << 20
	theta, grad, st := make([]float32, n), make([]float32, n), o.NewState(n)
	return func() { o.Update(theta, grad, st) }
}

// optimizerLong is the same for a step of an Optimizer, with momentum.
func optimizerLong() func() {
	const n = 40 << 20
	opt := &Optimizer{Options: RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9, WeightDecay: 0.01}, Workers: 1}
	return stepLong(opt, []Param{{Theta: make([]float32, n), Grad: make([]float32, n)}})
}

// normLong is the same for a step that is skipped, which computes only the norm.
func normLong() func() {
	const n = 64 << 20
	grad := make([]float32, n)
	grad[0] = float32(math.Inf(1))
	return stepLong(&Optimizer{Options: Keras(), Workers: 1, SkipNonFinite: true}, []Param{{Theta: make([]float32, n), Grad: grad}})
}

// sumSquaresLong is the same for SumSquares, over addresses for 1 GB which are all of
// one page of zeros on Linux.
func sumSquaresLong() func() {
	x := make([]float32, 256<<20)
	return func() { SumSquares(x) }
}

func stepLong(opt *Optimizer, params []Param) func() {
	return func() {
		if _, err := opt.Step(params); err != nil {
			panic(err)
		}
	}
}

func BenchmarkGCWait(b *testing.B) {
	nothing := func() { time.Sleep(time.Millisecond) }
	b.Run("nothing", func(b *testing.B) { reportGCWaits(b, nothing) })
	for name, work := range map[string]func(){"update": updateLong(), "optimizer": optimizerLong()} {
		for _, isa := range ISAs() {
			b.Run(name+"/"+isa, func(b *testing.B) {
				useISA(b, isa)
				work()
				reportGCWaits(b, work)
			})
		}
	}
}

func reportGCWaits(b *testing.B, beside func()) {
	waits := gcWaits(max(b.N, 20), beside)
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "median-µs")
	b.ReportMetric(float64(waits[len(waits)-1].Microseconds()), "worst-µs")
	b.ReportMetric(0, "ns/op")
}
