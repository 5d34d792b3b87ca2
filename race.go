//go:build race && (amd64 || arm64) && gc && !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// raceRead and raceWrite tell the race detector, which does not see into
// assembly, what the implementation is about to read or write.

func raceRead(x []float32) {
	if len(x) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(x)), len(x)*int(unsafe.Sizeof(x[0])))
	}
}

func raceWrite(x []float32) {
	if len(x) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(x)), len(x)*int(unsafe.Sizeof(x[0])))
	}
}

// raceChunk does so for a chunk.
func raceChunk(c *call) {
	raceRead(c.slice(c.grad))
	for _, x := range [...]*float32{c.theta, c.s, c.m, c.b} {
		raceWrite(c.slice(x))
	}
}
