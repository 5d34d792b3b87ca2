//go:build !(amd64 || arm64) || !gc || purego

package kernel

// Pure Go cannot ask for the thread's floating-point mode: bits follow it there.

const defaultFloatMode = 0

func floatMode() uint32 { return defaultFloatMode }

func setFloatMode(uint32) {}

func inDefaultFloatMode(f func()) { f() }
