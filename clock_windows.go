package kernel

import (
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// On Windows, package time reads a clock that advances every 0.5 to 15.6 ms. The
// performance counter has steps of 100 ns on most machines.
var (
	kernel32                  = windows.NewLazySystemDLL("kernel32.dll")
	queryPerformanceCounter   = kernel32.NewProc("QueryPerformanceCounter")
	queryPerformanceFrequency = kernel32.NewProc("QueryPerformanceFrequency")
)

// frequency returns how many ticks a second has. It is fixed when Windows starts.
var frequency = sync.OnceValue(func() uint64 { return query(queryPerformanceFrequency) })

func monotonic() int64 { return nanoseconds(query(queryPerformanceCounter), frequency()) }

// query returns the number that proc writes. Both calls always succeed from Windows XP on.
func query(proc *windows.LazyProc) (n uint64) {
	// LazyProc.Call would move n to the heap.
	syscall.SyscallN(proc.Addr(), uintptr(unsafe.Pointer(&n)))
	return n
}

// nanoseconds converts ticks of a counter of less than 18 GHz. ticks*1e9 itself would overflow
// after half an hour.
func nanoseconds(ticks, frequency uint64) int64 {
	return int64(ticks/frequency*1e9 + ticks%frequency*1e9/frequency)
}
