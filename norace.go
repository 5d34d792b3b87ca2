//go:build !race || !(amd64 || arm64) || !gc || purego

package kernel

func raceRead(x []float32) {}

func raceChunk(c *call) {}
