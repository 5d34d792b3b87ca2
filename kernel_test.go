package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// ---- Bits ----

// The generic code against the definition. Every other implementation is compared with the
// generic code.
func TestDefinition(t *testing.T) {
	r := random(t, 1)
	for _, v := range variants {
		d := r.values(&v.RMSProp)
		got := d.clone()
		v.generic(got)
		at := func(d tensorData, i int) (x [slicesPerTensor]float32) {
			for j, y := range d.all() {
				if y != nil {
					x[j] = y[i]
				}
			}
			return x
		}
		for i := range d.theta {
			in, out := at(d, i), at(got, i)
			want := v.definition(new(rounding), in)
			for j := range out {
				if !same(out[j], want[j]) {
					t.Fatalf("%v, of %g: %s = %g, want %g", v, in, sliceNames[j], out[j], want[j])
				}
			}
		}
	}
}

// Long enough for values of each kind in every lane and every block.
func TestValues(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		r := random(t, 13)
		for _, v := range variants {
			got := r.values(&v.RMSProp)
			want := got.clone()
			v.generic(want)
			v.step(got)
			got.requireSame(t, v, want)
		}
	})
}

// Every length of a few blocks and a tail, and some lengths with prefetching or several chunks,
// at any offset from a vector's boundary.
func TestAgainstGeneric(t *testing.T) {
	const longest = 3*chunk + 17
	var arenas [slicesPerTensor]arena
	for i := range arenas {
		arenas[i] = make(arena, longest+16+32)
	}
	tries := 8
	if testing.Short() {
		tries = 1
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 3)
		for i, v := range variants {
			lengths := []int{200, 256, 300, 577, 1000}
			if i == 0 { // the chunks are the same for all
				lengths = append(lengths, 4099, chunk-1, chunk, chunk+1, longest)
			}
			for n := range 131 {
				lengths = append(lengths, n)
			}
			for _, n := range lengths {
				d := v.allocate(n)
				r.training(d)
				for i := range n / 16 { // every block may have a special value
					d.put(16*i+r.intn(16), r.special)
				}
				want := d.clone()
				v.generic(want)
				for range tries {
					var offsets [slicesPerTensor]int
					got := d.replace(func(i int, x []float32) []float32 {
						offsets[i] = r.intn(16)
						return arenas[i].place(offsets[i], x)
					})
					v.step(got)
					got.requireSame(t, fmt.Sprintf("%v, offsets %d", v, offsets), want)
					for i, x := range d.all() {
						if x != nil && !arenas[i].intact(offsets[i], n) {
							t.Fatalf("%v, %d elements, offsets %d: memory beside %s was written", v, n, offsets, sliceNames[i])
						}
					}
				}
			}
		}
	})
}

func TestSplits(t *testing.T) {
	const n = chunk + 1000
	longest := []int{2, 5, 175, 6125}
	if testing.Short() {
		longest = longest[2:]
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 4)
		for _, v := range variants {
			d := v.allocate(n)
			r.training(d)
			whole, want := d.clone(), d.clone()
			v.generic(want)
			v.step(whole)
			whole.requireSame(t, v, want)
			for _, longest := range longest {
				got := d.clone()
				for at := 0; at < n; {
					end := min(n, at+1+r.intn(longest))
					v.step(got.slice(at, end))
					at = end
				}
				got.requireSame(t, v, want)
			}
		}
	})
}

func TestConcurrent(t *testing.T) {
	const n = chunk + 1003
	forEachISA(t, func(t *testing.T) {
		r := random(t, 5)
		for _, v := range []variant{{usual, byUpdate}, {everything, byMethod}} {
			got := v.allocate(n)
			r.training(got)
			want := got.clone()
			v.generic(want)
			var wg waitGroup
			for at := 0; at < n; at += 101 { // neighbours share a cache line and a vector
				wg.Go(func() { v.step(got.slice(at, min(n, at+101))) })
			}
			wg.Wait()
			got.requireSame(t, v, want)
		}
	})
}

// On ordinary data the rules for tiny inputs change nothing: this is the published formula.
func TestTextbookFormula(t *testing.T) {
	r := random(t, 2)
	forEachISA(t, func(t *testing.T) {
		d := usual.allocate(1000)
		r.training(d)
		want := d.clone()
		lr, rho, c, eps := float32(usual.LR), float32(usual.Rho), float32(1-usual.Rho), float32(usual.Eps)
		for range 10 {
			Update(d.theta, d.grad, d.s, usual.LR, usual.Rho, usual.Eps)
			for i, g := range d.grad {
				want.s[i] = float32(rho*want.s[i]) + float32(c*float32(g*g))
				root := float32(math.Sqrt(float64(want.s[i] + eps)))
				want.theta[i] -= float32(float32(lr/root) * g)
			}
		}
		d.requireSame(t, "the textbook", want)
	})
}

// Hyperparameters are rounded once; 1 - rho is rounded after the subtraction.
func TestFloatTypes(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		theta64, s64, grad := []float32{1, 2}, []float32{0.5, 0}, []float32{0.1, -3}
		theta32, s32 := slices.Clone(theta64), slices.Clone(s64)
		Update(theta64, grad, s64, 0.01, 0.999, 1e-8)
		lr, rho, eps := float32(0.01), float32(0.999), float32(1e-8)
		Update(theta32, grad, s32, lr, rho, eps)
		// As float64, float32(0.999) is another number than 0.999, and so is its 1 - rho.
		o := RMSProp{LR: float64(lr), Rho: float64(rho), Eps: float64(eps)}
		want := o.definition(new(rounding), [slicesPerTensor]float32{1, 0.1, 0.5})
		if theta32[0] != want[0] || s32[0] != want[2] {
			t.Errorf("float32: theta = %g, s = %g, want %g, %g", theta32[0], s32[0], want[0], want[2])
		}
		if c := float32(0.001); s64[1] != c*9 {
			t.Errorf("float64: s = %g, want 0.001 * 9 = %g", s64[1], c*9)
		}
		if s32[1] == s64[1] {
			t.Errorf("1 - rho does not depend on rho's type: %g", s32[1])
		}
	})
}

var updateGolden = flag.Bool("update", false, "rewrite testdata/golden.txt from the generic code")

// goldenSums computes steps with new gradients in each. It returns a line for each variant, with
// the hash of theta, s, m and b after the last step.
func goldenSums() string {
	golden := []variant{{usual, byUpdate}}
	for i, o := range []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax()} {
		golden = append(golden, variant{o, byMethod})
		for j := range 3 {
			o.Centered = j > 0
			o.Momentum = 0.9
			o.WeightDecay = 0.01
			o.DecoupledDecay = i%2 == 0
			o.Nesterov = j == 2
			o.Maximize = j == 1
			o.LossScale = 2
			golden = append(golden, variant{o, byMethod})
		}
	}
	for _, o := range []RMSProp{Adam(), AdamW()} {
		golden = append(golden, variant{o, byMethod})
		o.BiasCorrection, o.EpsOutside, o.Maximize, o.LossScale = false, false, true, 2
		golden = append(golden, variant{o, byMethod})
	}
	var out strings.Builder
	const n, steps = 1009, 100
	for _, v := range golden {
		d, unused := v.allocate(n), v.allocate(n)
		r := generator(2012)
		r.ordinary(d.theta, unused.grad, d.s)
		st := d.state()
		for range steps {
			r.ordinary(unused.theta, d.grad, unused.s)
			if v.by == byUpdate {
				v.step(d)
			} else {
				v.Update(d.theta, d.grad, st)
			}
		}
		sum := sha256.New()
		for _, x := range [][]float32{d.theta, d.s, d.m, d.b} {
			binary.Write(sum, binary.LittleEndian, x)
		}
		fmt.Fprintf(&out, "%x %v\n", sum.Sum(nil), v)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	const file = "testdata/golden.txt"
	if *updateGolden {
		useISA(t, "generic")
		if err := os.WriteFile(file, []byte(goldenSums()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forEachISA(t, func(t *testing.T) {
		if got := goldenSums(); got != string(want) {
			t.Errorf("after the last step:\n%swant\n%s", got, want)
		}
	})
}

// ---- Extreme coefficients ----

// combinations calls f with coefficients for each combination of options, including ones that
// RMSProp does not allow. The numbers change from one to the next.
func combinations(r *generator, f func(k *coeffs)) {
	one := func(x ...float32) float32 { return x[r.intn(len(x))] }
	for options := range uint32(2 * optionDecoupled) { // the others follow from the numbers
		h := numbers[r.intn(len(numbers))]
		k := h.rounded(1, 1)
		k.options = options | optionEpsInside
		if r.intn(4) == 0 { // on either side of the smallest root in software
			k.eps = one(0x1p-100, math.Nextafter32(0x1p-100, 0), 0x1p-125)
		}
		if r.intn(2) == 0 {
			k.options = options | optionEpsOutside
			k.eps, k.epsOutside = 0, float32(h.Eps)
		}
		k.scale = one(1, 1, -1, 1, 0x1p-16, 1e-20, 3, -1024, 0x1p11, 0x1p26, 1e30, 1e-42)
		k.clip = one(1, 0.01, 1e-20, 1e10, 0x1p-126, math.MaxFloat32)
		k.negClip = -k.clip
		k.decay = one(1e-4, 0.01, 0.1, 5, 1e-20, 1e10, 1e-42)
		k.first = one(0.9, 0.5, 0.999, 0x1p-30, 1e-45, 0)
		k.cFirst = 1 - k.first
		k.minFirst = reach(k.first, minNormal)
		k.mu = one(0.9, 0.99, 0.5, 0x1p-30, 1e-45, 0)
		k.lrDecay = one(1e-5, 0.01, 1, 1e-42, 1e20, 0)
		k.minScaled, k.minDecay = reach(k.scale, minTerm), reach(k.decay, minTerm)
		k.minBuffer, k.minTheta = reach(k.mu, minNormal), reach(k.lrDecay, minNormal)
		if options&optionLROutside != 0 {
			k.lr, k.lrOutside = 1, k.lr
			k.minUpdate = reach(k.lrOutside, minNormal)
		}
		f(&k)
	}
}

// arrays lists the sets of arrays that a step may need, with options that need them.
var arrays = []struct {
	name string
	RMSProp
	layout layout
}{
	{"plain", RMSProp{}, layoutPlain},
	{"momentum", RMSProp{Momentum: 0.9}, layoutMomentum},
	{"centered", RMSProp{Centered: true}, layoutCentered},
	{"centered momentum", RMSProp{Centered: true, Momentum: 0.9}, layoutCentered | layoutMomentum},
	{"first moment", RMSProp{FirstMoment: 0.9}, layoutFirstMoment},
}

// extreme returns n elements, most of which are extreme.
func (r *generator) extreme(n int, o *RMSProp) tensorData {
	d := o.allocate(n)
	r.training(d)
	for i := range n {
		switch r.intn(8) {
		case 0, 1, 2:
			d.put(i, r.special)
		case 3: // any bits
			d.put(i, r.bits)
		case 4: // live, with a mean too small for a root in software
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
				} else if testing.Short() && n > 20 && n%11 != 0 { // some lengths of tails are enough
					continue
				}
				combinations(&r, func(k *coeffs) {
					k.firstMoment = l.FirstMoment != 0
					k.options |= k.masked(l.Centered)
					d := r.extreme(max(n, 1), &l.RMSProp)
					want := d.clone()
					want.generic(k)
					got := d.clone()
					got.run(k)
					got.leaveOut(bad, k, want)
					got.requireSame(t, fmt.Sprintf("%s %+v", l.name, *k), want)
				})
			}
		}
	})
}

// After the gradients end, no mean and no buffer stays subnormal, and theta keeps its value
// unless decay or momentum moves it.
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
			variant{o, byMethod}.step(d)
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
			variant{o, byMethod}.step(d)
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

// Neutral options change no bit.
func TestNeutralOptions(t *testing.T) {
	r := random(t, 27)
	for _, o := range optionSets {
		same := o
		if o.Momentum == 0 && o.FirstMoment == 0 {
			same.Nesterov = !same.Nesterov
		}
		if !o.BiasCorrection {
			if same.EpsHat = true; same.Validate() != nil { // Eps/(1-Rho) is not finite
				same.EpsHat = false
			}
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
