//go:build !amd64 && !arm64

package main

// trafficLoops lists those that this CPU can run, best first.
func trafficLoops() []trafficLoop { return []trafficLoop{trafficGo} }
