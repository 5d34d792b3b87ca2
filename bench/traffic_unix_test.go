//go:build unix

package main

import (
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Each loop stores theta and s, although s does not change: where one of them
// may not be written, the store faults. grad may only be read throughout.
func TestTrafficStores(t *testing.T) {
	const n = 100
	readOnly, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Skip("no anonymous mappings here:", err)
	}
	defer unix.Munmap(readOnly)
	fixed := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(readOnly))), n)

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	faults := func(loop trafficLoop, theta, s []float32) (faulted bool) {
		defer func() { faulted = recover() != nil }()
		loop.pass(theta, fixed, s)
		return
	}
	for _, loop := range trafficLoops() {
		// 1 is the part that takes single elements, 64 the vectors.
		for _, n := range []int{1, 64} {
			if faults(loop, make([]float32, n), make([]float32, n)) {
				t.Errorf("%s, %d elements: grad is written", loop.isa, n)
			}
			if !faults(loop, fixed[:n], make([]float32, n)) {
				t.Errorf("%s, %d elements: theta is not written", loop.isa, n)
			}
			if !faults(loop, make([]float32, n), fixed[:n]) {
				t.Errorf("%s, %d elements: s is not written", loop.isa, n)
			}
		}
	}
}
