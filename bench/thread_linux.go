package main

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine, and the processes that it starts, on one
// CPU: the last of those allowed, since interrupts favour the first. It returns
// that CPU, -1 if the system does not let us, and a function that undoes it.
func pin() (cpu int, unpin func()) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if unix.SchedGetaffinity(0, &before) != nil {
		return -1, runtime.UnlockOSThread
	}
	for left := before.Count(); left > 0; cpu++ {
		if before.IsSet(cpu) {
			left--
		}
	}
	cpu--
	one.Set(cpu)
	if unix.SchedSetaffinity(0, &one) != nil {
		return -1, runtime.UnlockOSThread
	}
	return cpu, func() {
		unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}
}

// cpuTime is how long the calling thread, or all of the process's together, have
// had a CPU; ok is false where the system does not tell.
func cpuTime(process bool) (had time.Duration, ok bool) {
	clock := int32(unix.CLOCK_THREAD_CPUTIME_ID)
	if process {
		clock = unix.CLOCK_PROCESS_CPUTIME_ID
	}
	var t unix.Timespec
	err := unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()), err == nil
}
