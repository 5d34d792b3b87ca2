package main

import "github.com/klauspost/cpuid/v2"

//go:noescape
func trafficAVX2(a *streams)

//go:noescape
func trafficAVX512(a *streams)

// vectorLoops are those that this CPU has.
var vectorLoops = func() (loops []trafficLoop) {
	if cpuid.CPU.Supports(cpuid.AVX512F) {
		loops = append(loops, trafficLoop{name: "avx512", vectors: trafficAVX512})
	}
	if cpuid.CPU.Supports(cpuid.AVX2) {
		loops = append(loops, trafficLoop{name: "avx2", vectors: trafficAVX2})
	}
	return loops
}()
