//go:build !(amd64 || arm64) || !gc || purego

package kernel

func memberAsm(i isa, theta, grad, s, m, b *float32, n int, k *memberConstants) bool { return false }
