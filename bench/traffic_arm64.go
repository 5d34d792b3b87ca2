package main

import "unsafe"

//go:noescape
func trafficNEON(theta, grad, s *float32, n int)

// trafficLoops lists those that this CPU can run, best first.
func trafficLoops() []trafficLoop {
	return []trafficLoop{{"neon", func(theta, grad, s []float32) {
		trafficNEON(unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s), len(theta))
	}}, trafficGo}
}
