package kernel

// normBlock is how many elements SumSquares adds in lanes of their own. A power
// of two. The bits of the result depend on it.
const normBlock = 4096

// normLanes is how many lanes a block has: element i goes to lane i mod normLanes.
const normLanes = 16

// SumSquares returns x[0]² + x[1]² + … in float64, 0 for no elements. Its root is
// the Euclidean norm, which gradients are clipped by; for that of several
// slices, add their sums first.
//
// Additions round, so that the result depends on their order, and that is the
// same for every implementation. x is cut from its start into blocks of 4,096.
// In a block, lane j of 16 adds x[i]² for all i = j mod 16, from the first to the last;
// the lanes are added as a tree: j and j+8, then j and j+4, j+2, j+1. The sums of the
// blocks are added from the first to the last: ((b0 + b1) + b2) + …
// The square of a float32 is exact in float64.
//
// No finite x overflows. NaN in x makes the result NaN; infinities without NaN make it +Inf.
//
// SumSquares does not allocate, keeps no reference to x and starts no
// goroutine. Concurrent calls are safe, on the same slice too.
func SumSquares(x []float32) float64 {
	var sum float64
	for ; len(x) > normBlock; x = x[normBlock:] {
		sum += blockSum(x)
	}
	return sum + blockSum(x)
}

// blockSums sets sums[i] to the sum of squares of block i of x, for every block
// that x has: sums is (len(x)+normBlock-1)/normBlock long. Several workers may so share one
// slice, cut between blocks: added in order, the sums make SumSquares.
func blockSums(sums []float64, x []float32) {
	for i := range sums {
		sums[i] = blockSum(x[i*normBlock:])
	}
}

// sumSquaresGeneric returns the sum of squares of x's first block, and is what
// every other implementation equals bit for bit. Fused or not, an
// addition here rounds alike, since the product is exact.
func sumSquaresGeneric(x []float32) float64 {
	x = x[:min(len(x), normBlock)]
	var lanes [normLanes]float64
	for ; len(x) >= normLanes; x = x[normLanes:] {
		for j, v := range (*[normLanes]float32)(x) {
			lanes[j] += float64(v) * float64(v)
		}
	}
	for j, v := range x {
		lanes[j] += float64(v) * float64(v)
	}
	for half := normLanes / 2; half > 0; half /= 2 {
		for j := range half {
			lanes[j] += lanes[j+half]
		}
	}
	return lanes[0]
}
