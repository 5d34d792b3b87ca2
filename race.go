//go:build race && (amd64 || arm64) && gc && !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// raceRead and raceWrite tell the race detector what the implementation is about to read
// or write: it does not see what assembly does.

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

// raceChunk does the same for a chunk.
func raceChunk(c *call) {
	raceRead(c.slice(c.grad))
	for _, x := range [...]*float32{c.theta, c.s, c.m, c.b} {
		raceWrite(c.slice(x))
	}
}
