//go:build !amd64 && !arm64

package main

// trafficSets: none that this CPU has.
func trafficSets() []trafficSet { return nil }

func (s trafficSet) loop(a *streams) {}
