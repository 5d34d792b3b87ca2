package main

import (
	"fmt"
	"slices"
	"testing"
)

// Each loop takes every element of the arrays that it is given and none beside:
// the one it reads stays, the bits of the others change where the test says so.
func TestTraffic(t *testing.T) {
	const margin, longest = 64, 200
	for _, set := range append(trafficSets(), trafficSet{"go", 1 << 20}) {
		for _, v := range variants {
			for arrays := 3; arrays <= 5; arrays++ {
				t.Run(fmt.Sprint(set.name(v), "/", arrays), func(t *testing.T) {
					for n := range longest + 1 {
						var memory, want [5][margin + longest + margin]float32
						var part [5][]float32
						for j := range memory {
							for i := range memory[j] {
								memory[j][i] = float32(i + j)
								want[j][i] = memory[j][i]
								if j > 0 && j < arrays && i >= margin && i < margin+n {
									want[j][i] = -want[j][i]
								}
							}
							part[j] = memory[j][margin:][:n]
						}
						set.pass(v, 1<<31, part[0], part[1:arrays]...)
						if memory != want {
							t.Fatalf("%d elements from %d on:\n%v, want\n%v", n, margin, memory, want)
						}
						if largest != float32(max(0, (margin+n-1)*min(1, n))) && set.isa == "go" {
							t.Fatalf("%d elements: the largest read is %g", n, largest)
						}
					}
				})
			}
		}
	}
	if bytes := []int{trafficOf(3), trafficOf(4), trafficOf(5)}; !slices.Equal(bytes, []int{20, 28, 36}) {
		t.Errorf("bytes of 3 to 5 arrays: %d", bytes)
	}
}
