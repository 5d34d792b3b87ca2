package main

import (
	"fmt"

	"testing"
)

// Each loop uses every element of its arrays and no other memory. It leaves the array that it reads,
// and flips the bits of the others.
func TestTraffic(t *testing.T) {
	const margin, longest = 64, 200
	for _, loop := range append(trafficLoops(), &trafficLoop{name: "go"}) {
		var memory, want [5][margin + longest + margin]float32
		for arrays := 5; arrays >= 3; arrays-- {
			t.Run(fmt.Sprint(loop.name, "/", arrays), func(t *testing.T) {
				loop.flip = 1 << 31
				for n := range longest + 1 {
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
					largest = 0
					loop.pass(part[0], part[1:arrays]...)
					if memory != want {
						t.Fatalf("%d elements from %d on:\n%v, want\n%v", n, margin, memory, want)
					}
					if last := margin + n - 1; largest != float32(last) && n > 0 && loop.vectors == nil {
						t.Fatalf("%d elements: the largest read is %g, want %d", n, largest, last)
					}
				}
			})
		}
	}
}
