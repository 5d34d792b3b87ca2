package kernel

import (
	"fmt"
	"math"
	"testing"
)

// What RMSProp's options cannot bring about, but the constants can: every
// combination of options, with extreme numbers.

// combinations calls f with constants for each combination of options, with
// numbers that change from one to the next.
func combinations(r *generator, f func(k *memberConstants)) {
	one := func(x ...float32) float32 { return x[r.intn(len(x))] }
	for options := range uint32(16) {
		for outside := range 4 {
			h := hypers[r.intn(len(hypers))]
			base := newConstants(h.lr, h.rho, h.eps)
			if r.intn(4) == 0 { // on either side of where software takes roots
				base.eps = one(0x1p-100, math.Nextafter32(0x1p-100, 0), 0x1p-125)
			}
			k := memberConstants{
				numerator: base.lr, rho: base.rho, c: base.c, eps: base.eps, options: options,
				scale:     one(1, 1, -1, 1, 0x1p-16, 1e-20, 3, -1024, 0x1p11, 0x1p26, 1e30, 1e-42),
				mu:        one(0.9, 0.99, 0.5, 0x1p-30, 1e-45),
				lrOutside: 1,
			}
			if options&memberL2 != 0 {
				k.decay = one(1e-4, 0.01, 0.1, 5, 1e-20, 1e10, 1e-42)
			}
			if options&memberClipped != 0 {
				k.clip = one(1, 0.01, 1e-20, 1e10, 0x1p-126, math.MaxFloat32)
			}
			if options&memberDecoupled != 0 {
				k.lrDecay = one(1e-5, 0.01, 1, 1e-42, 1e20, 0)
			}
			if outside&1 != 0 {
				k.eps, k.epsOutside = 0, k.eps
			}
			if outside&2 != 0 {
				k.numerator, k.lrOutside = 1, k.numerator
			}
			f(&k)
		}
	}
}

// layouts are the sets of arrays that a member may have.
var layouts = []struct {
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
			for j := range d {
				if d[j] != nil {
					d[j][i] = math.Float32frombits(uint32(r.next()))
				}
			}
		case 4: // live, with so small a mean that its root cannot be taken in software
			d[1][i] = 0x1p-63 * (1.5 + r.symmetric())
			d[2][i] = 0x1p-126 * (1.5 + r.symmetric())
		case 5: // a variance near 0 and on either side of it
			if d[3] != nil {
				d[3][i] = float32(math.Sqrt(float64(d[2][i]))) * (1 + 0x1p-10*r.symmetric())
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
		r := generator(21)
		bad := badEstimates(t)
		for _, l := range layouts {
			for n := range longest + 2 {
				if n > longest {
					n = many
				}
				combinations(&r, func(k *memberConstants) {
					d := r.extreme(max(n, 1), l.centered, l.momentum)
					want := d.clone()
					memberGeneric(want[0], want[1], want[2], want[3], want[4], k)
					got := d.clone()
					memberChunk(got[0], got[1], got[2], got[3], got[4], k)
					got.leaveOut(bad, k, want)
					got.requireSame(t, fmt.Sprintf("%s %+v", l.name, *k), want)
				})
			}
		}
	})
}

// Without options the family's kernels have Update's bits, though RMSProp
// leaves the plain member to Update's kernel.
func TestMemberPlainIsUpdate(t *testing.T) {
	theta, grad, s := allSpecials()
	before := tensorData{theta, grad, s}
	forEachISA(t, func(t *testing.T) {
		for _, h := range hypers {
			base := newConstants(h.lr, h.rho, h.eps)
			want := before.clone()
			updateGeneric(want[0], want[1], want[2], &base)
			got := before.clone()
			k := memberConstants{numerator: base.lr, rho: base.rho, c: base.c, eps: base.eps, scale: 1, lrOutside: 1}
			memberChunk(got[0], got[1], got[2], nil, nil, &k)
			got.requireSame(t, h, want)
		}
	})
}
