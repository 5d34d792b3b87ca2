package main

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

//go:noescape
func trafficAVX512(theta, grad, s *float32, n int)

//go:noescape
func trafficAVX2(theta, grad, s *float32, n int)

// trafficLoops lists those that this CPU can run, best first.
func trafficLoops() []trafficLoop {
	var loops []trafficLoop
	if cpuid.CPU.Supports(cpuid.AVX512F) {
		loops = append(loops, trafficLoop{"avx512", func(theta, grad, s []float32) {
			trafficAVX512(unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s), len(theta))
		}})
	}
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3) {
		loops = append(loops, trafficLoop{"avx2", func(theta, grad, s []float32) {
			trafficAVX2(unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s), len(theta))
		}})
	}
	return append(loops, trafficGo)
}
