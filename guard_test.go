//go:build unix

package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded is memory between two inaccessible pages.
type guarded []float32

func newGuarded(t *testing.T, n int) guarded {
	t.Helper()
	page := os.Getpagesize()
	size := (4*n + page - 1) / page * page
	mapped, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("no anonymous mappings here:", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mapped) })
	for _, guard := range [][]byte{mapped[:page], mapped[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&mapped[page])), size/4)
}

// place puts values next to the page before the memory, or with atEnd next to the page after it.
func (g guarded) place(values []float32, atEnd bool) []float32 {
	if atEnd {
		g = g[len(g)-len(values):]
	}
	copy(g, values)
	return g[:len(values)]
}

// faultsPanic makes a fault of this goroutine panic until the end of the test.
func faultsPanic(t *testing.T) {
	before := debug.SetPanicOnFault(true)
	t.Cleanup(func() { debug.SetPanicOnFault(before) })
}

// Each slice begins or ends at an inaccessible page, so reading or writing a byte outside of it
// faults.
func TestGuardPages(t *testing.T) {
	const longest = 600
	var memory [slicesPerTensor]guarded
	for i := range memory {
		memory[i] = newGuarded(t, longest)
	}
	lengths := []int{200, 256, 300, longest}
	for n := range 131 {
		lengths = append(lengths, n)
	}
	forEachISA(t, func(t *testing.T) {
		faultsPanic(t)
		r := random(t, 7)
		for _, v := range variants {
			d := v.allocate(longest)
			r.training(d)
			want := d.clone()
			v.generic(want)
			for _, n := range lengths {
				for _, ends := range []int{0, 31, r.intn(32), r.intn(32)} {
					got := d.slice(0, n).replace(func(i int, x []float32) []float32 { return memory[i].place(x, ends>>i&1 != 0) })
					if err := recovered(func() { v.step(got) }); err != nil {
						t.Fatalf("%v: %d elements, ends %05b: %v", v, n, ends, err)
					}
					got.requireSame(t, v, want.slice(0, n))
				}
			}
		}
	})
}

func TestSumSquaresGuardPages(t *testing.T) {
	const longest = 2*normBlock + 40
	memory := newGuarded(t, longest)
	x := make([]float32, longest)
	r := random(t, 36)
	sumKinds[0].fill(&r, x)
	x[3], x[130] = 1e-40, 1e-41
	var lengths []int
	for n := range 301 {
		lengths = append(lengths, n)
	}
	for n := normBlock - 20; n <= normBlock+20; n++ {
		lengths = append(lengths, n, n+normBlock)
	}
	forEachSum(t, func(t *testing.T) {
		faultsPanic(t)
		for _, n := range lengths {
			want := genericSum(x[:n])
			for _, atEnd := range []bool{false, true} {
				placed := memory.place(x[:n], atEnd)
				var got float64
				if err := recovered(func() { got = SumSquares(placed) }); err != nil {
					t.Fatalf("%d elements, at the end: %v: %v", n, atEnd, err)
				}
				requireSum(t, fmt.Sprintf("%d elements, at the end: %v", n, atEnd), got, want)
			}
		}
	})
}

// The guard pages fault, so the tests with them can fail.
func TestGuardPagesFault(t *testing.T) {
	memory := newGuarded(t, 1)
	faultsPanic(t)
	for _, offset := range []int{-1, len(memory)} {
		outside := (*float32)(unsafe.Add(unsafe.Pointer(&memory[0]), 4*offset))
		if err := recovered(func() { *outside = 1 }); err == nil {
			t.Errorf("element %d of %d could be written", offset, len(memory))
		}
	}
}
