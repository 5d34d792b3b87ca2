//go:build gc && !purego

package kernel

import "testing"

// Whether the AVX2 kernel trials for subnormal numbers depends on the CPU.
func init() {
	otherSum["avx2"] = func(t testing.TB) {
		subnormalAssist = !subnormalAssist
		t.Cleanup(func() { subnormalAssist = !subnormalAssist })
	}
}
