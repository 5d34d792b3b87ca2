package kernel

import "math"

// memberGeneric is the arithmetic of [RMSProp] in Go, which every other
// implementation equals bit for bit. m is nil where the member is not centered,
// b where it has no momentum. As in updateGeneric, a conversion to float32
// around each product keeps the compiler from fusing it into a sum.
func memberGeneric(theta, grad, s, m, b []float32, k *memberConstants) {
	grad, s = grad[:len(theta)], s[:len(theta)]
	for i, t := range theta {
		g := grad[i]
		if k.scale != 1 { // 1*g is slow where g is subnormal
			g = float32(k.scale * g)
		}
		if k.options&memberClipped != 0 { // NaN stays NaN
			if g < -k.clip {
				g = -k.clip
			}
			if g > k.clip {
				g = k.clip
			}
		}
		if k.options&memberL2 != 0 {
			g += float32(k.decay * t)
		}
		live := math.Float32bits(g)&liveBits != 0
		if !live {
			g = 0
		}

		si := s[i]
		if si < minS {
			si = 0
		}
		si = float32(k.rho*si) + float32(k.c*float32(g*g))
		s[i] = si

		mi := float32(0)
		if m != nil {
			mi = float32(k.rho*flush(m[i])) + float32(k.c*g)
			m[i] = mi
		}

		u := float32(0) // changes neither b nor theta
		if live {
			// Only here: m*m is subnormal, and slow, in an element that is long dead.
			v := si - float32(mi*mi)
			if v < 0 { // NaN stays NaN
				v = 0
			}
			// One eps is 0, and adding 0 changes no bit: v and its root are not negative.
			d := float32(math.Sqrt(float64(v+k.eps))) + k.epsOutside
			u = float32(k.numerator / d * g)
		}
		if b != nil {
			bi := float32(k.mu*flush(b[i])) + u
			b[i] = bi
			if k.options&memberNesterov != 0 {
				u = float32(k.mu*bi) + u
			} else {
				u = bi
			}
		}
		u = float32(k.lrOutside * u)

		if k.options&memberDecoupled != 0 {
			t -= float32(k.lrDecay * t)
		}
		theta[i] = t - u
	}
}

// flush makes a subnormal number 0. It tests the exponent, as liveBits does, and
// not the number, for the sake of the branch.
func flush(x float32) float32 {
	if math.Float32bits(x)&0x7f800000 == 0 {
		return 0
	}
	return x
}
