//go:build gc && !purego

package kernel

import "unsafe"

//go:noescape
func sumSquaresNEON(x *float32, n int) float64

// blockSum returns the sum of squares of x's first block, of all x where that has
// no more elements. It must not be inlined: the stack check at its start is where
// the goroutine can be preempted between two blocks.
//
//go:noinline
func blockSum(x []float32) float64 {
	switch isa(active.Load()) {
	case isaNEON:
		return sumSquaresNEON(unsafe.SliceData(x), len(x))
	default:
		return sumSquaresGeneric(x)
	}
}
