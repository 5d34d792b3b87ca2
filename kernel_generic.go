package kernel

import "math"

// updateGeneric is the arithmetic in Go, which every other implementation
// equals bit for bit. A conversion to float32 around each product keeps the
// compiler from fusing it into the sum that follows.
func updateGeneric(theta, grad, s []float32, p *params) {
	lr, rho, c, eps := p.lr, p.rho, p.c, p.eps
	minGrad, minMean := p.minGrad, p.minMean.float()
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i, g := range grad {
		g = minGrad.zeroBelow(g)
		si := s[i]
		if !(si >= minMean) { // NaN too
			si = 0
		}
		si = float32(rho*si) + float32(c*float32(g*g))
		s[i] = si
		d := float32(math.Sqrt(float64(si + eps)))
		theta[i] -= float32(lr / d * g)
	}
}
