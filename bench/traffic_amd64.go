package main

import "github.com/klauspost/cpuid/v2"

//go:noescape
func trafficAVX2(a *streams)

//go:noescape
func trafficAVX512(a *streams)

// trafficSets are those that this CPU has.
func trafficSets() (sets []trafficSet) {
	if cpuid.CPU.Supports(cpuid.AVX512F) {
		sets = append(sets, trafficSet{"avx512", 64})
	}
	if cpuid.CPU.Supports(cpuid.AVX2) {
		sets = append(sets, trafficSet{"avx2", 32})
	}
	return sets
}

func (s trafficSet) loop(a *streams) {
	if s.isa == "avx512" {
		trafficAVX512(a)
	} else {
		trafficAVX2(a)
	}
}
