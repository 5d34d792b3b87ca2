//go:build race && (amd64 || arm64) && gc && !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// raceChunk tells the race detector, which does not see into assembly, what
// the implementation is about to read and write.
func raceChunk(theta, grad, s []float32) {
	size := len(theta) * int(unsafe.Sizeof(theta[0]))
	runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(grad)), size)
	runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(theta)), size)
	runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(s)), size)
}

// raceWrite does so for the slices that only some members of the family have.
func raceWrite(x []float32) {
	if len(x) > 0 {
		runtime.RaceWriteRange(unsafe.Pointer(unsafe.SliceData(x)), len(x)*int(unsafe.Sizeof(x[0])))
	}
}
