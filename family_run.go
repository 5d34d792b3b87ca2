package kernel

import "unsafe"

// tensor is what one step works on: slices of one length; m and b are nil where the options have none.
type tensor struct{ theta, grad, s, m, b []float32 }

// params are an RMSProp's numbers as the implementations use them.
type params struct {
	plain  bool // only lr, rho and eps are on, and Update's kernel does it
	base   constants
	family memberConstants
}

func (o *RMSProp) params(factor, rhoT float64) params {
	lr, rho, c, eps := float32(o.LR), float32(rhoT), float32(1-rhoT), float32(o.Eps)
	k := memberConstants{
		numerator: lr, rho: rho, c: c, eps: eps,
		scale:     float32(factor / o.lossScale()),
		mu:        float32(o.Momentum),
		lrOutside: 1,
	}
	if o.Maximize {
		k.scale = -k.scale
	}
	if o.EpsOutside {
		k.eps, k.epsOutside = 0, eps
	}
	if o.LROutside {
		k.numerator, k.lrOutside = 1, lr
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
	return params{
		plain: !o.Centered && o.Momentum == 0 && o.WeightDecay == 0 && k.scale == 1 &&
			!o.EpsOutside && !o.LROutside,
		base:   constants{lr: lr, rho: rho, c: c, eps: eps},
		family: k,
	}
}

// run takes one step over t, chunk by chunk. total is how many elements the whole step has.
func (k *params) run(t tensor, total int) {
	plain := k.plain && t.b == nil
	for len(t.theta) > 0 {
		n := min(chunk, len(t.theta))
		nm, nb := min(n, len(t.m)), min(n, len(t.b))
		if plain {
			updateChunk(t.theta[:n], t.grad[:n], t.s[:n], &k.base)
		} else {
			memberChunk(t.theta[:n], t.grad[:n], t.s[:n], t.m[:nm], t.b[:nb], &k.family)
		}
		t = tensor{t.theta[n:], t.grad[n:], t.s[n:], t.m[nm:], t.b[nb:]}
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
