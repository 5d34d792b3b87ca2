//go:build unix

package main

import (
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Each loop stores every slice but grad, although most do not change: where one
// of them may not be written, the store faults. grad may only be read throughout.
func TestTrafficStores(t *testing.T) {
	const longest = 100
	readOnly, err := unix.Mmap(-1, 0, 4*longest, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Skip("no anonymous mappings here:", err)
	}
	defer unix.Munmap(readOnly)
	fixed := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(readOnly))), longest)

	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	// faults makes one slice read-only.
	faults := func(loop trafficLoop, l layout, n, which int) (faulted bool) {
		defer func() { faulted = recover() != nil }()
		var x [5][]float32
		for j := range x {
			x[j] = make([]float32, n)
		}
		x[which] = fixed[:n]
		m, b := l.only(x[3], x[4])
		loop.pass(x[0], x[1], x[2], m, b)
		return
	}
	for _, loop := range trafficLoops() {
		for _, l := range layouts {
			// 1 is the part that takes single elements, 64 the vectors.
			for _, n := range []int{1, 64} {
				for which, name := range sliceNames {
					stored := which != 1 && (which != 3 || l.m) && (which != 4 || l.b)
					if faults(loop, l, n, which) != stored {
						t.Errorf("%s, %v, %d elements: %s is written: %t, want %t", loop.isa, l, n, name, !stored, stored)
					}
				}
			}
		}
	}
}
