package kernel

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"
)

// An ArgumentError describes a wrong argument. [Update] and the methods of
// [RMSProp] panic with one; [RMSProp.Validate] and [Optimizer.Step] return one.
// errors.As finds it in the returned error, and in the recovered value of the panic.
type ArgumentError struct {
	Tensor string // the Param's Name, or params[i] without one; empty outside of Optimizer.Step
	Name   string // the argument, field or option, such as grad, Grad, State.MeanSquare or Options.LR

	// Value is what was given: a number, the [Length] of a slice, the [Overlap] of
	// a slice with another one, or nil for a missing pointer.
	Value any

	Want   string           // what is expected, in words
	Others []*ArgumentError // what else is wrong with the same call
}

// A Length is the Value of an [ArgumentError] about the number of a slice's elements.
type Length int

// An Overlap is the Value of an [ArgumentError] about a slice that shares memory with
// another one.
type Overlap struct {
	Tensor, Name string // the other slice, as in [ArgumentError]
	Bytes        int    // from the start of the other slice to the start of this one
}

// Error says what is wrong, one line for each problem.
func (e *ArgumentError) Error() string {
	var lines strings.Builder
	fmt.Fprint(&lines, "kernel: ", e.given(), ", want ", e.Want)
	for _, other := range e.Others {
		fmt.Fprint(&lines, "\n", other)
	}
	return lines.String()
}

func (e *ArgumentError) given() string {
	name := dotted(e.Tensor, e.Name)
	switch v := e.Value.(type) {
	case nil:
		return name + " = nil"
	case Length:
		return fmt.Sprintf("len(%s) = %d", name, v)
	case Overlap:
		return fmt.Sprintf("%s overlaps %s from byte %d on", name, dotted(v.Tensor, v.Name), v.Bytes)
	default:
		return fmt.Sprintf("%s = %v", name, v)
	}
}

// dotted joins two names, the first of which may be empty.
func dotted(of, name string) string {
	if of == "" {
		return name
	}
	return of + "." + name
}

// Every check takes the errors found so far, nil if there are none, and returns them
// with its own. A correct call pays for comparisons only, not for words.

// add returns e with another error.
//
//go:noinline
func (e *ArgumentError) add(name string, value any, want string) *ArgumentError {
	return e.and(&ArgumentError{Name: name, Value: value, Want: want})
}

//go:noinline
func (e *ArgumentError) addf(name string, value any, want string, args ...any) *ArgumentError {
	return e.add(name, value, fmt.Sprintf(want, args...))
}

//go:noinline
func (e *ArgumentError) addNumber(name string, x float64, want string) *ArgumentError {
	return e.add(name, x, want)
}

// and returns e with the errors of other. Either may be nil.
func (e *ArgumentError) and(other *ArgumentError) *ArgumentError {
	if e == nil || other == nil {
		return cmp.Or(e, other)
	}
	e.Others = append(append(e.Others, other), other.Others...)
	other.Others = nil
	return e
}

// of returns e as errors on fields of an argument, or on a tensor.
func (e *ArgumentError) of(tensor, prefix string) *ArgumentError {
	for _, each := range e.all() {
		each.Tensor, each.Name = tensor, prefix+each.Name
	}
	return e
}

// all lists e and the others.
func (e *ArgumentError) all() []*ArgumentError { return append([]*ArgumentError{e}, e.Others...) }

// error returns e as an error, which is nil if e is.
func (e *ArgumentError) error() error {
	if e == nil {
		return nil
	}
	return e
}

// panic panics if anything is wrong.
func (e *ArgumentError) panic() {
	if e != nil {
		panic(e)
	}
}

// ---- Numbers ----

// maxRate is the largest learning rate: lr/d is finite for every d that occurs.
const maxRate = 0x1p64

// isRate reports whether lr is a learning rate.
func isRate(lr float64) bool { return lr >= 0 && float32(lr) <= maxRate }

// isFinite reports whether x is not negative, and finite as a float32.
func isFinite(x float64) bool { return x >= 0 && float32(x) <= math.MaxFloat32 }

// isShare reports whether rho is in [0, 1].
func isShare(rho float64) bool { return rho >= 0 && rho <= 1 }

// isMomentum reports whether mu is a share below 1, also as a float32.
func isMomentum(mu float64) bool { return mu >= 0 && float32(mu) < 1 }

// isLossScale reports whether x is 0, or both x and 1/x are normal numbers.
func isLossScale(x float64) bool { return x == 0 || x >= 0x1p-126 && x <= 0x1p126 }

// isClipValue reports whether x is 0, or a normal float32.
func isClipValue(x float64) bool { return x == 0 || x >= 0x1p-126 && isFinite(x) }

func (e *ArgumentError) rate(name string, lr float64) *ArgumentError {
	if !isRate(lr) {
		return e.addNumber(name, lr, "a number in [0, 2^64]")
	}
	return e
}

func (e *ArgumentError) share(name string, rho float64) *ArgumentError {
	if !isShare(rho) {
		return e.addNumber(name, rho, "a number in [0, 1]")
	}
	return e
}

func (e *ArgumentError) finite(name string, x float64) *ArgumentError {
	if !isFinite(x) {
		return e.addNumber(name, x, "a number that is finite in float32 and not negative")
	}
	return e
}

func (e *ArgumentError) lossScale(x float64) *ArgumentError {
	if !isLossScale(x) {
		return e.addNumber("LossScale", x, "a number in [2^-126, 2^126], or 0 for none")
	}
	return e
}

func (e *ArgumentError) notNegative(name string, n int) *ArgumentError {
	if n < 0 {
		return e.addf(name, n, "0 or more")
	}
	return e
}

// check checks the options.
func (r *RMSProp) check(e *ArgumentError) *ArgumentError {
	e = e.rate("LR", r.LR)
	e = e.share("Rho", r.Rho)
	e = e.finite("Eps", r.Eps)
	if r.EpsHat && !isFinite(r.Eps/(1-r.Rho)) && isShare(r.Rho) && isFinite(r.Eps) {
		e = e.addf("Eps", r.Eps, "a number whose quotient with 1-Rho, Rho = %v, is finite in float32 with EpsHat", r.Rho)
	}
	if !isMomentum(r.FirstMoment) {
		e = e.addNumber("FirstMoment", r.FirstMoment, "a number in [0, 1), also in float32")
	}
	if r.FirstMoment != 0 && (r.Centered || r.Momentum != 0 || r.Nesterov) {
		e = e.addNumber("FirstMoment", r.FirstMoment, "0 with Centered, Momentum or Nesterov, which it excludes")
	}
	if !isMomentum(r.Momentum) {
		e = e.addNumber("Momentum", r.Momentum, "a number in [0, 1), also in float32")
	}
	e = e.finite("WeightDecay", r.WeightDecay)
	if r.DecoupledDecay && !isFinite(r.LR*r.WeightDecay) && isRate(r.LR) && isFinite(r.WeightDecay) {
		e = e.addf("WeightDecay", r.WeightDecay, "a number whose product with LR = %v is finite in float32", r.LR)
	}
	e = e.lossScale(r.LossScale)
	if !isClipValue(r.ClipValue) {
		e = e.addNumber("ClipValue", r.ClipValue, "a number from 2^-126 up that is finite in float32, or 0 for no limit")
	}
	return e.finite("InitialMeanSquare", r.InitialMeanSquare)
}

// ---- Lengths ----

// tensorNames are the names of a tensor's slices in messages.
type tensorNames struct{ theta, grad, state string }

var (
	argumentNames = tensorNames{"theta", "grad", "st"}    // of Update's arguments
	fieldNames    = tensorNames{"Theta", "Grad", "State"} // of a Param
)

// slice returns the name of a slice, by its place in a tensor.
func (names *tensorNames) slice(i int) string {
	return [slicesPerTensor]string{names.theta, names.grad, names.state + ".MeanSquare", names.state + ".MeanGrad", names.state + ".MomentumBuffer"}[i]
}

// addLength adds an error about a slice that must have as many elements as theta.
//
//go:noinline
func (e *ArgumentError) addLength(names *tensorNames, slice, n, want int) *ArgumentError {
	return e.addf(names.slice(slice), Length(n), "%d (len(%s))", want, names.theta)
}

// checkState checks the state of a tensor of n elements.
func (r *RMSProp) checkState(e *ArgumentError, st *State, n int, names *tensorNames) *ArgumentError {
	if st == nil {
		return e.add(names.state, nil, "a State (NewState makes one)")
	}
	if st.Step < 0 {
		e = e.addf(names.state+".Step", st.Step, "0 or more")
	}
	if s := len(st.MeanSquare); s != n {
		e = e.addLength(names, 2, s, n)
	}
	meanGrad, momentumBuffer := r.needs()
	if m := len(st.MeanGrad); m != n && meanGrad || m != 0 && !meanGrad {
		e = e.addf(names.slice(3), Length(m), "%s", r.wantMeanGrad(n, names))
	}
	if b := len(st.MomentumBuffer); r.FirstMoment != 0 {
		if b != 0 {
			e = e.addf(names.slice(4), Length(b), "0 with FirstMoment; Adapt removes it")
		}
	} else if b != n && (b != 0 || momentumBuffer) {
		e = e.addf(names.slice(4), Length(b), "%d (len(%s)) with Momentum = %v%s", n, names.theta, r.Momentum, adapts(b == 0))
	}
	return e
}

func (r *RMSProp) wantMeanGrad(n int, names *tensorNames) string {
	if r.Centered {
		return fmt.Sprintf("%d (len(%s)) with Centered", n, names.theta)
	}
	if r.FirstMoment != 0 {
		return fmt.Sprintf("%d (len(%s)) with FirstMoment", n, names.theta)
	}
	return "0 without Centered and FirstMoment"
}

// adapts says how to add a missing slice.
func adapts(is bool) string {
	if is {
		return "; Adapt adds it"
	}
	return ""
}

// ---- Overlap ----

// overlap reports whether two slices share memory. If one of them is written, vector
// code would read stale values of the other.
func overlap(a, b []float32) bool {
	startA, endA := extent(a)
	startB, endB := extent(b)
	return startA < endB && startB < endA && len(a) > 0 && len(b) > 0
}

// extent returns the addresses of x's first byte and of the first byte after it.
func extent(x []float32) (start, end uintptr) {
	start = uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	return start, start + 4*uintptr(len(x))
}

// A span is the place of a slice in memory that is not empty. It holds addresses, which do
// not keep the slice from the garbage collector.
type span struct {
	start, end uintptr
	slice      int32 // which one, to the caller
	written    bool
}

// appendSpan ignores empty slices, which overlap nothing.
func appendSpan(spans []span, x []float32, slice int, written bool) []span {
	if len(x) == 0 {
		return spans
	}
	start, end := extent(x)
	return append(spans, span{start, end, int32(slice), written})
}

// sortSpans sorts by address, and spans at the same address by slice.
func sortSpans(spans []span) {
	slices.SortFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return cmp.Compare(a.slice, b.slice)
	})
}

// apart reports whether no two of the sorted spans overlap, read or written: if
// any do, two neighbors do.
func apart(sorted []span) bool {
	for i := 1; i < len(sorted); i++ {
		if sorted[i].start < sorted[i-1].end {
			return false
		}
	}
	return true
}

// meets reports whether x overlaps one of the sorted spans, which are apart.
func meets(x []float32, sorted []span) bool {
	if len(x) == 0 {
		return false
	}
	start, end := extent(x)
	first, last := 0, len(sorted) // the first span that ends after start is in [first, last]
	for first < last {
		middle := int(uint(first+last) / 2)
		if sorted[middle].end <= start {
			first = middle + 1
		} else {
			last = middle
		}
	}
	return first < len(sorted) && sorted[first].start < end
}

// overlaps finds the spans that overlap one before them in memory, unless both
// are only read. name returns the tensor and the name of a slice.
func (e *ArgumentError) overlaps(spans []span, name func(slice int32) (tensor, name string)) *ArgumentError {
	sortSpans(spans)
	// A span that overlaps any span before it overlaps the one that reaches furthest.
	var furthest, furthestWritten span
	for _, b := range spans {
		a := furthestWritten
		if b.written {
			a = furthest
		}
		if b.start < a.end {
			at := Overlap{Bytes: int(b.start - a.start)}
			at.Tensor, at.Name = name(a.slice)
			tensor, slice := name(b.slice)
			e = e.and(&ArgumentError{Tensor: tensor, Name: slice, Value: at, Want: "memory of its own"})
		}
		if b.end > furthest.end {
			furthest = b
		}
		if b.written && b.end > furthestWritten.end {
			furthestWritten = b
		}
	}
	return e
}

// slicesPerTensor is the number of slices that a tensor may have: theta, grad, s, m and b.
const slicesPerTensor = 5

// appendTensor appends the spans of tensor i.
func appendTensor(spans []span, i int, theta, grad []float32, st *State, gradWritten bool) []span {
	spans = appendSpan(spans, theta, i*slicesPerTensor, true)
	spans = appendSpan(spans, grad, i*slicesPerTensor+1, gradWritten)
	if st != nil {
		spans = appendSpan(spans, st.MeanSquare, i*slicesPerTensor+2, true)
		spans = appendSpan(spans, st.MeanGrad, i*slicesPerTensor+3, true)
		spans = appendSpan(spans, st.MomentumBuffer, i*slicesPerTensor+4, true)
	}
	return spans
}

// tensorApart reports whether no two slices of a tensor overlap in memory.
func tensorApart(theta, grad []float32, st *State) bool {
	if st == nil {
		return !overlap(theta, grad)
	}
	s, m, b := st.MeanSquare, st.MeanGrad, st.MomentumBuffer
	return !overlap(theta, grad) && !overlap(theta, s) && !overlap(grad, s) &&
		(len(m) == 0 || !overlap(m, theta) && !overlap(m, grad) && !overlap(m, s)) &&
		(len(b) == 0 || !overlap(b, theta) && !overlap(b, grad) && !overlap(b, s) && !overlap(b, m))
}

// tensorOverlaps finds the slices of Update's arguments that overlap.
//
//go:noinline
func (e *ArgumentError) tensorOverlaps(theta, grad []float32, st *State) *ArgumentError {
	return e.overlaps(appendTensor(nil, 0, theta, grad, st, false), func(slice int32) (tensor, name string) {
		return "", argumentNames.slice(int(slice))
	})
}

// updateOverlaps finds the arguments of the function Update that overlap.
//
//go:noinline
func (e *ArgumentError) updateOverlaps(theta, grad, s []float32) *ArgumentError {
	var spans []span
	spans = appendSpan(spans, theta, 0, true)
	spans = appendSpan(spans, grad, 1, false)
	spans = appendSpan(spans, s, 2, true)
	return e.overlaps(spans, func(slice int32) (tensor, name string) { return "", [...]string{"theta", "grad", "s"}[slice] })
}
