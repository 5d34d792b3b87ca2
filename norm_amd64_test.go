//go:build gc && !purego

package kernel

import "testing"

// Whether the AVX2 kernel trials for subnormal numbers depends on the CPU.
func init() {
	looksForSubnormals = func() bool { return subnormalAssist }
	otherSum["avx2"] = func(t testing.TB) {
		subnormalAssist = !subnormalAssist
		t.Cleanup(func() { subnormalAssist = !subnormalAssist })
	}
}
