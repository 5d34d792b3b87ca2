//go:build !linux

package main

import (
	"runtime"
	"time"
)

// pin keeps the calling goroutine on one thread: only on Linux is that kept on one CPU.
func pin() string {
	runtime.LockOSThread()
	return "one thread"
}

// cpuTime is known on Linux alone.
func cpuTime() time.Duration { return 0 }
