package main

import (
	"time"
	"unsafe"

	"github.com/seed57504d97/kernel"
)

// A runner takes RMSProp steps in one way: an implementation of kernel, a peer
// that a user would pick instead, or the bare memory traffic. It is used from
// one locked and pinned thread; where it runs in a process of its own, that
// process inherits the pinning.
type runner interface {
	// name is what tables and files call it.
	name() string
	// prepare makes theta, grad and s of n elements as newData does, with every
	// page touched, in place of what was prepared before.
	prepare(n int) error
	// run takes that many steps over them and returns how long they took.
	run(steps int) (time.Duration, error)
	// close frees what the runner holds.
	close() error
}

// lr, rho and eps of every measurement.
const (
	lr  = 0.001
	rho = 0.9
	eps = 1e-7
)

// newData fills the three slices as they look in training: theta in [-1, 1),
// gradients of 1e-6 to 1 in magnitude of either sign, s of the gradients'
// square.
func newData(n int) (theta, grad, s []float32) {
	theta, grad, s = newSlice(n), newSlice(n), newSlice(n)
	if useHugePages {
		// Where there are none the benchmark runs all the same.
		_ = kernel.AdviseHugePages(theta, grad, s)
	}
	fillData(theta, grad, s)
	return theta, grad, s
}

// useHugePages is the flag -hugepages.
var useHugePages = true

// newSlice aligns to a cache line, and what is large enough to a huge page, so
// that it does not show in the times where a slice happens to lie.
func newSlice(n int) []float32 {
	const cacheLine, hugePage = 64, 2 << 20
	align := cacheLine
	if 4*n >= hugePage {
		align = hugePage
	}
	memory := make([]float32, n+align/4)
	misaligned := int(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))) & (align - 1)
	return memory[(align-misaligned)/4:][:n:n]
}

func fillData(theta, grad, s []float32) {
	var state uint64
	next := func() uint32 { // the high half of a 64-bit linear congruential generator (Knuth, MMIX)
		state = state*6364136223846793005 + 1442695040888963407
		return uint32(state >> 32)
	}
	for i := range theta {
		theta[i] = float32(int32(next())) * 0x1p-31
		scale := float32(uint32(1)<<(next()>>28)) * 0x1p-20 // 2^-20 to 2^-5
		grad[i] = float32(int32(next())) * 0x1p-31 * scale * 32
		s[i] = grad[i] * grad[i]
	}
}
