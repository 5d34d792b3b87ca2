//go:build gc && !purego

package kernel

import (
	"math"
	"testing"
)

// No x that normalBits leaves out changes the live test or the live gradient.
func TestNormalBits(t *testing.T) {
	for _, k := range []float32{0, 0x1p-149, 0x1p-31, 1e-4, 0x1p-10, 1, -1, 0x1p11, 0x1p26, -1e30, math.MaxFloat32} {
		for _, below := range []float32{k, math.Nextafter32(k, 0), math.Nextafter32(k, float32(math.Inf(1)))} {
			bits := normalBits(below)
			for exponent := range uint32(255) {
				x := math.Float32frombits(exponent<<23 | 1<<23 - 1)
				if math.Float32bits(x)&bits == 0 && math.Abs(float64(below)*float64(x)) >= 0x1p-100 {
					t.Errorf("k = %g, x = %g: left out", below, x)
				}
			}
		}
	}
}
