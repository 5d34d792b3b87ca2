//go:build gc && !purego

package kernel

import "testing"

// The AVX2 kernel checks for subnormal numbers on some CPUs only.
func init() {
	looksForSubnormals = func() bool { return subnormalAssist }
	otherSum["avx2"] = func(t testing.TB) {
		subnormalAssist = !subnormalAssist
		t.Cleanup(func() { subnormalAssist = !subnormalAssist })
	}
}
