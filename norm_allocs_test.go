//go:build !race && !asan && !msan

// The calls of the race detector and of the sanitizers make slices escape, so
// that this test holds only without them.

package kernel

import "testing"

func TestSumSquaresAllocs(t *testing.T) {
	forEachSum(t, func(t *testing.T) {
		heap := make([]float32, 3*normBlock+5)
		allocs := testing.AllocsPerRun(100, func() {
			var stack [100]float32
			stack[99] = 2
			var sums [4]float64
			blockSums(sums[:], heap)
			if sum := SumSquares(heap) + SumSquares(stack[:]) + sums[3]; sum != 4 {
				t.Errorf("the sum is %v, want 4", sum)
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations a call", allocs)
		}
	})
}
