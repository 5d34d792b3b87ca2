package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine, and the processes that it starts, on one thread and one CPU. It
// uses the last CPU that is allowed, because interrupts favor the first. It returns a description of
// what the system granted.
func pin() string {
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	if unix.SchedGetaffinity(0, &allowed) == nil {
		cpu := 64 * len(allowed)
		for !allowed.IsSet(cpu) {
			cpu--
		}
		one.Set(cpu)
		if unix.SchedSetaffinity(0, &one) == nil {
			return fmt.Sprint("one thread on CPU ", cpu)
		}
	}
	return "one thread"
}

// cpuTime returns how long the calling thread had a CPU, or 0 if the system does not say.
func cpuTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
