package kernel

import "unsafe"

// memberConstants are the hyperparameters of one member of the family as the
// implementations use them. The assembly takes the offsets from go_asm.h.
type memberConstants struct {
	numerator  float32 //  0: lr, or 1 where lr stays outside the momentum buffer
	rho        float32 //  4
	c          float32 //  8: 1 - rho
	eps        float32 // 12: inside the root: eps, or 0 where it is outside
	epsOutside float32 // 16: outside the root: eps, or 0 where it is inside
	scale      float32 // 20: of the gradient: the scale, negative where maximising; 1 where off
	decay      float32 // 24: L2 decay, added to the gradient (where memberL2)
	mu         float32 // 28: momentum (in the layouts that have a momentum buffer)
	lrOutside  float32 // 32: lr where it stays outside the momentum buffer, else 1
	lrDecay    float32 // 36: lr*decay, where the decay is decoupled (memberDecoupled)
	clip       float32 // 40: the gradient's limit in magnitude (where memberClipped)
	options    uint32  // 44: member… below
}

// The options that have a step of their own, which must be left out where they
// are off: 0*theta is not 0 where theta is infinite.
const (
	memberL2        = 1 << iota // g = g + decay*theta
	memberDecoupled             // theta = theta - lrDecay*theta
	memberNesterov              // u = mu*b' + u
	memberClipped               // g = min(max(g, -clip), clip)
)

// tensor is what one step works on: slices of one length; m and b are nil where
// the options have none.
type tensor struct{ theta, grad, s, m, b []float32 }

// params are an RMSProp's numbers as the implementations use them.
type params struct {
	plain  bool // only lr, rho and eps are on, and Update's kernel does it
	base   constants
	family memberConstants
}

// round sets p to the numbers of a valid o, once a call. factor multiplies the
// gradient besides what LossScale divides it by. rho takes the place of o.Rho,
// for bias correction. p is set in place: to hand it on by value costs short calls
// some 45 ns.
func (p *params) round(o *RMSProp, factor, rho float64) {
	p.base = newConstants(o.LR, rho, o.Eps)
	k := &p.family
	k.numerator, k.rho, k.c, k.eps, k.epsOutside = p.base.lr, p.base.rho, p.base.c, p.base.eps, 0
	k.mu, k.lrOutside, k.options, k.scale = float32(o.Momentum), 1, 0, 1
	if o.LossScale != 0 || factor != 1 {
		k.scale = float32(factor / o.lossScale())
	}
	if o.Maximize {
		k.scale = -k.scale
	}
	if o.EpsOutside {
		k.eps, k.epsOutside = 0, p.base.eps
	}
	if o.LROutside {
		k.numerator, k.lrOutside = 1, p.base.lr
	}
	switch {
	case o.WeightDecay == 0:
	case o.DecoupledDecay:
		k.options |= memberDecoupled
		k.lrDecay = float32(o.LR * o.WeightDecay)
	default:
		k.options |= memberL2
		k.decay = float32(o.WeightDecay)
	}
	if o.Nesterov {
		k.options |= memberNesterov
	}
	if o.ClipValue != 0 {
		k.options |= memberClipped
		k.clip = float32(o.ClipValue)
	}
	p.plain = !o.Centered && o.Momentum == 0 && k.options == 0 && k.scale == 1 && !o.EpsOutside && !o.LROutside
}

// run takes one step over t, chunk by chunk. A buffer that t has is kept though
// Momentum be 0.
func (p *params) run(t *tensor) {
	plain := p.plain && t.b == nil
	for at := 0; at < len(t.theta); at += chunk {
		end := min(at+chunk, len(t.theta))
		if plain {
			updateChunk(t.theta[at:end], t.grad[at:end], t.s[at:end], &p.base)
		} else {
			memberChunk(t.theta[at:end], t.grad[at:end], t.s[at:end], part(t.m, at, end), part(t.b, at, end), &p.family)
		}
	}
}

// memberChunk must not be inlined: the stack check at its start is where the
// goroutine can be preempted between two chunks.
//
//go:noinline
func memberChunk(theta, grad, s, m, b []float32, k *memberConstants) {
	raceChunk(theta, grad, s)
	raceWrite(m)
	raceWrite(b)
	if !memberAsm(isa(active.Load()), unsafe.SliceData(theta), unsafe.SliceData(grad), unsafe.SliceData(s),
		unsafe.SliceData(m), unsafe.SliceData(b), len(theta), k) {
		memberGeneric(theta, grad, s, m, b, k)
	}
}
