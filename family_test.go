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
	for options := range uint32(2 * optionDecoupled) { // the others follow from the numbers
		h := numbers[r.intn(len(numbers))]
		p := h.rounded(1, 1)
		p.options = options | optionEpsInside
		if r.intn(4) == 0 { // on either side of where software takes roots
			p.eps = one(0x1p-100, math.Nextafter32(0x1p-100, 0), 0x1p-125)
		}
		if r.intn(2) == 0 {
			p.options = options | optionEpsOutside
			p.eps, p.epsOutside = 0, float32(h.Eps)
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
		f(&p)
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
			d.put(i, r.special)
		case 3: // any bits
			d.put(i, r.bits)
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

func TestExtremes(t *testing.T) {
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
					p.options |= p.masked(l.centered)
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

// Where nothing comes in any more, no mean and no buffer stays subnormal, and
// theta keeps its value unless decay or momentum moves it.
func TestDead(t *testing.T) {
	values := []float32{0, 0x1p-149, -0x1p-149, 1e-40, -1e-40, math.Nextafter32(minNormal, 0), -math.Nextafter32(minNormal, 0)}
	forEachISA(t, func(t *testing.T) {
		for _, o := range optionSets {
			if o.WeightDecay != 0 && !o.DecoupledDecay {
				continue // theta is in the gradient
			}
			d := o.allocate(len(values) * len(values) * len(values))
			for i := range d.theta {
				d.theta[i] = 1.5
				x := [...]float32{values[i%7], values[i/7%7], values[i/49]}
				d.grad[i] = x[i%3]
				for j, y := range d.all()[2:] {
					if y != nil {
						y[i] = x[j]
					}
				}
			}
			member{o, byFamily}.step(d)
			theta := float32(1.5)
			if o.DecoupledDecay {
				theta -= float32(float32(o.LR*o.WeightDecay) * theta)
			}
			for i := range d.theta {
				if d.theta[i] != theta {
					t.Fatalf("%+v: theta[%d] = %g, want %g", o, i, d.theta[i], theta)
				}
				for j, x := range d.all()[2:] {
					if x != nil && x[i] != 0 {
						t.Fatalf("%+v: %s[%d] = %g, want 0", o, sliceNames[2+j], i, x[i])
					}
				}
			}
		}
	})
}

// s - m² is negative here in exact arithmetic: PyTorch's formula gives NaN.
func TestNegativeVariance(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		for _, outside := range []bool{false, true} {
			o := RMSProp{LR: 0.1, Rho: 1, Eps: 0.25, Centered: true, EpsOutside: outside}
			d := tensorData{theta: []float32{1, 1}, grad: []float32{1, 1}, s: []float32{1, 1}, m: []float32{1.5, nan}}
			member{o, byFamily}.step(d)
			want := 1 - float32(float32(0.1)/0.5)
			if outside {
				want = 1 - float32(float32(0.1)/0.25)
			}
			if d.theta[0] != want || d.theta[1] == d.theta[1] {
				t.Errorf("EpsOutside = %v: theta = %g, want [%g NaN]", outside, d.theta, want)
			}
		}
	})
}

// Neutral options have the bits of those without.
func TestNeutralOptions(t *testing.T) {
	r := random(t, 27)
	for _, o := range optionSets {
		same := o
		if o.Momentum == 0 {
			same.Nesterov = !same.Nesterov
		}
		if o.WeightDecay == 0 {
			same.DecoupledDecay = !same.DecoupledDecay
		}
		if o.LossScale == 0 {
			same.LossScale = 1
		}
		d := o.allocate(301)
		r.training(d)
		for i := range 100 {
			d.put(i, r.special)
		}
		got := d.clone()
		o.Update(d.theta, d.grad, d.state())
		same.Update(got.theta, got.grad, got.state())
		got.requireSame(t, o, d)
	}
}

// The plain formula is the work of Update's kernel, and nothing else is.
func TestPlainTakesUpdatesKernel(t *testing.T) {
	for _, o := range optionSets {
		plain := RMSProp{LR: o.LR, Rho: o.Rho, Eps: o.Eps, InitialMeanSquare: o.InitialMeanSquare}
		plain.DecoupledDecay = o.DecoupledDecay && o.WeightDecay == 0 // there is nothing to decouple
		d, p := o.allocate(1), o.rounded(1, 1)
		if c := p.call(d.theta, d.grad, d.state()); (c.layout == layoutUpdate) != (o == plain) {
			t.Errorf("%+v: layout %d", o, c.layout)
		}
	}
}
