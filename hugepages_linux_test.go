package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugeBytes returns how much of the mapping around p is in huge pages.
func hugeBytes(t *testing.T, p *float32) int {
	t.Helper()
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip("no smaps here:", err)
	}
	defer smaps.Close()
	address := uintptr(unsafe.Pointer(p))
	here := false
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		var from, to uintptr
		var kilobytes int
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			here = from <= address && address < to
		} else if n, _ := fmt.Sscanf(lines.Text(), "AnonHugePages: %d kB", &kilobytes); here && n == 1 {
			return kilobytes << 10
		}
	}
	t.Skip("smaps does not show huge pages here")
	return 0
}

// mapped returns n elements of fresh memory in a mapping of its own.
func mapped(t *testing.T, n int) []float32 {
	t.Helper()
	memory, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	return unsafe.Slice((*float32)(unsafe.Pointer(&memory[0])), n)
}

func touch(x []float32) {
	for i := range x {
		x[i] = 1
	}
}

func TestAdviseHugePages(t *testing.T) {
	const n = 4 << 20 // 16 MiB: at least 7 whole huge pages
	granted := mapped(t, n)
	inside := hugePagesInside(granted)
	if err := unix.Madvise(inside, unix.MADV_HUGEPAGE); err != nil {
		t.Skip("no huge pages here:", err)
	}
	touch(granted)
	if hugeBytes(t, &granted[n/2]) == 0 {
		t.Skip("the system gives no huge pages here")
	}

	t.Run("before first touch", func(t *testing.T) {
		x := mapped(t, n)
		if err := AdviseHugePages(nil, make([]float32, 1000), x); err != nil { // also after small ones
			t.Fatal(err)
		}
		touch(x)
		if hugeBytes(t, &x[n/2]) == 0 {
			t.Error("no huge pages")
		}
	})
	t.Run("after first touch", func(t *testing.T) {
		policy, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
		if err != nil || !strings.Contains(string(policy), "[madvise]") {
			t.Skip("the policy is not madvise")
		}
		x := mapped(t, n)
		touch(x)
		if hugeBytes(t, &x[n/2]) != 0 {
			t.Skip("huge pages without advice")
		}
		if err := unix.Madvise(hugePagesInside(granted), unix.MADV_COLLAPSE); err != nil {
			t.Skip("this kernel cannot collapse pages in use:", err)
		}
		if err := AdviseHugePages(x); err != nil {
			t.Fatal(err)
		}
		if hugeBytes(t, &x[n/2]) == 0 {
			t.Error("no huge pages")
		}
	})
}

func TestHugePagesInside(t *testing.T) {
	memory := mapped(t, 2<<20) // 8 MiB
	const page = 2 << 20
	for offset := 0; offset < len(memory); offset += 50001 {
		for _, n := range []int{0, 1, page/4 - 1, page / 4, page/4 + 1, page/2 - 1, page / 2, len(memory) - offset} {
			if offset+n > len(memory) {
				continue
			}
			slice := memory[offset : offset+n]
			start := uintptr(unsafe.Pointer(unsafe.SliceData(slice)))
			first := (start + page - 1) / page
			pages := max(0, int((start+uintptr(4*n))/page)-int(first))
			inside := hugePagesInside(slice)
			if len(inside) != pages*page {
				t.Fatalf("%d elements at %#x: %d bytes, want %d pages", n, start, len(inside), pages)
			}
			if pages > 0 && uintptr(unsafe.Pointer(&inside[0])) != first*page {
				t.Fatalf("%d elements at %#x: begins at %p", n, start, &inside[0])
			}
		}
	}
}

// AdviseHugePages returns the system's error, here that there is no memory.
func TestAdviseHugePagesFails(t *testing.T) {
	const n = 2 << 20
	memory, err := unix.Mmap(-1, 0, 4*n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	gone := unsafe.Slice((*float32)(unsafe.Pointer(&memory[0])), n)
	if err := unix.Munmap(memory); err != nil {
		t.Fatal(err)
	}
	want := unix.Madvise(hugePagesInside(gone), unix.MADV_HUGEPAGE)
	if want == nil {
		t.Skip("an emulator leaves the advice out")
	}
	err = AdviseHugePages([]float32{1}, gone)
	if !errors.Is(err, want) || err.Error() != "kernel: huge pages for slice 1 of 2097152 elements: "+want.Error() {
		t.Errorf("error %v, want one of %v", err, want)
	}
}

func TestAdviseHugePagesSmall(t *testing.T) {
	if err := AdviseHugePages(nil, []float32{1}, make([]float32, 1000)); err != nil {
		t.Error(err)
	}
	if err := AdviseHugePages(); err != nil {
		t.Error(err)
	}
}
