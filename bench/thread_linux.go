package main

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine, and the processes that it starts, on one thread and on one CPU:
// the last of those allowed, since interrupts favour the first. It tells what the system lets us
// have.
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

// cpuTime is how long the calling thread has had a CPU; 0 where the system does not tell.
func cpuTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}
