package kernel

import (
	"fmt"
	"math"
	"testing"
)

// What RMSProp's options cannot bring about, but the params can: every combination
// of options, with extreme numbers.

// combinations calls f with params for each combination of options, with numbers
// that change from one to the next.
func combinations(r *generator, f func(p *params)) {
	one := func(x ...float32) float32 { return x[r.intn(len(x))] }
	for options := range uint32(2 * optionDecoupled) {
		h := hypers[r.intn(len(hypers))]
		p := h.params()
		p.options = options
		if r.intn(4) == 0 { // on either side of where software takes roots
			p.eps = one(0x1p-100, math.Nextafter32(0x1p-100, 0), 0x1p-125)
		}
		if r.intn(2) == 0 {
			p.eps, p.epsOutside = 0, float32(h.eps)
		}
		p.scale = one(1, 1, -1, 1, 0x1p-16, 1e-20, 3, -1024, 0x1p11, 0x1p26, 1e30, 1e-42)
		p.clip = one(1, 0.01, 1e-20, 1e10, 0x1p-126, math.MaxFloat32)
		p.decay = one(1e-4, 0.01, 0.1, 5, 1e-20, 1e10, 1e-42)
		p.mu = one(0.9, 0.99, 0.5, 0x1p-30, 1e-45, 0)
		p.lrDecay = one(1e-5, 0.01, 1, 1e-42, 1e20, 0)
		p.minScaled, p.minDecay = reach(p.scale, minTerm), reach(p.decay, minTerm)
		p.minBuffer, p.minTheta = reach(p.mu, minNormal), reach(p.lrDecay, minNormal)
		if options&optionLROutside != 0 {
			p.lr, p.lrOutside = 1, p.lr
			p.minBuffer = max(p.minBuffer, reach(p.lrOutside, minNormal))
		}
		f(p)
	}
}

// arrays are the sets of arrays that a member may have.
var arrays = []struct {
	name               string
	centered, momentum bool
}{{"plain", false, false}, {"momentum", false, true}, {"centered", true, false}, {"centered momentum", true, true}}

// extreme returns n elements, most of which are extreme.
func (r *generator) extreme(n int, centered, momentum bool) tensorData {
	o := RMSProp{Centered: centered}
	if momentum {
		o.Momentum = 0.5
	}
	d := o.allocate(n)
	r.training(d)
	for i := range n {
		switch r.intn(8) {
		case 0, 1, 2:
			r.special(d, i)
		case 3: // any bits
			for _, x := range d.all() {
				if x != nil {
					x[i] = math.Float32frombits(uint32(r.next()))
				}
			}
		case 4: // live, with so small a mean that its root cannot be taken in software
			d.grad[i] = 0x1p-63 * (1.5 + r.symmetric())
			d.s[i] = 0x1p-126 * (1.5 + r.symmetric())
		case 5: // a variance near 0 and on either side of it
			if d.m != nil {
				d.m[i] = float32(math.Sqrt(float64(d.s[i]))) * (1 + 0x1p-10*r.symmetric())
			}
		}
	}
	return d
}

func TestMemberExtremes(t *testing.T) {
	const longest = 130
	many := 10000
	if testing.Short() {
		many = 1000
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 21)
		bad := badEstimates(t)
		for _, l := range arrays {
			for n := range longest + 2 {
				if n > longest {
					n = many
				} else if testing.Short() && n > 20 && n%11 != 0 { // tails of some lengths will do
					continue
				}
				combinations(&r, func(p *params) {
					d := r.extreme(max(n, 1), l.centered, l.momentum)
					want := d.clone()
					familyGeneric(want.theta, want.grad, want.s, want.m, want.b, p)
					got := d.clone()
					got.family(p)
					got.leaveOut(bad, p, want)
					got.requireSame(t, fmt.Sprintf("%s %+v", l.name, *p), want)
				})
			}
		}
	})
}

// Without options the family's kernels have Update's bits, though RMSProp
// leaves the plain member to Update's kernel.
func TestMemberPlainIsUpdate(t *testing.T) {
	theta, grad, s := allSpecials()
	before := tensorData{theta: theta, grad: grad, s: s}
	forEachISA(t, func(t *testing.T) {
		for _, h := range hypers {
			want, got := before.clone(), before.clone()
			updateGeneric(want.theta, want.grad, want.s, h.params())
			got.family(h.params())
			got.requireSame(t, h, want)
		}
	})
}
