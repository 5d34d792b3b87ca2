package main

import (
	"fmt"
	"math"
)

// Traffic loops move the same memory as a step and do nothing else. They read one array, as a step
// reads the gradients, and load and store two to four, as it does theta, s, m and b. No implementation
// can be faster than the fastest of these loops. Which one is fastest depends on the CPU and on where
// the data lie, so all are measured.

// streams are the arguments of a loop in assembly.
type streams struct {
	read  *float32
	kept  [4]*float32
	whole int    // bytes of each array, a positive multiple of the 64 of an iteration
	ahead int    // how many bytes ahead to prefetch; 0: no prefetch
	flip  uint32 // xored with the bits of each kept element; 0 except in tests
}

// A trafficLoop goes over the arrays, in assembly (vectors) as far as it can, then in Go.
type trafficLoop struct {
	name string
	streams
	vectors func(a *streams) // nil: Go alone
}

// trafficLoops returns the loops that this CPU supports.
func trafficLoops() (loops []*trafficLoop) {
	for _, isa := range vectorLoops {
		for _, ahead := range []int{0, 256, 2048} {
			name := "traffic, " + isa.name
			if ahead > 0 {
				name += fmt.Sprintf(", %d ahead", ahead)
			}
			loops = append(loops, &trafficLoop{name, streams{ahead: ahead}, isa.vectors})
		}
	}
	if loops == nil {
		loops = []*trafficLoop{{name: "traffic, go"}}
	}
	return loops
}

// pass goes over all elements once. The arrays have the same length.
func (l *trafficLoop) pass(read []float32, kept ...[]float32) {
	at := 0
	if l.whole = 4 * len(read) / 64 * 64; l.whole > 0 && l.vectors != nil {
		l.read, l.kept = &read[0], [4]*float32{}
		for i, x := range kept {
			l.kept[i] = &x[0]
		}
		l.vectors(&l.streams)
		at = l.whole / 4
	}
	const block = 1024 // of each array after the other
	for ; at < len(read); at += block {
		end := min(at+block, len(read))
		for _, x := range read[at:end] {
			largest = max(largest, x)
		}
		for _, x := range kept {
			for i, element := range x[at:end] {
				x[at+i] = math.Float32frombits(math.Float32bits(element) ^ l.flip)
			}
		}
	}
}

// largest keeps the compiler from removing the reads.
var largest float32
