//go:build gc && !purego

package kernel

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// subnormalAssist is whether the CPU may need microcode to convert a subnormal
// number, some 160 cycles each time. Intel's may: they count assists for input
// values (FP_ASSIST.SIMD_INPUT). A first-generation Zen does not: there all
// numbers take the same time. Where it is true, the AVX2 kernel looks for
// subnormal numbers and converts them otherwise. That takes it 1.4 times as long
// in the caches even where there are none.
var subnormalAssist = cpuid.CPU.VendorID != cpuid.AMD

//go:noescape
func sumSquaresAVX512(x *float32, n int) float64

//go:noescape
func sumSquaresAVX2(x *float32, n int) float64

// blockSum returns the sum of squares of x's first block, of all x where that has
// no more elements. The assembly prefetches from what lies behind. blockSum must
// not be inlined: the stack check at its start is where the goroutine can be
// preempted between two blocks.
//
//go:noinline
func blockSum(x []float32) float64 {
	switch isa(active.Load()) {
	case isaAVX512:
		return sumSquaresAVX512(unsafe.SliceData(x), len(x))
	case isaAVX2:
		return sumSquaresAVX2(unsafe.SliceData(x), len(x))
	default:
		return sumSquaresGeneric(x)
	}
}
