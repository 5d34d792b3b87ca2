//go:build !(amd64 || arm64) || !gc || purego

package kernel

// Pure Go cannot read the thread's floating-point mode. There, the bits depend on it.

const defaultFloatMode = 0

func floatMode() uint32 { return defaultFloatMode }

func setFloatMode(uint32) {}

func inDefaultFloatMode(f func()) { f() }
