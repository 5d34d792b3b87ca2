package main

import (
	"runtime/debug"
	"time"
	"unsafe"

	"github.com/seed57504d97/kernel"
)

// lr, rho and eps of every measurement.
const (
	lr  = 0.001
	rho = 0.9
	eps = 1e-7
)

// useHugePages is the flag -hugepages.
var useHugePages = true

const (
	page     = 4 << 10
	hugePage = 2 << 20
	large    = 1 << 20 // elements: from here on it shows where the arrays lie
)

// staggers are the placements of large arrays: each array begins that many bytes
// further into a page than the one before it. 0 is how Go places large slices.
var staggers = []int{0, 64, 1344, 2112}

// placements returns the staggers to measure n elements with.
func placements(n int) []int {
	if n < large {
		return staggers[:1]
	}
	return staggers
}

// A workspace is the arrays that all in this process share, and a look at how
// quiet the machine is.
type workspace struct {
	family               bool // with m and b
	stagger              int
	theta, grad, s, m, b []float32     // m and b: the state of centered members, and of those with momentum
	took, had            time.Duration // of all runs, and of the CPUs in them
}

// arrays is how many there are.
func (w *workspace) arrays() int {
	if w.family {
		return 5
	}
	return 3
}

// prepare makes the arrays anew, unless they are there.
func (w *workspace) prepare(n, stagger int) error {
	if len(w.theta) == n && w.stagger == stagger {
		return nil
	}
	w.close()
	w.stagger = stagger
	for i, x := range []*[]float32{&w.theta, &w.grad, &w.s, &w.m, &w.b}[:w.arrays()] {
		*x = newArray(n, i*stagger%page)
	}
	fillData(w.theta, w.grad, w.s)
	clear(w.m) // touches the pages
	clear(w.b)
	return nil
}

// load takes theta, grad and s as they are, to be changed.
func (w *workspace) load(theta, grad, s []float32) error {
	w.theta, w.grad, w.s = theta, grad, s
	return nil
}

func (w *workspace) result() (theta, s []float32, err error) { return w.theta, w.s, nil }

// warnOfOthers tells if other processes had the CPU for much of the time since it
// last did, where the system knows.
func (w *workspace) warnOfOthers(warn warnFunc) {
	if lost := 100 * (1 - float64(w.had)/float64(w.took)); w.had > 0 && lost > 2 {
		warn("other processes had the CPU for %.0f%% of the time: measure again on a quieter machine", lost)
	}
	w.took, w.had = 0, 0
}

// close gives the memory back, so that what comes next is fresh and can be laid
// out in huge pages.
func (w *workspace) close() error {
	w.theta, w.grad, w.s, w.m, w.b = nil, nil, nil, nil, nil
	debug.FreeOSMemory()
	return nil
}

// newArray makes one on a cache line of its own, and a large one that many bytes
// behind the start of a huge page, where the system gives those.
func newArray(n, offset int) []float32 {
	if 4*n < hugePage {
		return aligned(make([]float32, n+64/4), 64)[:n:n]
	}
	memory := make([]float32, n+(2*hugePage+offset)/4)
	if useHugePages {
		_ = kernel.AdviseHugePages(memory) // tried and warned of before
	}
	return aligned(memory, hugePage)[offset/4:][:n:n]
}

func aligned(memory []float32, bytes uintptr) []float32 {
	return memory[-uintptr(unsafe.Pointer(unsafe.SliceData(memory)))%bytes/4:]
}

// fillData makes theta, grad and s as they look in training: theta in [-1, 1),
// gradients of 1e-6 to 1 in magnitude of either sign, s of the gradients' square.
func fillData(theta, grad, s []float32) {
	var state uint64
	next := func() uint32 { // the high half of a 64-bit linear congruential generator (Knuth, MMIX)
		state = state*6364136223846793005 + 1442695040888963407
		return uint32(state >> 32)
	}
	for i := range theta {
		theta[i] = float32(int32(next())) * 0x1p-31
		scale := float32(uint32(1)<<(next()>>28)) * 0x1p-15 // 2^-15 to 1
		grad[i] = float32(int32(next())) * 0x1p-31 * scale
		s[i] = grad[i] * grad[i]
	}
}
