//go:build (amd64 || arm64) && gc && !purego

package kernel

import "runtime"

// A host may leave a thread in another floating-point mode than Go's: flush-to-zero, as
// torch.set_flush_denormal does, or another rounding, as fesetround does. Bits must not
// depend on that. So each entry point, and each goroutine that helps one, begins with
//
//	if floatMode() != defaultFloatMode {
//		inDefaultFloatMode(func() { … })
//		return
//	}
//
// All of Go's own threads have the same mode, so a goroutine may move from one to another
// between two chunks.

// floatMode returns the control bits of this thread's floating-point mode, without the
// flags that operations leave behind.
//
//go:noescape
func floatMode() uint32

//go:noescape
func setFloatMode(mode uint32)

// inDefaultFloatMode calls f in the default mode and puts the thread's own mode back.
//
//go:noinline
func inDefaultFloatMode(f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer setFloatMode(floatMode())
	setFloatMode(defaultFloatMode)
	f()
}
