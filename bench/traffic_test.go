package main

import (
	"fmt"
	"slices"
	"testing"
)

var sliceNames = []string{"theta", "grad", "s", "m", "b"}

// Each loop adds tiny*grad to theta and leaves the other slices, where they are
// given and nowhere beside. The numbers are such that no sum is rounded, so that
// a fused multiply-add and a separate one agree.
func TestTraffic(t *testing.T) {
	const margin, longest = 16, 100
	for _, loop := range trafficLoops() {
		for _, l := range layouts {
			t.Run(fmt.Sprint(loop.isa, "/", l), func(t *testing.T) {
				for n := range longest + 1 {
					var memory, want [5][margin + longest + margin]float32
					for i := range memory[0] {
						memory[0][i], memory[1][i], memory[2][i] = float32(i), float32(i%8)/tiny, float32(-i)
						memory[3][i], memory[4][i] = float32(2*i), float32(-2*i)
					}
					want = memory
					for i := margin; i < margin+n; i++ {
						want[0][i] += float32(i % 8)
					}
					part := func(j int) []float32 { return memory[j][margin:][:n] }
					m, b := l.only(part(3), part(4))
					loop.pass(part(0), part(1), part(2), m, b)
					for j, name := range sliceNames {
						if !slices.Equal(memory[j][:], want[j][:]) {
							t.Fatalf("%d elements from %d on: %s = %v, want %v", n, margin, name, memory[j], want[j])
						}
					}
				}
			})
		}
	}
}
