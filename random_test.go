package kernel

import (
	"flag"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "of the tests' random numbers; 0: another one in each run")

// seed is the run's.
var seed = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
})

// random returns random numbers that differ from run to run, and from stream to
// stream. A test that fails tells the seed with which it does so again.
func random(t testing.TB, stream int) generator {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with -seed %d", seed())
		}
	})
	r := generator(seed() + uint64(stream))
	r = generator(r.next()) // streams are not each other, some numbers later
	return r
}

// generator is SplitMix64 (Steele, Lea, Flood, 2014): integers alone, so that
// it gives the same numbers everywhere.
type generator uint64

func (r *generator) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *generator) intn(n int) int { return int(r.next() % uint64(n)) }

// symmetric is uniform in [-1, 1), a multiple of 2^-23.
func (r *generator) symmetric() float32 { return float32(int32(r.next()>>40)-1<<23) * 0x1p-23 }

// bits are any: each pattern is equally likely.
func (r *generator) bits() float32 { return math.Float32frombits(uint32(r.next())) }

func (r *generator) special() float32 { return specials[r.intn(len(specials))] }

// specials are the values at which something changes, their neighbours, and
// some between.
var specials = func() []float32 {
	values := []float32{0, 0x1p-149, 5.6e-45, 1e-40, 1e-30, 1e-20, 1e-7, 0.1, 1, 1.5, 3, 1e10, 1e30, inf}
	for _, v := range []float32{minNormal, minRoot, 0x1p64, 0x1p-100, math.MaxFloat32} {
		values = append(values, v, math.Nextafter32(v, 0), math.Nextafter32(v, inf))
	}
	for _, v := range slices.Clone(values) {
		values = append(values, -v)
	}
	for _, nan := range []uint32{0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001} { // quiet, signalling
		values = append(values, math.Float32frombits(nan))
	}
	return values
}()

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// ordinary fills slices as they look in training: theta around 1, gradients of
// 2^-20 to 1, every seventh element dead, s of the gradients' square.
func (r *generator) ordinary(theta, grad, s []float32) {
	for i := range theta {
		scale := math.Float32frombits(uint32(127-r.intn(20)) << 23)
		theta[i] = r.symmetric()
		grad[i] = float32(r.symmetric() * scale)
		s[i] = float32(float32(r.symmetric()*scale) * scale)
		s[i] = max(s[i], -s[i])
		if r.intn(7) == 0 {
			grad[i] = 0
		}
	}
}

// training fills d as in training: m within what s allows, b of any sign.
func (r *generator) training(d tensorData) {
	r.ordinary(d.theta, d.grad, d.s)
	for i := range d.m {
		d.m[i] = r.symmetric() * float32(math.Sqrt(float64(d.s[i])))
	}
	for i := range d.b {
		d.b[i] = r.symmetric() * 0.1
	}
}

// put puts values of a kind into an element of each slice that d has.
func (d tensorData) put(i int, value func() float32) {
	for _, x := range d.all() {
		if x != nil {
			x[i] = value()
		}
	}
}

// values are elements of all kinds that may make a difference: as in training, of
// special values, of any bits, and on both sides of where gradients and means begin
// to count. Of the plain formula there are all special values with all others, in
// short tests a seventh of them.
func (r *generator) values(o *RMSProp) tensorData {
	const each = 2000
	theta, grad, s := atThresholds(o)
	if *o == (RMSProp{LR: o.LR, Rho: o.Rho, Eps: o.Eps}) {
		for _, a := range specials {
			for _, b := range specials {
				if testing.Short() && r.intn(7) > 0 {
					continue
				}
				for _, c := range specials {
					theta, grad, s = append(theta, a), append(grad, b), append(s, c)
				}
			}
		}
	}
	d := o.allocate(3*each + len(theta))
	r.training(d)
	for i := each; i < 2*each; i++ {
		d.put(i, r.special)
		d.put(i+each, r.bits)
	}
	copy(d.theta[3*each:], theta)
	copy(d.grad[3*each:], grad)
	copy(d.s[3*each:], s)
	return d
}

// atThresholds are gradients and means on either side of where they begin to
// count, every one with every other.
func atThresholds(o *RMSProp) (theta, grad, s []float32) {
	k := o.rounded(1, 1)
	around := func(x float32) []float32 {
		return []float32{math.Nextafter32(x, 0), x, math.Nextafter32(x, inf), 2 * x}
	}
	for _, g := range append(around(k.minGrad.float()), 0, nan) {
		for _, m := range append(around(k.minMean.float()), 0, nan, inf, -1) {
			for _, t := range []float32{1, 0, 1e-20} {
				theta, grad, s = append(theta, t, t), append(grad, g, -g), append(s, m, m)
			}
		}
	}
	return theta, grad, s
}
