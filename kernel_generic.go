package kernel

import "math"

// The thresholds of the input rules. The square of minGrad is the smallest
// normal float32, minS, so that the square of a live gradient is never subnormal.
const (
	minGrad = 0x1p-63
	minS    = 0x1p-126
)

// liveBits are in the exponents of minGrad and above, of infinities and of NaN,
// and in no other: one test of the bits does for a comparison of |g|, whose
// branch on g's sign would be mispredicted half the time.
const liveBits = 0x60000000

// updateGeneric is the arithmetic in Go, which every other implementation
// equals bit for bit. A conversion to float32 around each product keeps the
// compiler from fusing it into the sum that follows.
func updateGeneric(theta, grad, s []float32, k *constants) {
	lr, rho, c, eps := k.lr, k.rho, k.c, k.eps
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i, g := range grad {
		live := math.Float32bits(g)&liveBits != 0
		if !live {
			g = 0
		}
		si := s[i]
		if si < minS {
			si = 0
		}
		si = float32(rho*si) + float32(c*float32(g*g))
		s[i] = si
		if live {
			d := float32(math.Sqrt(float64(si + eps)))
			theta[i] -= float32(lr / d * g)
		}
	}
}
