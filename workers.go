package kernel

import (
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// workers are the goroutines that share some work, including the caller's.
type workers struct {
	do       func(unit int)
	units    int64
	next     atomic.Int64
	helper   func() // claims units as a goroutine of its own
	helpers  sync.WaitGroup
	panicsOn bool // the caller's debug.SetPanicOnFault, which is per goroutine

	mutex    sync.Mutex
	panicked any // the value of a helper's panic
}

// run does all units, in any order, on count goroutines or fewer. It returns or
// unwinds when all goroutines are done. A helper's panic becomes the caller's.
func (w *workers) run(count, units int, do func(unit int)) {
	w.do, w.units = do, int64(units)
	w.next.Store(0)
	count = min(count, units)
	if count > 1 {
		if w.helper == nil {
			w.helper = w.help
		}
		w.panicsOn = debug.SetPanicOnFault(false)
		debug.SetPanicOnFault(w.panicsOn)
		defer w.wait()
		for range count - 1 {
			w.helpers.Add(1)
			go w.helper()
		}
	}
	w.work()
}

// work claims units for as long as there are any.
func (w *workers) work() {
	for {
		unit := w.next.Add(1) - 1
		if unit >= w.units {
			return
		}
		w.do(int(unit))
	}
}

func (w *workers) help() {
	defer w.helpers.Done()
	defer func() {
		if p := recover(); p != nil {
			w.next.Store(w.units) // the others stop after their unit
			w.mutex.Lock()
			w.panicked = p
			w.mutex.Unlock()
		}
	}()
	debug.SetPanicOnFault(w.panicsOn)
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(w.work)
		return
	}
	w.work()
}

// wait waits for the helpers, which stop after their current unit if the caller
// panicked.
func (w *workers) wait() {
	w.next.Store(w.units)
	w.helpers.Wait()
	if p := w.panicked; p != nil {
		w.panicked = nil
		panic(p)
	}
}
