package kernel

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// storm sends SIGURG, which Go's runtime preempts with, and SIGPROF, at which its profiler walks the
// stack, to every thread of this process some 10,000 times a second until the test ends. It returns
// a counter of its rounds.
func storm(t *testing.T) *atomic.Int64 {
	// Without a profile, the runtime drops SIGPROF. If go test already writes one, that is enough.
	if pprof.StartCPUProfile(io.Discard) == nil {
		t.Cleanup(pprof.StopCPUProfile)
	}
	var rounds atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		for {
			threads, err := os.ReadDir("/proc/self/task")
			if err != nil {
				t.Error(err)
			}
			for range 100 {
				for _, thread := range threads {
					id, _ := strconv.Atoi(thread.Name())
					for _, signal := range []unix.Signal{unix.SIGURG, unix.SIGPROF} {
						// The thread may have ended.
						if err := unix.Tgkill(os.Getpid(), id, signal); err != nil && !errors.Is(err, unix.ESRCH) {
							t.Error(err)
						}
					}
				}
				rounds.Add(1)
				select {
				case <-stop:
					return
				default:
				}
				unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil) // the runtime's timers are not as fine
			}
		}
	}()
	return &rounds
}

// A signal may come between any two instructions. Whatever the system and the runtime do then, the
// bits stay the same.
func TestSignals(t *testing.T) {
	const n, steps = 2*chunk + 77, 10
	least := int64(300) // rounds of signals beside each work
	if testing.Short() {
		least = 50
	}
	centered, momentum := everything, everything
	centered.Momentum, momentum.Centered = 0, false
	plain := centered
	plain.Centered = false
	r := random(t, 49233)

	optimizer := &Optimizer{Options: everything, Workers: 2, ClipNorm: 1}
	works := []struct {
		name string
		o    RMSProp
		step func(d tensorData, st *State)
	}{
		{"Update", plain, func(d tensorData, _ *State) { Update(d.theta, d.grad, d.s, usual.LR, usual.Rho, usual.Eps) }},
		{"plain", plain, func(d tensorData, st *State) { plain.Update(d.theta, d.grad, st) }},
		{"centered", centered, func(d tensorData, st *State) { centered.Update(d.theta, d.grad, st) }},
		{"momentum", momentum, func(d tensorData, st *State) { momentum.Update(d.theta, d.grad, st) }},
		{"both", everything, func(d tensorData, st *State) { everything.Update(d.theta, d.grad, st) }},
		{"Optimizer", everything, func(d tensorData, st *State) {
			mustStep(t, optimizer, []Param{{Theta: d.theta, Grad: d.grad, State: st}})
		}},
	}
	starts, wants := make([]tensorData, len(works)), make([]tensorData, len(works))
	take := func(i int) tensorData {
		d := starts[i].clone()
		st := d.state()
		for range steps {
			works[i].step(d, st)
		}
		return d
	}
	useISA(t, "generic")
	for i, w := range works {
		starts[i] = w.o.allocate(n)
		r.training(starts[i])
		wants[i] = take(i)
	}
	forEachISA(t, func(t *testing.T) {
		rounds := storm(t)
		for i, w := range works {
			for end := rounds.Load() + least; rounds.Load() < end; {
				take(i).requireSame(t, w.name, wants[i])
			}
		}
	})
}
