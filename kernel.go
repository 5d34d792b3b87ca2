// Package kernel computes the RMSProp update over float32 slices in one pass
// over memory, with hand-written AVX-512, AVX2 and NEON assembly chosen at run
// time by what the CPU can do, and a pure Go implementation everywhere else.
//
// The result does not depend on where it was computed: every implementation,
// on every GOARCH, at any slice length, alignment or division of the work,
// produces the same float32 bits. See [Update] for the arithmetic.
//
// [RMSProp] adds what PyTorch, TensorFlow, Keras and optax have besides: momentum,
// centering, weight decay and more; [Optimizer] takes such steps on many tensors
// and many cores.
//
// The environment variable KERNEL_ISA, or [SetISA], forces one of the
// implementations that [ISAs] lists; the build tag purego leaves the assembly
// out.
package kernel

import (
	"fmt"
	"math"
	"unsafe"
)

// Float is the type of a hyperparameter: whichever float the caller already has.
type Float interface{ float32 | float64 }

// Update takes one RMSProp step: it moves the running mean of squared
// gradients s towards grad², and the parameters theta against grad, scaled by
// the learning rate lr over the root of that mean.
//
//	s     = rho*s + (1-rho)*grad²
//	theta = theta - lr/sqrt(s+eps)*grad
//
// The formula is that of Geoffrey Hinton, Neural Networks for Machine Learning
// (Coursera, 2012), lecture 6e, with the constant eps inside the root. All
// three slices have the same length, one element a parameter; theta and s are
// written, grad is only read. s is the optimizer's state: it belongs to theta,
// starts at zero, and is handed to every call.
//
// lr is the step in theta's units (0.001 is common), rho the share of the old
// mean that is kept (0.9), eps is in units of grad² (1e-7). They are taken as
// float64 and rounded to float32 once: lr, rho, 1-rho and eps. Every operation
// after that is one float32 operation, rounded to nearest even, and none are
// fused, so that the bits are those of the formula written in NumPy on float32
// arrays.
//
// Two rules keep subnormal numbers out, which would make each step many
// times slower without changing what is learned. An element whose gradient is
// below 2^-63 (1.1e-19) in magnitude is dead: the gradient counts as zero and
// theta keeps its value. A mean s below 2^-126 (1.2e-38), or negative, counts
// as zero.
//
// NaN and infinities in the slices are data and propagate as the formula says:
// an infinite gradient makes s infinite and theta NaN, so a caller who may
// have overflowed skips the step. Which NaN results is up to the CPU.
//
// Update panics with an [*ArgumentError], before it has written anything, if
// the lengths differ, if two of the slices overlap in memory, if lr or eps is
// negative or not finite in float32, or if rho is not in [0, 1].
//
// It does not allocate, keeps no reference to the slices and starts no
// goroutine. Concurrent calls are safe on slices that do not overlap; grad may
// be shared.
func Update[F Float](theta, grad, s []float32, lr, rho, eps F) {
	update(theta, grad, s, float64(lr), float64(rho), float64(eps))
}

// An ArgumentError is what [Update] and the methods of [RMSProp] and [Optimizer]
// panic with when they are called wrongly, and the error of those that return one.
type ArgumentError struct{ problem string }

// Error names the argument at fault, its value and what would have been right.
func (e *ArgumentError) Error() string { return "kernel: " + e.problem }

// constants are the hyperparameters as the implementations use them. The
// assembly reads the fields by their offsets.
type constants struct {
	lr, rho, c, eps float32 // c = 1 - rho
}

// chunk is how many elements are computed between two stack checks, where the
// garbage collector can stop a goroutine; assembly itself cannot be preempted.
// It takes assembly 5 to 30 µs. A multiple of every vector width, so that only a call's
// last chunk has a tail.
const chunk = 16 << 10

func update(theta, grad, s []float32, lr, rho, eps float64) {
	if len(grad) != len(theta) || len(s) != len(theta) ||
		overlap(theta, grad) || overlap(theta, s) || overlap(s, grad) ||
		!inRange(lr) || !(rho >= 0 && rho <= 1) || !inRange(eps) {
		panic(problem(theta, grad, s, lr, rho, eps))
	}
	k := newConstants(lr, rho, eps)
	for len(theta) > chunk {
		updateChunk(theta[:chunk], grad[:chunk], s[:chunk], &k)
		theta, grad, s = theta[chunk:], grad[chunk:], s[chunk:]
	}
	if len(theta) > 0 {
		updateChunk(theta, grad, s, &k)
	}
}

// newConstants rounds the hyperparameters. 1 - rho is subtracted in float64: in
// float32 it would be off by 1.3e-5 of itself at rho = 0.999.
func newConstants(lr, rho, eps float64) constants {
	return constants{lr: float32(lr), rho: float32(rho), c: float32(1 - rho), eps: float32(eps)}
}

// inRange tells whether x is a learning rate or an eps: not negative, and
// finite as a float32.
func inRange(x float64) bool { return x >= 0 && float32(x) <= math.MaxFloat32 }

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

// problem says what update has found wrong. It is apart from the finding, so
// that a short call does not pay for its words.
//
//go:noinline
func problem(theta, grad, s []float32, lr, rho, eps float64) *ArgumentError {
	lengths := func(name string, slice []float32) *ArgumentError {
		return problemf("len(%s) = %d, len(theta) = %d: lengths must be equal", name, len(slice), len(theta))
	}
	overlapping := func(nameA, nameB string, a, b []float32) *ArgumentError {
		apart := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(a)))
		return problemf("%s and %s overlap: %[2]s begins %[3]d bytes from %[1]s, len(%[1]s) = %[4]d: they must be apart in memory",
			nameA, nameB, int(apart), len(a))
	}
	outOfRange := func(name string, x float64) *ArgumentError {
		return problemf("%s = %v: must be finite in float32 and not negative", name, x)
	}
	switch {
	case len(grad) != len(theta):
		return lengths("grad", grad)
	case len(s) != len(theta):
		return lengths("s", s)
	case overlap(theta, grad):
		return overlapping("theta", "grad", theta, grad)
	case overlap(theta, s):
		return overlapping("theta", "s", theta, s)
	case overlap(s, grad):
		return overlapping("s", "grad", s, grad)
	case !inRange(lr):
		return outOfRange("lr", lr)
	case !inRange(eps):
		return outOfRange("eps", eps)
	}
	return problemf("rho = %v: must be in [0, 1]", rho)
}

func problemf(format string, args ...any) *ArgumentError {
	return &ArgumentError{fmt.Sprintf(format, args...)}
}
