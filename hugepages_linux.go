package kernel

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

func adviseHugePages(slices [][]float32) error {
	for i, slice := range slices {
		inside := hugePagesInside(slice)
		if len(inside) == 0 {
			continue
		}
		if err := unix.Madvise(inside, unix.MADV_HUGEPAGE); err != nil {
			return fmt.Errorf("kernel: huge pages for slice %d of %d elements: %w", i, len(slice), err)
		}
		// Memory that was in use before stays on small pages until a thread of the
		// operating system moves it. Linux 6.1 can do that now. The call fails if
		// there is nothing to move; that is no error here.
		_ = unix.Madvise(inside, unix.MADV_COLLAPSE)
	}
	return nil
}

// hugePagesInside returns the part of slice that consists of whole huge pages.
func hugePagesInside(slice []float32) []byte {
	const size = 2 << 20
	memory := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(slice))), 4*len(slice))
	before := -uintptr(unsafe.Pointer(unsafe.SliceData(memory))) % size
	if uintptr(len(memory)) < before {
		return nil
	}
	memory = memory[before:]
	return memory[:len(memory)/size*size]
}
