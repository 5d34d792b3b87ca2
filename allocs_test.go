//go:build !race

// The race detector's calls make slices escape, so that these tests hold only
// without it.

package kernel

import "testing"

func TestAllocs(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		heap := make([]float32, 3*1000)
		allocs := testing.AllocsPerRun(100, func() {
			Update(heap[:1000], heap[1000:2000], heap[2000:], 0.1, 0.9, 1e-7)
			var theta, grad, s [100]float32
			Update(theta[:], grad[:], s[:], float32(0.1), 0.9, 1e-7)
		})
		if allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
		}
	})
}
