//go:build gc && !purego

package kernel

// detect needs no look at the CPU: NEON (AdvSIMD) is part of the base
// architecture that Go requires.
func detect() []isa { return []isa{isaNEON} }

//go:noescape
func updateNEON(c *call)

// The family's NEON kernels take whole vectors.

//go:noescape
func updatePlainNEON(c *call)

//go:noescape
func updateMomentumNEON(c *call)

//go:noescape
func updateCenteredNEON(c *call)

//go:noescape
func updateCenteredMomentumNEON(c *call)

const lanesNEON = 4

// runChunk must not be inlined: the stack check at its start is where the
// goroutine can be preempted between two chunks.
//
//go:noinline
func runChunk(i isa, c *call) {
	raceChunk(c)
	switch {
	case i == isaGeneric:
		c.generic()
	case c.layout == layoutUpdate:
		updateNEON(c)
	default:
		c.runVectors(lanesNEON)
	}
}

// familyVectors takes the step on whole vectors.
func familyVectors(c *call) {
	switch c.layout {
	case layoutPlain:
		updatePlainNEON(c)
	case layoutMomentum:
		updateMomentumNEON(c)
	case layoutCentered:
		updateCenteredNEON(c)
	default:
		updateCenteredMomentumNEON(c)
	}
}
