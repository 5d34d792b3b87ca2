package main

import (
	"runtime/debug"
	"time"

	"github.com/seed57504d97/kernel"
)

// workspace is what the implementations and the traffic loop share: the slices,
// whose values do not change how long a step takes, and a look at how quiet the
// machine is.
type workspace struct {
	theta, grad, s []float32
	took, had      time.Duration // all runs, and for how much of that there was a CPU
}

func (w *workspace) prepare(n int) error {
	if len(w.theta) != n {
		w.free()
		w.theta, w.grad, w.s = newData(n)
	}
	return nil
}

// free gives the memory back, so that a later size's is fresh and can be laid
// out in huge pages.
func (w *workspace) free() {
	w.theta, w.grad, w.s = nil, nil, nil
	debug.FreeOSMemory()
}

func (w *workspace) close() error {
	w.free()
	return nil
}

// time returns how long the steps take.
func (w *workspace) time(steps int, step func()) time.Duration {
	before, _ := threadTime()
	start := time.Now()
	for range steps {
		step()
	}
	took := time.Since(start)
	if after, ok := threadTime(); ok {
		w.took += took
		w.had += after - before
	}
	return took
}

// lost is the share of the time that other processes had the CPU for.
func (w *workspace) lost() float64 {
	if w.took == 0 {
		return 0
	}
	return 1 - float64(w.had)/float64(w.took)
}

// An implementation is one of kernel's.
type implementation struct {
	*workspace
	isa string
}

func (i implementation) name() string { return i.isa }

func (i implementation) run(steps int) (time.Duration, error) {
	if err := kernel.SetISA(i.isa); err != nil {
		return 0, err
	}
	return i.time(steps, func() {
		kernel.Update(i.theta, i.grad, i.s, lr, rho, eps)
	}), nil
}

// traffic is the memory traffic of a step alone.
type traffic struct {
	*workspace
	trafficLoop
}

func (t traffic) name() string { return "traffic, " + t.isa }

func (t traffic) run(steps int) (time.Duration, error) {
	return t.time(steps, func() { t.pass(t.theta, t.grad, t.s, nil, nil) }), nil
}

// ourContenders are the best traffic loop and all implementations that this CPU
// can run, on one workspace.
func ourContenders() ([]contender, *workspace) {
	shared := new(workspace)
	contenders := []contender{{traffic{shared, trafficLoops()[0]}, isLimit}}
	for _, isa := range kernel.ISAs() {
		contenders = append(contenders, contender{implementation{shared, isa}, isKernel})
	}
	return contenders, shared
}
