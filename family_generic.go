package kernel

import "math"

// familyGeneric is the arithmetic of [RMSProp] in Go, which every other
// implementation equals bit for bit. m is empty where the member is not centered,
// b where it has no momentum. As in updateGeneric, a conversion to float32
// around each product keeps the compiler from fusing it into a sum.
func familyGeneric(theta, grad, s, m, b []float32, p *params) {
	on := func(option uint32) bool { return p.options&option != 0 }
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i, t := range theta {
		g := grad[i]
		if on(optionScaled) {
			g = float32(p.scale * p.minScaled.zeroBelow(g))
		}
		if on(optionClipped) { // NaN stays NaN
			if g < -p.clip {
				g = -p.clip
			}
			if g > p.clip {
				g = p.clip
			}
		}
		if on(optionL2) {
			g += float32(p.decay * p.minDecay.zeroBelow(t))
		}
		live := !p.minGrad.above(g)
		if !live {
			g = 0
		}

		si := s[i]
		if !(si >= p.minMean.float()) { // NaN too
			si = 0
		}
		si = float32(p.rho*si) + float32(p.c*float32(g*g))
		s[i] = si

		v := si
		if len(m) != 0 {
			mi := float32(p.rho*p.minMean.zeroBelow(m[i])) + float32(p.c*g)
			m[i] = mi
			square := thresholdAt(minRoot).zeroBelow(mi)
			v -= float32(square * square)
			if v < minNormal { // NaN stays NaN
				v = 0
			}
		}
		// One eps is 0, and adding 0 changes no bit: v and its root are not negative.
		d := float32(math.Sqrt(float64(v+p.eps))) + p.epsOutside
		u := float32(0) // changes neither b nor theta
		if live {       // d may be 0, and v NaN, where it is not
			u = float32(p.lr / d * g)
		}

		if len(b) != 0 {
			bi := float32(p.mu*p.minBuffer.zeroBelow(b[i])) + u
			b[i] = bi
			if on(optionNesterov) {
				u = float32(p.mu*bi) + u
			} else {
				u = bi
			}
		}
		if on(optionLROutside) {
			u = float32(p.lrOutside * u)
		}
		if on(optionDecoupled) {
			t -= float32(p.lrDecay * p.minTheta.zeroBelow(t))
		}
		theta[i] = t - u
	}
}
