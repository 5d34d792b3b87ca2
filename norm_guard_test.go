//go:build unix

package kernel

import (
	"runtime/debug"
	"testing"
)

// The slice lies against an inaccessible page, at either end: a byte read
// outside faults.
func TestSumSquaresGuardPages(t *testing.T) {
	const longest = 2*normBlock + 40
	memory := newGuarded(t, longest)
	x := make([]float32, longest)
	r := random(t, 36)
	sumKinds[0].fill(&r, x)
	x[3], x[130] = 1e-40, 1e-41
	var lengths []int
	for n := range 301 {
		lengths = append(lengths, n)
	}
	for n := normBlock - 20; n <= normBlock+20; n++ {
		lengths = append(lengths, n, n+normBlock)
	}
	forEachSum(t, func(t *testing.T) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // of this goroutine
		for _, n := range lengths {
			want := genericSum(x[:n])
			for _, atEnd := range []bool{false, true} {
				placed := memory.place(x[:n], atEnd)
				var got float64
				if err := recovered(func() { got = SumSquares(placed) }); err != nil {
					t.Fatalf("%d elements, at the end: %v: %v", n, atEnd, err)
				}
				requireSum(t, "beside a guard page", got, want)
			}
		}
	})
}
