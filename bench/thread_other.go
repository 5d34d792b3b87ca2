//go:build !linux

package main

import (
	"runtime"
	"time"
)

// pin keeps the calling goroutine on one thread and returns -1 for the CPU:
// only on Linux is the thread kept on one CPU. unpin undoes it.
func pin() (cpu int, unpin func()) {
	runtime.LockOSThread()
	return -1, runtime.UnlockOSThread
}

// cpuTime is known on Linux alone.
func cpuTime(process bool) (had time.Duration, ok bool) { return 0, false }
