// Package kernel computes the RMSProp update over float32 slices in one pass
// over memory, with hand-written AVX-512, AVX2 and NEON assembly chosen at run
// time by what the CPU can do, and a pure Go implementation everywhere else.
//
// The result does not depend on where it was computed: every implementation,
// on every GOARCH, at any slice length, alignment or division of the work,
// produces the same float32 bits. See [Update] for the arithmetic.
//
// [RMSProp] adds what PyTorch, TensorFlow, Keras, optax, Gorgonia and GoMLX have
// besides: momentum, centering, weight decay and more; [Optimizer] takes such steps on many tensors
// and many cores.
//
// The environment variable KERNEL_ISA, such as avx512,avx2, or [SetISA] forces one
// of the implementations that [ISAs] lists; the build tag purego leaves the
// assembly out.
package kernel

import "unsafe"

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
// times slower without changing what is learned. A gradient counts as zero where
// it is below T in magnitude, as a mean square does where it is below S, negative
// or NaN:
//
//	T = the smallest float32 from 2^-63 up with (1-rho)*T² >= 2^-126
//	S = the smallest float32 from 2^-126 up with rho*S >= 2^-126
//
// T is 3.4e-19 for rho = 0.9 and 3.4e-18 for 0.999, S little more than 2^-126
// (1.2e-38). With rho = 0 every mean counts as zero. And eps is 2^-126 where it is
// less. Then no operation has a subnormal operand or result, but theta itself and
// a step too small to matter. The rules in NumPy, to stand before the formula:
//
//	grad = np.where(np.abs(grad) < T, np.float32(0), grad)
//	s = np.where(s >= S, s, np.float32(0))
//
// NaN and infinities in the slices are data and propagate as the formula says:
// an infinite gradient makes s infinite and theta NaN, so a caller who may
// have overflowed skips the step. Which NaN results is up to the CPU. A NaN
// gradient makes s and theta NaN; the next step takes that s for zero, so that
// the state heals once theta has been restored. A finite
// gradient from 2^64 (1.8e19) up makes s infinite without a NaN, and theta
// stands still for ever after: [Optimizer.SkipNonFinite] leaves such a step out.
//
// Update panics with an [*ArgumentError], before it has written anything, if
// the lengths differ, if two of the slices overlap in memory, if lr is not in
// [0, 2^64], rho not in [0, 1], or eps negative or not finite in float32.
//
// It does not allocate, keeps no reference to the slices and starts no
// goroutine. Concurrent calls are safe on slices that do not overlap; grad may
// be shared.
func Update[F Float](theta, grad, s []float32, lr, rho, eps F) {
	update(theta, grad, s, float64(lr), float64(rho), float64(eps))
}

func update(theta, grad, s []float32, lr, rho, eps float64) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { update(theta, grad, s, lr, rho, eps) })
		return
	}
	var wrong *ArgumentError
	if len(grad) != len(theta) {
		wrong = wrong.addLength(&argumentNames, 1, len(grad), len(theta))
	}
	if len(s) != len(theta) {
		wrong = wrong.addf("s", Length(len(s)), "%d (len(theta))", len(theta))
	}
	if overlap(theta, grad) || overlap(theta, s) || overlap(s, grad) {
		wrong = wrong.updateOverlaps(theta, grad, s)
	}
	wrong.rate("lr", lr).share("rho", rho).finite("eps", eps).panic()
	var k coeffs
	k.roundUpdate(lr, rho, eps)
	var c call // a literal would be made elsewhere first, and copied
	c.theta, c.grad, c.s = unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s)
	c.n, c.layout, c.coeffs = len(theta), layoutPlain, &k
	c.run(c.n)
}
