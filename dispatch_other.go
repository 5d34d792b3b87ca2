//go:build !(amd64 || arm64) || !gc || purego

package kernel

func detect() []isa { return nil }

func updateChunk(theta, grad, s []float32, k *constants) { updateGeneric(theta, grad, s, k) }
