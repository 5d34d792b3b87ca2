// Package kernel computes RMSProp and Adam steps over float32 slices in one pass over
// memory. It has hand-written AVX-512, AVX2 and NEON assembly, chosen at run time by what
// the CPU supports, and a pure Go implementation for everything else.
//
// A step gives the same float32 bits in every implementation, on every GOARCH, at any
// slice length and alignment, and for any division of the work. See [Update] for the
// arithmetic.
//
//   - [Update] is one plain RMSProp step over slices.
//   - [RMSProp] adds the options of PyTorch, TensorFlow, Keras, optax, Gorgonia and GoMLX:
//     momentum, centering, weight decay, bias correction and more, with presets for their
//     defaults. With FirstMoment it is Adam or AdamW.
//   - [Optimizer] steps many tensors on many cores. It clips by norm, skips overflowed
//     steps, and handles sparse rows.
//
// The environment variable KERNEL_ISA, such as avx512,avx2, and [SetISA] force one of the
// implementations that [ISAs] lists. The build tag purego leaves the assembly out.
package kernel

import "unsafe"

// Float is the type of a hyperparameter: whichever float the caller already has.
type Float interface{ float32 | float64 }

// Update applies one RMSProp step. It moves s, the running mean of squared gradients,
// towards grad², and the parameters theta against grad, scaled by the learning rate lr
// over the root of that mean:
//
//	s     = rho*s + (1-rho)*grad²
//	theta = theta - lr/sqrt(s+eps)*grad
//
// The formula is from Geoffrey Hinton, Neural Networks for Machine Learning (Coursera,
// 2012), lecture 6e, with the constant eps inside the root. The three slices have the
// same length, one element for each parameter. Update writes theta and s and only reads
// grad. s is the optimizer's state: it belongs to theta, starts at zero, and every call
// gets it again.
//
// lr is the step in units of theta (0.001 is common), rho is the share of the old mean
// that is kept (0.9), and eps is in units of grad² (1e-7). Update computes 1-rho in
// float64, then rounds lr, rho, 1-rho and eps to float32. Every operation after that is
// one float32 operation, rounded to nearest even. None are fused. So the bits are those
// of the formula written in NumPy on float32 arrays.
//
// Two rules keep subnormal numbers out, which would make a step many times slower without
// changing what is learned. A gradient below T in magnitude counts as zero. A mean square
// that is below S, negative or NaN counts as zero:
//
//	T = the smallest float32 from 2^-63 up with (1-rho)*T² >= 2^-126
//	S = the smallest float32 from 2^-126 up with rho*S >= 2^-126
//
// T is 3.4e-19 for rho = 0.9 and 3.4e-18 for 0.999. S is little more than 2^-126 (1.2e-38).
// If rho is 0, every mean counts as zero. An eps below 2^-126 is raised to 2^-126. Then
// the only subnormal numbers in a step are in theta itself, or in an update too small to
// matter. In NumPy, the rules come before the formula:
//
//	grad = np.where(np.abs(grad) < T, np.float32(0), grad)
//	s = np.where(s >= S, s, np.float32(0))
//
// NaN and infinities in the slices are data and propagate as the formula says. An
// infinite gradient makes s infinite and theta NaN, so skip a step that may have
// overflowed. A NaN gradient makes s and theta NaN. The next step treats that s as zero,
// so the state recovers once theta is restored. A finite gradient of 2^64 (1.8e19) or
// more makes s infinite without a NaN, and theta never moves again:
// [Optimizer.SkipNonFinite] skips such a step. The sign and payload of a NaN depend on
// the CPU.
//
// Update panics with an [*ArgumentError], before it writes anything, if the lengths
// differ, if two of the slices overlap in memory, if lr is not in [0, 2^64], if rho is
// not in [0, 1], or if eps is negative or not finite in float32.
//
// Update does not allocate, keeps no reference to the slices and starts no goroutine.
// Concurrent calls are safe on slices that do not overlap; they may share grad.
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
	var c call // the compiler would build a literal elsewhere and copy it
	c.theta, c.grad, c.s = unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s)
	c.n, c.layout, c.coeffs = len(theta), layoutPlain, &k
	c.run(c.n)
}
