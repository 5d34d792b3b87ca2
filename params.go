package kernel

import (
	"math"
	"sync/atomic"
)

// params are the numbers of a step as the implementations use them: rounded to
// float32, with the thresholds that follow from them. Whoever takes steps sets
// them once, not once a chunk. The assembly takes the offsets from go_asm.h.
type params struct {
	lr         float32 // the numerator: 1 where lr stays outside the momentum buffer
	rho        float32
	c          float32 // 1 - rho
	eps        float32 // inside the root: 2^-126 or more, and 0 where eps is outside
	epsOutside float32 // outside the root: 0 where eps is inside
	scale      float32 // of the gradient, negative where maximising (where optionScaled)
	clip       float32 // the gradient's limit in magnitude (where optionClipped)
	decay      float32 // L2 decay, added to the gradient (where optionL2)
	mu         float32 // momentum (in the layouts that have a momentum buffer)
	lrOutside  float32 // lr where it stays outside the momentum buffer (where optionLROutside)
	lrDecay    float32 // lr*decay (where optionDecoupled)

	// What is below these in magnitude counts as zero, or is left as it is.
	minScaled threshold // G: of the gradient before scale
	minDecay  threshold // W: of theta before decay
	minGrad   threshold // T: of the gradient
	minMean   threshold // S: of s and m
	minBuffer threshold // B: of b
	minTheta  threshold // D: of theta before lrDecay

	options uint32 // option… below
}

// A layout is the set of arrays that a step works on, beside theta, grad and s.
type layout uint32

const (
	layoutMomentum layout = 1 << iota // b
	layoutCentered                    // m
	layoutUpdate                      // none, and no option: Update's kernel
	layouts               = layoutUpdate + 1

	layoutPlain layout = 0
)

// The options that have a step of their own, which is left out where they are
// off.
const (
	optionScaled     = 1 << iota // g = scale*g
	optionClipped                // g = min(max(g, -clip), clip)
	optionL2                     // g = g + decay*theta
	optionNesterov               // u = mu*b' + u
	optionLROutside              // u = lrOutside*u
	optionDecoupled              // theta = theta - lrDecay*theta
	optionEpsInside              // v = v + eps
	optionEpsOutside             // d = d + epsOutside
	optionMasked                 // u = 0 where g = 0, since lr/d need not be finite there

	optionsOfUpdate = optionEpsInside // all that its kernel does
)

// minNormal is the smallest float32 that is not subnormal, and minRoot the
// smallest whose square is not.
const (
	minNormal = 0x1p-126
	minRoot   = 0x1p-63
)

// minTerm is below half of the last place of every gradient that is not dead: a
// term of the gradient which is less changes no bit of it. The sum of two terms
// that are not less is zero or no less than minNormal, their last places being
// 2^-125 or more.
const minTerm = 0x1p-102

// A threshold is the bits of a float32. As integers the bits without the sign are
// in the order of the magnitudes, NaN above all: so a comparison needs no branch
// that depends on a sign.
type threshold uint32

// reachedByNone is above every number, infinity too, and not above NaN. As a
// float32 it is one, which no number reaches either.
const reachedByNone threshold = 0x7f800001

func thresholdAt(x float32) threshold { return threshold(math.Float32bits(x)) }

// float returns the threshold as a number to compare with.
func (t threshold) float() float32 { return math.Float32frombits(uint32(t)) }

// above tells whether |x| is below the threshold. It is not where x is NaN.
func (t threshold) above(x float32) bool { return math.Float32bits(x)&^(1<<31) < uint32(t) }

// zeroBelow is x, or 0 where that is below the threshold.
func (t threshold) zeroBelow(x float32) float32 {
	if t.above(x) {
		return 0
	}
	return x
}

// reach returns the smallest x from 2^-126 up for which |k|*x, rounded to float32,
// is least or more. The one before the nearest to the quotient is more than a third
// of its last place below it, and so too small. Products of two float32 are exact
// in float64.
func reach(k, least float32) threshold {
	limit := (float64((thresholdAt(least) - 1).float()) + float64(least)) / 2 // a tie, which goes to least, the even one
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

// lastThresholds are what meanThresholds returned last: a division and a root take
// longer than a short call may, and rho seldom changes. An even version is that of
// a whole entry; a reader who sees another one behind it has seen parts of two.
var lastThresholds struct {
	version, rho, c, minGrad, minMean atomic.Uint32
}

// meanThresholds returns the least gradient and mean square that count.
func meanThresholds(rho, c float32) (minGrad, minMean threshold) {
	last := &lastThresholds
	version := last.version.Load()
	minGrad, minMean = threshold(last.minGrad.Load()), threshold(last.minMean.Load())
	if last.rho.Load() == math.Float32bits(rho) && last.c.Load() == math.Float32bits(c) &&
		last.version.Load() == version && version&1 == 0 {
		return minGrad, minMean
	}
	minGrad, minMean = reachSquared(c), reach(rho, minNormal)
	if version&1 == 0 && last.version.CompareAndSwap(version, version+1) {
		last.rho.Store(math.Float32bits(rho))
		last.c.Store(math.Float32bits(c))
		last.minGrad.Store(uint32(minGrad))
		last.minMean.Store(uint32(minMean))
		last.version.Store(version + 2)
	}
	return minGrad, minMean
}

// roundUpdate sets p to the numbers of [Update]. 1 - rho is subtracted in float64:
// in float32 it would be off by 1.3e-5 of itself at rho = 0.999.
func (p *params) roundUpdate(lr, rho, eps float64) {
	p.lr, p.rho, p.c, p.eps = float32(lr), float32(rho), float32(1-rho), float32(eps)
	if p.eps < minNormal {
		p.eps = minNormal
	}
	p.minGrad, p.minMean = meanThresholds(p.rho, p.c)
}

// round sets p to the numbers of a valid o. factor multiplies the gradient besides
// what LossScale divides it by. rho takes the place of o.Rho, for bias
// correction. p is set in place: to hand it on by value costs short calls some
// 45 ns.
func (p *params) round(o *RMSProp, factor, rho float64) {
	p.roundUpdate(o.LR, rho, o.Eps)
	p.options, p.epsOutside = optionEpsInside, 0
	if o.EpsOutside {
		p.options, p.eps, p.epsOutside = optionEpsOutside, 0, float32(o.Eps)
	}
	p.scale = 1
	if o.LossScale != 0 || factor != 1 {
		p.scale = float32(factor / o.lossScale())
	}
	if o.Maximize {
		p.scale = -p.scale
	}
	// Where decay is added, the gradient goes through the threshold of the scale,
	// even where that is 1.
	l2 := o.WeightDecay != 0 && !o.DecoupledDecay
	if p.scale != 1 || l2 {
		p.options |= optionScaled
		p.minScaled = reach(p.scale, minTerm)
	}
	if o.ClipValue != 0 {
		p.options |= optionClipped
		p.clip = float32(o.ClipValue)
	}
	switch {
	case l2:
		p.options |= optionL2
		p.decay = float32(o.WeightDecay)
		p.minDecay = reach(p.decay, minTerm)
	case o.WeightDecay != 0:
		p.options |= optionDecoupled
		p.lrDecay = float32(o.LR * o.WeightDecay)
		p.minTheta = reach(p.lrDecay, minNormal)
	}
	if o.LROutside {
		p.options |= optionLROutside
		p.lr, p.lrOutside = 1, float32(o.LR)
	}
	if o.Nesterov {
		p.options |= optionNesterov
	}
	p.mu = float32(o.Momentum)
	p.minBuffer = reach(p.mu, minNormal)
	if o.LROutside && p.mu != 0 {
		p.minBuffer = max(p.minBuffer, reach(p.lrOutside, minNormal))
	}
	p.options |= p.masked(o.Centered)
}

// masked is optionMasked where lr/d need not be finite though the gradient is 0:
// with an eps inside d is 2^-63 or more, and lr at most 2^64; outside, eps may be 0
// or nearly so. A mean of the gradient may be NaN, and so v; s is NaN only if the
// gradient is.
func (p *params) masked(centered bool) uint32 {
	if centered || p.options&optionEpsOutside != 0 && !(p.lr/p.epsOutside <= math.MaxFloat32) {
		return optionMasked
	}
	return 0
}

// call is a step on a tensor and its state.
func (p *params) call(theta, grad []float32, st *State) (c call) {
	c.theta, c.grad, c.s = first(theta), first(grad), first(st.MeanSquare)
	c.m, c.b = first(st.MeanGrad), first(st.MomentumBuffer)
	c.n, c.layout, c.p = len(theta), layoutPlain, p
	if c.b != nil { // it is kept though momentum be 0
		c.layout |= layoutMomentum
	}
	if c.m != nil {
		c.layout |= layoutCentered
	}
	if c.layout == layoutPlain && p.options == optionsOfUpdate {
		c.layout = layoutUpdate
	}
	return c
}

// first is where a slice begins, nil where it is empty.
func first(x []float32) *float32 {
	if len(x) == 0 {
		return nil
	}
	return &x[0]
}
