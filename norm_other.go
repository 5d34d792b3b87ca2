//go:build !(amd64 || arm64) || !gc || purego

package kernel

func blockSum(x []float32) float64 { return sumSquaresGeneric(x) }
