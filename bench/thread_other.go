//go:build !linux

package main

import (
	"runtime"
	"time"
)

// pin keeps the calling goroutine on one thread. Only Linux can keep the thread on one CPU.
func pin() string {
	runtime.LockOSThread()
	return "one thread"
}

// cpuTime returns 0: only Linux knows it.
func cpuTime() time.Duration { return 0 }
