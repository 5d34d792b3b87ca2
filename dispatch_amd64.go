//go:build gc && !purego

package kernel

import (
	"runtime"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/cpu"
)

// detect includes the operating system's support: cpuid looks at XCR0. macOS
// 10.15.6 to 12.1 lose the mask registers at a signal (go.dev/issue/49233), and
// Go's own library is what looks at the version.
func detect() []isa {
	var found []isa
	avx2 := cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
	keepsMasks := runtime.GOOS != "darwin" || cpu.X86.HasAVX512F
	if avx2 && keepsMasks && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512DQ, cpuid.AVX512BW, cpuid.AVX512VL) {
		found = append(found, isaAVX512)
	}
	if avx2 {
		found = append(found, isaAVX2)
	}
	return found
}

//go:noescape
func updateAVX512(c *call)

//go:noescape
func updatePlainAVX512(c *call)

//go:noescape
func updateMomentumAVX512(c *call)

//go:noescape
func updateCenteredAVX512(c *call)

//go:noescape
func updateCenteredMomentumAVX512(c *call)

//go:noescape
func updateAVX2(c *call)

// The family's AVX2 kernels take whole vectors.

//go:noescape
func updatePlainAVX2(c *call)

//go:noescape
func updateMomentumAVX2(c *call)

//go:noescape
func updateCenteredAVX2(c *call)

//go:noescape
func updateCenteredMomentumAVX2(c *call)

const lanesAVX2 = 8

// runChunk must not be inlined: the stack check at its start is where the
// goroutine can be preempted between two chunks.
//
//go:noinline
func runChunk(i isa, c *call) {
	raceChunk(c)
	switch {
	case i == isaGeneric:
		c.generic()
	case c.layout == layoutUpdate && (i == isaAVX2 || c.n <= lanesAVX2): // which narrower vectors take less time for
		updateAVX2(c)
	case c.layout == layoutUpdate:
		updateAVX512(c)
	case i == isaAVX512:
		familyAVX512(c)
	default:
		c.runVectors(lanesAVX2)
	}
}

func familyAVX512(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainAVX512(c)
	case layoutMomentum:
		updateMomentumAVX512(c)
	case layoutCentered:
		updateCenteredAVX512(c)
	default:
		updateCenteredMomentumAVX512(c)
	}
}

// familyVectors takes the step on whole vectors.
func familyVectors(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainAVX2(c)
	case layoutMomentum:
		updateMomentumAVX2(c)
	case layoutCentered:
		updateCenteredAVX2(c)
	default:
		updateCenteredMomentumAVX2(c)
	}
}
