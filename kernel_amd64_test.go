//go:build gc && !purego

package kernel

import (
	"math"
	"testing"
)

// Where the AVX2 kernel takes its square roots depends on the CPU.
func init() {
	rootsInSoftware = func() bool {
		return ISA() == "avx512" || ISA() == "avx2" && minEpsAVX2 == minRootEps
	}
	for name, eps := range map[string]float32{
		"roots in hardware": float32(math.Inf(1)),
		"roots in both":     minRootEps,
	} {
		if eps == minEpsAVX2 {
			continue // that is avx2 itself
		}
		variants["avx2"] = append(variants["avx2"], variant{name, func(t testing.TB) {
			before := minEpsAVX2
			minEpsAVX2 = eps
			t.Cleanup(func() { minEpsAVX2 = before })
		}})
	}
}
