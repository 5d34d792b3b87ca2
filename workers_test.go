package kernel

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// A step starts as many goroutines as are useful: one less than the workers, and none for one worker
// or little work.
func TestWorkers(t *testing.T) {
	for _, test := range []struct{ tensors, size, idle, workers, want, norm int }{
		{1, 1 << 20, 0, 1, 0, 0}, {1, 1 << 20, 0, 2, 1, 1}, {1, 1 << 20, 0, 3, 2, 2}, {1, 1 << 20, 0, 8, 7, 7},
		{1, share - 1, 0, 8, 0, 0}, {1, 2*share - 1, 0, 8, 1, 0}, {1000, 1, 0, 8, 0, 0}, {1000, 100, 0, 4, 3, 3},
		{1000, 100, 999, 4, 0, 0}, // one has a gradient
		{0, 0, 0, 4, 0, 0},
	} {
		var params []Param
		for i := range test.tensors {
			param := Param{Theta: make([]float32, test.size), Grad: make([]float32, test.size)}
			if i < test.idle {
				param.Grad = nil
			}
			params = append(params, param)
		}
		opt := &Optimizer{Options: Keras(), Workers: test.workers}
		help := opt.workers.help
		var started atomic.Int64
		opt.workers.helper = func() {
			started.Add(1)
			help()
		}
		mustStep(t, opt, params)
		if n := int(started.Load()); n != test.want {
			t.Errorf("%+v: %d goroutines started", test, n)
		}
		opt.ClipNorm = 1 // another round of work, for the norm
		started.Store(0)
		mustStep(t, opt, params)
		if n := int(started.Load()); n != test.want+test.norm {
			t.Errorf("%+v: with ClipNorm %d goroutines started", test, n)
		}
	}
}

func TestWorkersDefault(t *testing.T) {
	for _, procs := range []int{1, 3} {
		withGOMAXPROCS(t, procs)
		opt := &Optimizer{Options: Keras()}
		mustStep(t, opt, []Param{{Theta: make([]float32, 100_000), Grad: make([]float32, 100_000)}})
		if want := runtime.GOMAXPROCS(0); opt.partition.workers != want { // always 1 on wasm
			t.Errorf("%d workers with GOMAXPROCS = %d", opt.partition.workers, want)
		}
	}
}

// inHelper reports whether its caller is a helper.
func inHelper() bool {
	var pcs [20]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".help") {
			return true
		}
		if !more {
			return false
		}
	}
}

// If any worker panics, the caller panics, after all workers stopped.
func TestWorkersPanic(t *testing.T) {
	for _, fails := range []bool{false, true} { // in a helper
		for range 100 {
			var w workers
			var working atomic.Int64
			both, done := make(chan bool), make(chan bool)
			got := func() (panicked any) {
				defer func() {
					panicked = recover()
					if n := working.Load(); n != 0 {
						t.Errorf("%d units at work after the panic", n)
					}
				}()
				w.run(2, 1000, func(unit int) {
					working.Add(1)
					defer working.Add(-1)
					if unit < 2 { // one each
						select {
						case both <- true:
						case <-both:
						}
						if inHelper() == fails {
							close(done)
							panic("on purpose")
						}
						<-done
						runtime.Gosched()
					}
				})
				return nil
			}()
			if fmt.Sprint(got) != "on purpose" {
				t.Fatalf("in a helper: %v: panic %v", fails, got)
			}
			ran := 0
			w.run(1, 3, func(int) { ran++ })
			if ran != 3 {
				t.Errorf("%d units after the panic, want 3", ran)
			}
		}
	}
}
