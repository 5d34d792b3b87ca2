//go:build gc && !purego

package kernel

import (
	"math"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// detect includes the operating system's support: cpuid looks at XCR0.
func detect() []isa {
	var found []isa
	avx2 := cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
	if avx2 && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		found = append(found, isaAVX512)
	}
	if avx2 {
		found = append(found, isaAVX2)
	}
	return found
}

// minRootEps is the smallest eps, and so the smallest s + eps, from which the
// kernels' square root in software is exact.
const minRootEps = 0x1p-100

// minEpsAVX2 is the eps from which the AVX2 kernel takes half of the square
// roots in software. That takes a CPU that looks far ahead: a prototype ran a
// fifth faster on a core of the Golden Cove kind (512 instructions); this kernel
// takes half as long again on Skylake's (224), which does without. AVX-VNNI
// came with the former.
var minEpsAVX2 = func() float32 {
	if cpuid.CPU.Supports(cpuid.AVXVNNI) {
		return minRootEps
	}
	return float32(math.Inf(1))
}()

//go:noescape
func updateAVX512(theta, grad, s *float32, n int, k *constants)

//go:noescape
func updateAVX2(theta, grad, s *float32, n int, k *constants)

// updateChunk must not be inlined: the stack check at its start is where the
// goroutine can be preempted between two chunks.
//
//go:noinline
func updateChunk(theta, grad, s []float32, k *constants) {
	raceChunk(theta, grad, s)
	t, g, m := unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s)
	switch isa(active.Load()) {
	case isaAVX512:
		if len(theta) <= 8 { // which narrower vectors take less time for
			updateAVX2(t, g, m, len(theta), k)
			return
		}
		updateAVX512(t, g, m, len(theta), k)
	case isaAVX2:
		updateAVX2(t, g, m, len(theta), k)
	default:
		updateGeneric(theta, grad, s, k)
	}
}
