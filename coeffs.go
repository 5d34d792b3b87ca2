package kernel

import (
	"math"
	"sync/atomic"
)

// coeffs are the numbers of a step as the implementations use them: rounded to float32,
// with the thresholds that follow from them. They are computed once a call, not once a
// chunk. The assembly reads the fields by the offsets in go_asm.h.
type coeffs struct {
	lr         float32 // the numerator: 1 if lr stays outside the momentum buffer
	rho        float32
	c          float32 // 1 - rho
	eps        float32 // inside the root: 2^-126 or more, or 0 if eps is outside
	epsOutside float32 // outside the root: 0 if eps is inside
	scale      float32 // of the gradient, negative to maximize (with optionScaled)
	clip       float32 // the gradient's limit in magnitude (with optionClipped)
	negClip    float32 // -clip
	decay      float32 // L2 decay, added to the gradient (with optionL2)
	first      float32 // FirstMoment (in layoutFirstMoment)
	cFirst     float32 // 1 - first
	mu         float32 // momentum (in the layouts that have a momentum buffer)
	lrOutside  float32 // lr if it stays outside the momentum buffer (with optionLROutside)
	lrDecay    float32 // lr*decay (with optionDecoupled)

	// What is below these in magnitude counts as zero.
	minScaled threshold // G: of the gradient before scale
	minDecay  threshold // W: of theta before decay
	minGrad   threshold // T: of the gradient
	minMean   threshold // S: of s and m
	minFirst  threshold // F: of m as a first moment
	minBuffer threshold // B: of b
	minUpdate threshold // L: of the update before lrOutside, with a momentum buffer
	minTheta  threshold // D: of theta before lrDecay

	options     uint32 // option… below
	firstMoment bool   // m is the first moment
}

// A layout is the set of arrays that a step works on, besides theta, grad and s.
type layout uint32

const (
	layoutMomentum    layout = 1 << iota // b
	layoutCentered                       // m
	layoutFirstMoment                    // m of Adam; excludes the other two

	layoutPlain layout = 0
	layouts            = layoutFirstMoment + 1
)

// The options that have a step of their own. The step is skipped if the option is off.
const (
	optionScaled     = 1 << iota // g = scale*g
	optionClipped                // g = min(max(g, -clip), clip)
	optionL2                     // g = g + decay*theta
	optionNesterov               // u = mu*b' + u
	optionLROutside              // u = lrOutside*u
	optionDecoupled              // theta = theta - lrDecay*theta
	optionEpsInside              // v = v + eps
	optionEpsOutside             // d = d + epsOutside
	optionMasked                 // u = 0 if g = 0, because lr/d need not be finite then

	optionsOfUpdate = optionEpsInside // all that Update needs
)

// minNormal is the smallest float32 that is not subnormal, and minRoot the
// smallest whose square is not.
const (
	minNormal = 0x1p-126
	minRoot   = 0x1p-63
)

// minTerm is below half of the last place of every gradient that is not dead, so a smaller
// term changes no bit of the gradient. The last place of a term that is not smaller is
// 2^-125 or more, so the sum of two of these is zero or at least minNormal.
const minTerm = 0x1p-102

// A threshold is the bits of a float32. Without the sign and compared as integers, the
// bits of float32s are in the order of their magnitudes, and those of NaNs are above all
// others. So a comparison needs no branch on a sign.
type threshold uint32

// reachedByNone is a NaN pattern: above every number, infinity included. As a float32 it
// is not reached by any number either.
const reachedByNone threshold = 0x7f800001

func thresholdAt(x float32) threshold { return threshold(math.Float32bits(x)) }

// float returns the threshold as a number to compare with.
func (t threshold) float() float32 { return math.Float32frombits(uint32(t)) }

// flushes reports whether |x| is below the threshold. A NaN is not.
func (t threshold) flushes(x float32) bool { return math.Float32bits(x)&^(1<<31) < uint32(t) }

// flush returns x, or 0 if |x| is below the threshold.
func (t threshold) flush(x float32) float32 {
	if t.flushes(x) {
		return 0
	}
	return x
}

// reach returns the smallest x from 2^-126 up for which |k|*x, rounded to float32,
// is least or more. The float32 before the one nearest to the quotient is more than a
// third of its last place below the quotient, and so too small. Products of two float32
// are exact in float64.
func reach(k, least float32) threshold {
	limit := (float64((thresholdAt(least) - 1).float()) + float64(least)) / 2 // a tie, which rounds to least, the even one
	by := math.Abs(float64(k))
	switch {
	case by*minNormal >= limit:
		return thresholdAt(minNormal)
	case by == 0:
		return reachedByNone
	}
	x := thresholdAt(float32(limit / by))
	if by*float64(x.float()) < limit { // the quotient was rounded down
		return x + 1
	}
	return x
}

// reachSquared returns the smallest g from 2^-63 up for which c*g², each product
// rounded to float32, is 2^-126 or more.
func reachSquared(c float32) threshold {
	if c == 0 {
		return thresholdAt(minRoot)
	}
	least := reach(c, minNormal).float()
	g := thresholdAt(float32(math.Sqrt(float64(least))))
	if float32(g.float()*g.float()) < least { // the root was rounded down
		return g + 1
	}
	return g
}

// lastGrad and lastMean hold the last threshold, with the number that it follows from in
// the upper half of the word. A division and a root are too slow for a short call, and rho
// rarely changes.
var lastGrad, lastMean atomic.Uint64

// thresholdOf returns compute(x), or the threshold in last if it follows from the same x.
func thresholdOf(x float32, last *atomic.Uint64, compute func(x float32) threshold) threshold {
	key := uint64(math.Float32bits(x)) << 32
	word := last.Load()
	if word>>32 != key>>32 || uint32(word) == 0 {
		word = key | uint64(compute(x))
		last.Store(word)
	}
	return threshold(word)
}

// reachMean returns the smallest mean square from 2^-126 up that counts.
func reachMean(rho float32) threshold { return reach(rho, minNormal) }

// roundUpdate sets k to the numbers of [Update]. 1 - rho is subtracted in float64:
// in float32 it would be off by 1.3e-5 of itself at rho = 0.999.
func (k *coeffs) roundUpdate(lr, rho, eps float64) {
	k.lr, k.rho, k.c, k.eps = float32(lr), float32(rho), float32(1-rho), float32(eps)
	if k.eps < minNormal {
		k.eps = minNormal
	}
	k.options, k.epsOutside = optionEpsInside, 0
	k.minGrad = thresholdOf(k.c, &lastGrad, reachSquared)
	k.minMean = thresholdOf(k.rho, &lastMean, reachMean)
}

// round sets k to the numbers of a valid o for step t = 1, 2, … of a state. The gradient
// is multiplied by factor and divided by LossScale. k is set in place: returning it by
// value costs short calls some 45 ns.
func (k *coeffs) round(o *RMSProp, factor float64, t int) {
	eps := o.epsAt(t)
	k.roundUpdate(o.LR, o.shareAt(o.Rho, t), eps)
	if o.EpsOutside {
		k.options, k.eps, k.epsOutside = optionEpsOutside, 0, float32(eps)
	}
	k.scale = 1
	if o.LossScale != 0 || factor != 1 {
		k.scale = float32(factor / o.lossScale())
	}
	if o.Maximize {
		k.scale = -k.scale
	}
	// If decay is added, the threshold of the scale applies to the gradient even if the
	// scale is 1.
	l2 := o.WeightDecay != 0 && !o.DecoupledDecay
	if k.scale != 1 || l2 {
		k.options |= optionScaled
		k.minScaled = reach(k.scale, minTerm)
	}
	if o.ClipValue != 0 {
		k.options |= optionClipped
		k.clip, k.negClip = float32(o.ClipValue), -float32(o.ClipValue)
	}
	switch {
	case l2:
		k.options |= optionL2
		k.decay = float32(o.WeightDecay)
		k.minDecay = reach(k.decay, minTerm)
	case o.WeightDecay != 0:
		k.options |= optionDecoupled
		k.lrDecay = float32(o.LR * o.WeightDecay)
		k.minTheta = reach(k.lrDecay, minNormal)
	}
	if o.LROutside {
		k.options |= optionLROutside
		k.lr, k.lrOutside = 1, float32(o.LR)
		k.minUpdate = reach(k.lrOutside, minNormal)
	}
	if o.Nesterov {
		k.options |= optionNesterov
	}
	if k.firstMoment = o.FirstMoment != 0; k.firstMoment {
		first := o.shareAt(o.FirstMoment, t)
		k.first, k.cFirst = float32(first), float32(1-first)
		k.minFirst = reach(k.first, minNormal)
	}
	k.mu = float32(o.Momentum)
	k.minBuffer = reach(k.mu, minNormal)
	k.options |= k.masked(o.Centered)
}

// masked returns optionMasked if lr/d need not be finite for a gradient of 0, and 0
// otherwise. With eps inside the root, d is at least 2^-63 and lr at most 2^64. With eps
// outside, eps may be 0 or nearly 0. If centered, the mean gradient may be NaN, and so v.
// s is NaN only if the gradient is, or if c is 0 and grad² infinite: then a first moment
// may be 0.
func (k *coeffs) masked(centered bool) uint32 {
	if centered || k.firstMoment && k.c == 0 || k.options&optionEpsOutside != 0 && !(k.lr/k.epsOutside <= math.MaxFloat32) {
		return optionMasked
	}
	return 0
}

// call returns a step on a tensor and its state.
func (k *coeffs) call(theta, grad []float32, st *State) (c call) {
	c.theta, c.grad, c.s = first(theta), first(grad), first(st.MeanSquare)
	c.m, c.b = first(st.MeanGrad), first(st.MomentumBuffer)
	c.n, c.layout, c.coeffs = len(theta), layoutPlain, k
	if c.b != nil { // it is kept even if momentum is 0
		c.layout |= layoutMomentum
	}
	switch {
	case c.m == nil:
	case k.firstMoment:
		c.layout |= layoutFirstMoment
	default:
		c.layout |= layoutCentered
	}
	return c
}

// first returns a pointer to the slice's first element, nil if it is empty.
func first(x []float32) *float32 {
	if len(x) == 0 {
		return nil
	}
	return &x[0]
}

// rootIsExact reports whether the square root in software is correctly rounded for every
// v = s + eps. DESIGN.md has the proof.
func (k *coeffs) rootIsExact() bool { return k.eps >= 0x1p-100 }

// quotientIsExact reports the same for lr over that root.
func (k *coeffs) quotientIsExact() bool {
	powerOfTwo := math.Float32bits(k.lr)&(1<<23-1) == 0
	return k.lr >= 0x1p-60 && k.lr <= 0x1p60 && !powerOfTwo
}
