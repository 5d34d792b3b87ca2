//go:build gc && !purego

package kernel

import "unsafe"

// detect needs no look at the CPU: NEON (AdvSIMD) is part of the base
// architecture that Go requires.
func detect() []isa { return []isa{isaNEON} }

//go:noescape
func updateNEON(theta, grad, s *float32, n int, k *constants)

// updateChunk must not be inlined: the stack check at its start is where the
// goroutine can be preempted between two chunks.
//
//go:noinline
func updateChunk(theta, grad, s []float32, k *constants) {
	raceChunk(theta, grad, s)
	switch isa(active.Load()) {
	case isaNEON:
		updateNEON(unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s), len(theta), k)
	default:
		updateGeneric(theta, grad, s, k)
	}
}
