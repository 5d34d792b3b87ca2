//go:build gc && !purego

package kernel

//go:noescape
func updatePlainNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)

//go:noescape
func updateMomentumNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)

//go:noescape
func updateCenteredNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)

//go:noescape
func updateCenteredMomentumNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)

// memberAsm takes a step of n > 0 elements with the kernel of the isa that is
// made for the arrays there are: m, where the member is centered, and b, where
// it has momentum, are nil otherwise. It reports whether there is such a kernel.
func memberAsm(i isa, theta, grad, s, m, b *float32, n int, k *memberConstants) bool {
	options := memberOptions(k)
	switch {
	case i != isaNEON:
		return false
	case m == nil && b == nil:
		updatePlainNEON(theta, grad, s, m, b, n, k, options)
	case m == nil:
		updateMomentumNEON(theta, grad, s, m, b, n, k, options)
	case b == nil:
		updateCenteredNEON(theta, grad, s, m, b, n, k, options)
	default:
		updateCenteredMomentumNEON(theta, grad, s, m, b, n, k, options)
	}
	return true
}
