//go:build gc && !purego

package kernel

import "unsafe"

// detect does not ask the CPU: Go requires NEON (AdvSIMD) on arm64.
func detect() []isa { return []isa{isaNEON} }

// lanesNEON is the number of elements in a vector. The kernels compute whole vectors and
// leave the other elements.
const lanesNEON = 4

//go:noescape
func updatePlainNEON(c *call)

//go:noescape
func updateMomentumNEON(c *call)

//go:noescape
func updateCenteredNEON(c *call)

//go:noescape
func updateCenteredMomentumNEON(c *call)

//go:noescape
func updateFirstMomentNEON(c *call)

// runChunk computes the step on all elements that c has left. Go computes those that
// assembly leaves. runChunk must not be inlined: its stack check lets the runtime preempt
// the goroutine between two chunks.
//
//go:noinline
func runChunk(i isa, c *call) {
	raceChunk(c)
	if i == isaNEON && c.n >= lanesNEON {
		updateNEON(c)
		c.skip(c.n &^ (lanesNEON - 1))
	}
	if c.n > 0 {
		updateGeneric(c)
		c.skip(c.n)
	}
}

func updateNEON(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainNEON(c)
	case layoutMomentum:
		updateMomentumNEON(c)
	case layoutCentered:
		updateCenteredNEON(c)
	case layoutCentered | layoutMomentum:
		updateCenteredMomentumNEON(c)
	default:
		updateFirstMomentNEON(c)
	}
}

// addSquaresNEON adds the squares of n elements, whole groups of normLanes, to the lanes.
//
//go:noescape
func addSquaresNEON(lanes *[normLanes]float64, x *float32, n int)

// addSquares adds the squares of x's first n elements to the lanes, in whole groups of
// normLanes, and returns how many elements it added.
func addSquares(lanes *[normLanes]float64, x []float32, n int) int {
	i, _ := selection()
	n &^= normLanes - 1
	if i == isaGeneric || n == 0 {
		return 0
	}
	addSquaresNEON(lanes, unsafe.SliceData(x), n)
	return n
}
