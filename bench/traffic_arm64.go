package main

//go:noescape
func trafficNEON(a *streams)

var vectorLoops = []trafficLoop{{name: "neon", vectors: trafficNEON}}
