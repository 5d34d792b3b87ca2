//go:build gc && !purego

package kernel

//go:noescape
func updatePlainAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateMomentumAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateCenteredAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateCenteredMomentumAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updatePlainAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateMomentumAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateCenteredAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

//go:noescape
func updateCenteredMomentumAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)

// memberAsm takes a step of n > 0 elements with the kernel of the isa that is
// made for the arrays there are: m, where the member is centered, and b, where
// it has momentum, are nil otherwise. It reports whether there is such a kernel.
func memberAsm(i isa, theta, grad, s, m, b *float32, n int, k *memberConstants) bool {
	options, scaleBits, decayBits := memberOptions(k), normalBits(k.scale), normalBits(k.decay)
	switch {
	case i == isaAVX512 && m == nil && b == nil:
		updatePlainAVX512(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX512 && m == nil:
		updateMomentumAVX512(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX512 && b == nil:
		updateCenteredAVX512(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX512:
		updateCenteredMomentumAVX512(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX2 && m == nil && b == nil:
		updatePlainAVX2(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX2 && m == nil:
		updateMomentumAVX2(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX2 && b == nil:
		updateCenteredAVX2(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	case i == isaAVX2:
		updateCenteredMomentumAVX2(theta, grad, s, m, b, n, k, options, scaleBits, decayBits)
	default:
		return false
	}
	return true
}

// normalBits returns bits one of which is set in each x for which k*x matters
// to the gradient, k*g or g + k*theta. The assembly takes the other x as zero,
// which changes no bit and keeps subnormal x and products out of the slow
// arithmetic that they need. Where none of the bits is set, |k*x| < 2^-100. That
// is less than half of the last place of every float32 from 2^-75 up, so the
// sum is rounded to what it would be without k*x where the other term is 2^-64
// or more in magnitude; where it is less, the sum is below 2^-63: dead, with
// k*x and without.
func normalBits(k float32) uint32 {
	switch k = max(k, -k); {
	case k < 0x1p-10:
		return 0x70000000 // set from 2^-95 up: k*x is normal where k >= 2^-31
	case k < 0x1p11:
		return 0x78000000 // from 2^-111
	case k < 0x1p26:
		return 0x7f800000 // from 2^-126
	default:
		return 0x7fffffff // in all but zero
	}
}
