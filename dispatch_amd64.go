//go:build gc && !purego

package kernel

import (
	"runtime"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/cpu"
)

// detect includes the operating system's support, because cpuid reads XCR0. macOS
// 10.15.6 to 12.1 lose the mask registers in a signal (go.dev/issue/49233); package cpu
// checks the version.
func detect() []isa {
	var found []isa
	avx2 := cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
	keepsMasks := runtime.GOOS != "darwin" || cpu.X86.HasAVX512F
	if avx2 && keepsMasks && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		found = append(found, isaAVX512)
	}
	if avx2 {
		found = append(found, isaAVX2)
	}
	return found
}

// subnormalAssist reports whether the CPU may need microcode to convert a subnormal
// number, some 160 cycles each time. Intel's CPUs may: they count assists for input values
// (FP_ASSIST.SIMD_INPUT). On a first-generation Zen all numbers take the same time. If it
// is true, the AVX2 kernel of SumSquares finds subnormal numbers and converts them
// differently. That makes it 1.4 times slower in the caches even if there are none.
var subnormalAssist = cpuid.CPU.VendorID != cpuid.AMD

// lanesAVX2 is the number of elements in a vector. The AVX2 kernels compute whole vectors
// and leave the other elements. The AVX-512 kernels leave none.
const lanesAVX2 = 8

//go:noescape
func updatePlainAVX512(c *call)

//go:noescape
func updateMomentumAVX512(c *call)

//go:noescape
func updateCenteredAVX512(c *call)

//go:noescape
func updateCenteredMomentumAVX512(c *call)

//go:noescape
func updateFirstMomentAVX512(c *call)

//go:noescape
func updatePlainAVX2(c *call)

//go:noescape
func updateMomentumAVX2(c *call)

//go:noescape
func updateCenteredAVX2(c *call)

//go:noescape
func updateCenteredMomentumAVX2(c *call)

//go:noescape
func updateFirstMomentAVX2(c *call)

// runChunk computes the step on all elements that c has left. Go computes those that
// assembly leaves. runChunk must not be inlined: its stack check lets the runtime preempt
// the goroutine between two chunks.
//
//go:noinline
func runChunk(i isa, c *call) {
	raceChunk(c)
	if i == isaAVX512 {
		updateAVX512(c)
		c.skip(c.n)
		return
	}
	if i == isaAVX2 && c.n >= lanesAVX2 {
		updateAVX2(c)
		c.skip(c.n &^ (lanesAVX2 - 1))
	}
	if c.n > 0 {
		updateGeneric(c)
		c.skip(c.n)
	}
}

func updateAVX512(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainAVX512(c)
	case layoutMomentum:
		updateMomentumAVX512(c)
	case layoutCentered:
		updateCenteredAVX512(c)
	case layoutCentered | layoutMomentum:
		updateCenteredMomentumAVX512(c)
	default:
		updateFirstMomentAVX512(c)
	}
}

func updateAVX2(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainAVX2(c)
	case layoutMomentum:
		updateMomentumAVX2(c)
	case layoutCentered:
		updateCenteredAVX2(c)
	case layoutCentered | layoutMomentum:
		updateCenteredMomentumAVX2(c)
	default:
		updateFirstMomentAVX2(c)
	}
}

// The two functions below add the squares of n elements, whole groups of normLanes, to the
// lanes. They prefetch that many bytes ahead.

//go:noescape
func addSquaresAVX512(lanes *[normLanes]float64, x *float32, n, ahead int)

//go:noescape
func addSquaresAVX2(lanes *[normLanes]float64, x *float32, n, ahead int)

// addSquares adds the squares of x's first n elements to the lanes, in whole groups of
// normLanes, and returns how many elements it added.
func addSquares(lanes *[normLanes]float64, x []float32, n int) int {
	i, _ := selection()
	n &^= normLanes - 1
	if i == isaGeneric || n == 0 {
		return 0
	}
	ahead := 2 << 10
	if len(x) < n+ahead/4 {
		ahead = 0
	}
	if i == isaAVX2 {
		addSquaresAVX2(lanes, unsafe.SliceData(x), n, ahead)
	} else {
		addSquaresAVX512(lanes, unsafe.SliceData(x), n, ahead)
	}
	return n
}
