package main

import (
	"slices"
	"testing"
)

// Each loop adds tiny*grad to theta and leaves grad and s, in the slices and
// nowhere beside them. The numbers are such that no sum is rounded, so that a
// fused multiply-add and a separate one agree.
func TestTraffic(t *testing.T) {
	const margin, longest = 16, 100
	for _, loop := range trafficLoops() {
		t.Run(loop.isa, func(t *testing.T) {
			for n := range longest + 1 {
				var memory, want [3][margin + longest + margin]float32
				for i := range memory[0] {
					memory[0][i], memory[1][i], memory[2][i] = float32(i), float32(i%8)/tiny, float32(-i)
				}
				want = memory
				for i := margin; i < margin+n; i++ {
					want[0][i] += float32(i % 8)
				}
				loop.pass(memory[0][margin:][:n], memory[1][margin:][:n], memory[2][margin:][:n])
				for j, name := range []string{"theta", "grad", "s"} {
					if !slices.Equal(memory[j][:], want[j][:]) {
						t.Fatalf("%d elements from %d on: %s = %v, want %v", n, margin, name, memory[j], want[j])
					}
				}
			}
		})
	}
}
