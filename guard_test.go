//go:build unix

package kernel

import (
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guarded is memory between two pages that may be neither read nor written.
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

// place puts values against the page before (atEnd false) or behind the memory.
func (g guarded) place(values []float32, atEnd bool) []float32 {
	if atEnd {
		g = g[len(g)-len(values):]
	}
	copy(g, values)
	return g[:len(values)]
}

// Each slice lies against an inaccessible page, at either end: a byte read or
// written outside faults.
func TestGuardPages(t *testing.T) {
	const longest = 300
	memory := [3]guarded{}
	for i := range memory {
		memory[i] = newGuarded(t, longest)
	}
	theta, grad, s := make([]float32, longest), make([]float32, longest), make([]float32, longest)
	r := random(t, 6)
	r.ordinary(theta, grad, s)
	wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
	updateGeneric(wantTheta, grad, wantS, usual.params())

	forEachISA(t, func(t *testing.T) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // holds for this goroutine
		for n := range longest + 1 {
			for ends := range 8 {
				t1 := memory[0].place(theta[:n], ends&1 != 0)
				g1 := memory[1].place(grad[:n], ends&2 != 0)
				s1 := memory[2].place(s[:n], ends&4 != 0)
				if err := recovered(func() { Update(t1, g1, s1, usual.lr, usual.rho, usual.eps) }); err != nil {
					t.Fatalf("%d elements, ends %03b: %v", n, ends, err)
				}
				requireSame(t, "theta", t1, wantTheta[:n])
				requireSame(t, "s", s1, wantS[:n])
			}
		}
	})
}

// The same for every member of the family, with five slices.
func TestMemberGuardPages(t *testing.T) {
	const longest = 130
	var memory [5]guarded
	for i := range memory {
		memory[i] = newGuarded(t, longest)
	}
	forEachISA(t, func(t *testing.T) {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // holds for this goroutine
		r := random(t, 7)
		for _, o := range optionSets {
			d := o.allocate(longest)
			r.training(d)
			want := d.clone()
			want.generic(&o)
			for n := range longest + 1 {
				for _, ends := range []int{0, 31, r.intn(32), r.intn(32)} {
					var got tensorData
					for j, x := range d.all() {
						if x != nil {
							*got.at(j) = memory[j].place(x[:n], ends>>j&1 != 0)
						}
					}
					if err := recovered(func() { got.step(&o) }); err != nil {
						t.Fatalf("%+v: %d elements, ends %05b: %v", o, n, ends, err)
					}
					got.requireSame(t, o, want.slice(0, n))
				}
			}
		}
	})
}

// The guard pages do fault, so that TestGuardPages can fail.
func TestGuardPagesFault(t *testing.T) {
	memory := newGuarded(t, 1)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	for _, offset := range []int{-1, len(memory)} {
		outside := (*float32)(unsafe.Add(unsafe.Pointer(&memory[0]), 4*offset))
		if err := recovered(func() { *outside = 1 }); err == nil {
			t.Errorf("element %d of %d could be written", offset, len(memory))
		}
	}
}
