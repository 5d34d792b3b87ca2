package main

import (
	"fmt"
	"unsafe"
)

// The memory traffic of a step and nothing else: one array is only read, as the
// gradients are, and two to four are loaded and stored, as theta, s, m and b are.
// No implementation can be faster than the fastest of these loops. Which one that
// is depends on the CPU and on where the data are, so all are measured.

// A variant of a loop takes so many vectors of each array in a turn, and
// prefetches that many bytes ahead; 0: no prefetch.
type variant struct{ vectors, ahead int }

var variants = []variant{{1, 0}, {2, 0}, {1, 256}, {2, 256}, {1, 2048}, {2, 2048}}

// streams are the arguments of a loop in assembly.
type streams struct {
	read           *float32
	kept           [4]*float32
	whole          int // bytes of each array, a positive multiple of a turn's
	vectors, ahead int
	flip           uint32 // each kept element's bits are xored with it: 0 but in tests
}

// A trafficSet is the loops of an instruction set whose vectors have that many
// bytes.
type trafficSet struct {
	isa    string
	vector int
}

// pass takes all elements once. The arrays have one length.
func (s trafficSet) pass(v variant, flip uint32, read []float32, kept ...[]float32) {
	turn := s.vector * v.vectors
	a := streams{whole: 4 * len(read) / turn * turn, vectors: v.vectors, ahead: v.ahead, flip: flip}
	if a.whole > 0 {
		a.read = &read[0]
		for i, x := range kept {
			a.kept[i] = &x[0]
		}
		s.loop(&a)
	}
	trafficGo(flip, read, kept, a.whole/4)
}

// trafficGo takes the elements from at on, a block of each array after the other.
func trafficGo(flip uint32, read []float32, kept [][]float32, at int) {
	const block = 1024
	var seen float32
	for ; at < len(read); at += block {
		end := min(at+block, len(read))
		for _, x := range read[at:end] {
			seen = max(seen, x)
		}
		for _, x := range kept {
			bits := unsafe.Slice((*uint32)(unsafe.Pointer(unsafe.SliceData(x))), len(read))[at:end]
			for i := range bits {
				bits[i] ^= flip
			}
		}
	}
	largest = seen
}

// largest keeps the compiler from leaving the reading out.
var largest float32

func (s trafficSet) name(v variant) string {
	if v.ahead == 0 {
		return fmt.Sprintf("traffic, %s, %d", s.isa, v.vectors)
	}
	return fmt.Sprintf("traffic, %s, %d, %d ahead", s.isa, v.vectors, v.ahead)
}

// trafficOf is the bytes an element that a step on so many arrays loads and
// stores: all twice but the gradients.
func trafficOf(arrays int) int { return 4 + 8*(arrays-1) }
