package main

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

//go:noescape
func traffic3AVX512(theta, grad, s *float32, n int)

//go:noescape
func traffic4AVX512(theta, grad, s, m *float32, n int)

//go:noescape
func traffic5AVX512(theta, grad, s, m, b *float32, n int)

//go:noescape
func traffic3AVX2(theta, grad, s *float32, n int)

//go:noescape
func traffic4AVX2(theta, grad, s, m *float32, n int)

//go:noescape
func traffic5AVX2(theta, grad, s, m, b *float32, n int)

// trafficLoops lists those that this CPU can run, best first.
func trafficLoops() []trafficLoop {
	var loops []trafficLoop
	if cpuid.CPU.Supports(cpuid.AVX512F) {
		loops = append(loops, trafficLoop{"avx512", func(theta, grad, s, m, b []float32) {
			t, g, n := unsafe.SliceData(theta), unsafe.SliceData(grad), len(theta)
			switch m = either(m, &b); {
			case m == nil:
				traffic3AVX512(t, g, unsafe.SliceData(s), n)
			case b == nil:
				traffic4AVX512(t, g, unsafe.SliceData(s), unsafe.SliceData(m), n)
			default:
				traffic5AVX512(t, g, unsafe.SliceData(s), unsafe.SliceData(m), unsafe.SliceData(b), n)
			}
		}})
	}
	if cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3) {
		loops = append(loops, trafficLoop{"avx2", func(theta, grad, s, m, b []float32) {
			t, g, n := unsafe.SliceData(theta), unsafe.SliceData(grad), len(theta)
			switch m = either(m, &b); {
			case m == nil:
				traffic3AVX2(t, g, unsafe.SliceData(s), n)
			case b == nil:
				traffic4AVX2(t, g, unsafe.SliceData(s), unsafe.SliceData(m), n)
			default:
				traffic5AVX2(t, g, unsafe.SliceData(s), unsafe.SliceData(m), unsafe.SliceData(b), n)
			}
		}})
	}
	return append(loops, trafficGo)
}
