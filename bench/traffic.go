package main

import (
	"fmt"
	"math"
)

// The memory traffic of a step and nothing else: one array is only read, as the gradients are, and
// two to four are loaded and stored, as theta, s, m and b are. No implementation can be faster than
// the fastest of these loops. Which one that is depends on the CPU and on where the data are, so
// all are measured.

// streams are the arguments of a loop in assembly.
type streams struct {
	read  *float32
	kept  [4]*float32
	whole int    // bytes of each array, a positive multiple of the 64 that a turn takes
	ahead int    // how many bytes ahead to prefetch; 0: no prefetch
	flip  uint32 // each kept element's bits are xored with it: 0 but in tests
}

// A trafficLoop goes over the arrays: vectors, which is in assembly, as far as it can, and Go.
type trafficLoop struct {
	name string
	streams
	vectors func(a *streams) // nil: Go alone
}

// trafficLoops are those that this CPU has.
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

// pass takes all elements once. The arrays have one length.
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

// largest keeps the compiler from leaving the reading out.
var largest float32
