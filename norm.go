package kernel

import "math"

// normBlock is the number of elements that SumSquares adds before it starts a new sum.
// normLanes is the number of lanes that it adds them to in turn. The bits depend on both.
const (
	normBlock = 4096
	normLanes = 16
)

// SumSquares returns x[0]² + x[1]² + … in float64, or 0 if x is empty. Its square root is
// the Euclidean norm, which gradients are clipped by. For the norm of several slices
// together, add their sums.
//
// Every addition rounds, so the order matters. It is the same in every implementation:
// SumSquares divides x from its start into blocks of 4,096 elements. In a block, lane j of
// 16 adds x[i]² for every i = j mod 16, from the first to the last. Then the lanes are
// added as a tree: j and j+8, then j and j+4, j+2, j+1. The blocks are added from the
// first to the last: ((b0 + b1) + b2) + … The square of a float32 is exact in float64.
//
// Finite elements never overflow. If any element is NaN, the result is NaN. If any is
// infinite and none is NaN, the result is +Inf.
//
// SumSquares does not allocate, keeps no reference to x and starts no goroutine.
// Concurrent calls are safe, even on the same slice.
func SumSquares(x []float32) (sum float64) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { sum = SumSquares(x) })
		return sum
	}
	raceRead(x)
	for ; len(x) > normBlock; x = x[normBlock:] {
		sum += blockSum(x)
	}
	return sum + blockSum(x)
}

// blockSums sets sums[i] to the sum of squares of block i of x, for all of its
// (len(x)+normBlock-1)/normBlock blocks. Workers may divide a slice between blocks: their
// sums, added in order, are SumSquares.
func blockSums(sums []float64, x []float32) {
	raceRead(x)
	for i := range sums {
		sums[i] = blockSum(x[i*normBlock:])
	}
}

// blockSum returns the sum of squares of x's first block, or of all of x if it is shorter.
// It must not be inlined: its stack check lets the runtime preempt the goroutine between
// two blocks.
//
//go:noinline
func blockSum(x []float32) float64 {
	var lanes [normLanes]float64
	n := min(len(x), normBlock)
	done := addSquares(&lanes, x, n)
	addSquaresGeneric(&lanes, x[done:n])
	return sumLanes(&lanes)
}

// sumLanes adds the lanes as a tree: j and j+8, then j and j+4, j+2, j+1.
func sumLanes(lanes *[normLanes]float64) float64 {
	for half := normLanes / 2; half > 0; half /= 2 {
		for j := range half {
			lanes[j] += lanes[j+half]
		}
	}
	return lanes[0]
}

// addSquaresGeneric adds the squares of x to the lanes, x[i]² to lane i mod normLanes.
// The compiler may fuse the additions: the products are exact, so that changes no bit.
func addSquaresGeneric(lanes *[normLanes]float64, x []float32) {
	for ; len(x) >= normLanes; x = x[normLanes:] {
		for j, v := range (*[normLanes]float32)(x) {
			lanes[j] += float64(v) * float64(v)
		}
	}
	for j, v := range x {
		lanes[j] += square(v)
	}
}

// square returns v². A subnormal v is its mantissa, an integer, times 2^-149. The
// conversion that the others use may need microcode for it, some 160 cycles each time.
func square(v float32) float64 {
	if mantissa := math.Float32bits(v) &^ (1 << 31); mantissa < 1<<23 {
		x := float64(int32(mantissa)) * 0x1p-149
		return x * x
	}
	return float64(v) * float64(v)
}
