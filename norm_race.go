//go:build race && (amd64 || arm64) && gc && !purego

package kernel

import (
	"runtime"
	"unsafe"
)

// raceRead tells the race detector, which does not see into assembly, what the
// implementation is about to read.
func raceRead(x []float32) {
	if len(x) > 0 {
		runtime.RaceReadRange(unsafe.Pointer(unsafe.SliceData(x)), len(x)*int(unsafe.Sizeof(x[0])))
	}
}
