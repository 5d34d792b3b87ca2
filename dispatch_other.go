//go:build !(amd64 || arm64) || !gc || purego

package kernel

func detect() []isa { return nil }

func runChunk(i isa, c *call) { c.generic() }
