//go:build !(amd64 || arm64) || !gc || purego

package kernel

func detect() []isa { return nil }

func runChunk(_ isa, c *call) { c.runGeneric() }

func addSquares(*[normLanes]float64, []float32, int) int { return 0 }
