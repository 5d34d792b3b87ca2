package main

import "unsafe"

//go:noescape
func traffic3NEON(theta, grad, s *float32, n int)

//go:noescape
func traffic4NEON(theta, grad, s, m *float32, n int)

//go:noescape
func traffic5NEON(theta, grad, s, m, b *float32, n int)

// trafficLoops lists those that this CPU can run, best first.
func trafficLoops() []trafficLoop {
	return []trafficLoop{{"neon", func(theta, grad, s, m, b []float32) {
		t, g, n := unsafe.SliceData(theta), unsafe.SliceData(grad), len(theta)
		switch m = either(m, &b); {
		case m == nil:
			traffic3NEON(t, g, unsafe.SliceData(s), n)
		case b == nil:
			traffic4NEON(t, g, unsafe.SliceData(s), unsafe.SliceData(m), n)
		default:
			traffic5NEON(t, g, unsafe.SliceData(s), unsafe.SliceData(m), unsafe.SliceData(b), n)
		}
	}}, trafficGo}
}
