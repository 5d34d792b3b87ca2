package main

//go:noescape
func trafficNEON(a *streams)

// trafficSets are those that this CPU has. Two of NEON's registers count as a
// vector.
func trafficSets() []trafficSet { return []trafficSet{{"neon", 32}} }

func (s trafficSet) loop(a *streams) { trafficNEON(a) }
