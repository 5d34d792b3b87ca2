package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"
)

// An ArgumentError is what [Update] and the methods of [RMSProp] panic with when
// they are called wrongly, and what the errors of [RMSProp.Validate] and
// [Optimizer.Step] hold.
type ArgumentError struct{ problem string }

// Error names the argument at fault, its value and what would have been right.
func (e *ArgumentError) Error() string { return "kernel: " + e.problem }

// problems are what is wrong with a call. The checks themselves are written so
// that a call which is right does not pay for the words.
type problems []string

//go:noinline
func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// error returns them as one error.
func (p problems) error() *ArgumentError { return &ArgumentError{strings.Join(p, "; ")} }

// panic panics if there are any.
func (p problems) panic() {
	if p != nil {
		panic(p.error())
	}
}

// join returns nil if there are none, or an error that holds an
// [*ArgumentError] for each.
func (p problems) join() error {
	var all []error
	for _, problem := range p {
		all = append(all, &ArgumentError{problem})
	}
	return errors.Join(all...)
}

// ---- Numbers ----

// maxRate is the largest learning rate: with it, lr/d is finite for every d
// there is.
const maxRate = 0x1p64

// rateInRange tells whether lr is a learning rate.
func rateInRange(lr float64) bool { return lr >= 0 && float32(lr) <= maxRate }

// inRange tells whether x is not negative, and finite as a float32.
func inRange(x float64) bool { return x >= 0 && float32(x) <= math.MaxFloat32 }

// isShare tells whether rho is one.
func isShare(rho float64) bool { return rho >= 0 && rho <= 1 }

// The number is called of+name.

func (p *problems) rate(of, name string, lr float64) {
	if !rateInRange(lr) {
		p.addf("%s%s = %v: must be in [0, 2^64]", of, name, lr)
	}
}

func (p *problems) share(of, name string, rho float64) {
	if !isShare(rho) {
		p.addf("%s%s = %v: must be in [0, 1]", of, name, rho)
	}
}

func (p *problems) finite(of, name string, x float64) {
	if !inRange(x) {
		p.addf("%s%s = %v: must be finite in float32 and not negative", of, name, x)
	}
}

// ---- Lengths ----

func (p *problems) length(name string, n int, theta string, want int) {
	if n != want {
		p.addf("len(%s) = %d, len(%s) = %d: lengths must be equal", name, n, theta, want)
	}
}

// ---- Overlap ----

// overlap tells whether two slices share memory. Where one of them is written,
// vector code would read stale values of the other.
func overlap(a, b []float32) bool {
	startA, endA := extent(a)
	startB, endB := extent(b)
	return startA < endB && startB < endA && len(a) > 0 && len(b) > 0
}

// extent returns the addresses of x's first byte and of the one behind its last.
func extent(x []float32) (start, end uintptr) {
	start = uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	return start, start + 4*uintptr(len(x))
}

// A span is where a slice that is not empty lies in memory. An address alone
// does not keep the slice from the garbage collector.
type span struct {
	start, end uintptr
	slice      int32 // which one, to the caller
	written    bool
}

// appendSpan leaves out the empty slices: those overlap nothing.
func appendSpan(spans []span, x []float32, slice int, written bool) []span {
	if len(x) == 0 {
		return spans
	}
	start, end := extent(x)
	return append(spans, span{start, end, int32(slice), written})
}

// sortSpans sorts by address, and those that begin at the same by slice.
func sortSpans(spans []span) {
	slices.SortFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return cmp.Compare(a.slice, b.slice)
	})
}

// apart tells whether no two of the sorted spans overlap, read or written: if
// any do, two neighbours do.
func apart(sorted []span) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].start < sorted[i-1].end {
			return false
		}
	}
	return true
}

// meets tells whether x overlaps one of the sorted spans, which are apart.
func meets(x []float32, sorted []span) bool {
	if len(x) == 0 {
		return false
	}
	start, end := extent(x)
	first, behind := 0, len(sorted) // the first span that ends behind start lies in [first, behind]
	for first < behind {
		middle := int(uint(first+behind) / 2)
		if sorted[middle].end <= start {
			first = middle + 1
		} else {
			behind = middle
		}
	}
	return first < len(sorted) && sorted[first].start < end
}

// overlaps finds the spans that overlap one before them in memory, unless both
// are only read. name is how the message calls a slice.
func (p *problems) overlaps(spans []span, name func(slice int32) string) {
	sortSpans(spans)
	// What overlaps anything before it overlaps the one of those that reaches
	// furthest.
	var furthest, furthestWritten span
	for _, b := range spans {
		a := furthestWritten
		if b.written {
			a = furthest
		}
		if b.start < a.end {
			nameA, nameB := name(a.slice), name(b.slice)
			p.addf("%s and %s overlap: %[2]s begins %[3]d bytes from %[1]s, len(%[1]s) = %[4]d: they must be apart in memory",
				nameA, nameB, b.start-a.start, (a.end-a.start)/4)
		}
		if b.end > furthest.end {
			furthest = b
		}
		if b.written && b.end > furthestWritten.end {
			furthestWritten = b
		}
	}
}

// problem says what update has found wrong.
//
//go:noinline
func problem(theta, grad, s []float32, lr, rho, eps float64) *ArgumentError {
	var p problems
	p.length("grad", len(grad), "theta", len(theta))
	p.length("s", len(s), "theta", len(theta))
	var spans []span
	spans = appendSpan(spans, theta, 0, true)
	spans = appendSpan(spans, grad, 1, false)
	spans = appendSpan(spans, s, 2, true)
	p.overlaps(spans, func(slice int32) string { return [...]string{"theta", "grad", "s"}[slice] })
	p.rate("", "lr", lr)
	p.share("", "rho", rho)
	p.finite("", "eps", eps)
	return p.error()
}
