//go:build gc && !purego

package kernel

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// subnormalAssist is whether the CPU may need microcode to convert a subnormal
// float32, some 150 cycles each time. Intel counts such assists (FP_ASSIST.SIMD_INPUT:
// "due to input values"); on AMD's Zen a subnormal takes no longer than any
// other number. The AVX2 kernel keeps them from the conversion where this is true. That
// takes it half as long again in the caches, so that it is not the rule.
var subnormalAssist = cpuid.CPU.VendorID != cpuid.AMD

//go:noescape
func sumSquaresAVX512(x *float32, n int) float64

//go:noescape
func sumSquaresAVX2(x *float32, n int) float64

// blockSum returns the sum of squares of x's first block: of all x, where that has no more
// elements. Whether there are more tells the assembly how far it may prefetch.
//
// It must not be inlined: the stack check at its start is where the goroutine can be
// preempted between two blocks.
//
//go:noinline
func blockSum(x []float32) float64 {
	raceRead(x[:min(len(x), normBlock)])
	switch isa(active.Load()) {
	case isaAVX512:
		return sumSquaresAVX512(unsafe.SliceData(x), len(x))
	case isaAVX2:
		return sumSquaresAVX2(unsafe.SliceData(x), len(x))
	default:
		return sumSquaresGeneric(x)
	}
}
