package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// ---- Option sets ----

// factors are the options, each with its levels, the first of which is off.
// Those that need one another are one factor.
var factors = func() [][]func(o *RMSProp) {
	numbers := []func(o *RMSProp){}
	for _, h := range hypers {
		numbers = append(numbers, func(o *RMSProp) { o.LR, o.Rho, o.Eps = h.lr, h.rho, h.eps })
	}
	off := func(o *RMSProp) {}
	return [][]func(o *RMSProp){
		numbers,
		{off, func(o *RMSProp) { o.Momentum = 0.9 }, func(o *RMSProp) { o.Momentum, o.Nesterov = 0.5, true }},
		{off, func(o *RMSProp) { o.Centered = true }},
		{off, func(o *RMSProp) { o.WeightDecay = 0.01 },
			func(o *RMSProp) { o.WeightDecay, o.DecoupledDecay = 0.1, true }},
		{off, func(o *RMSProp) { o.LossScale = 1024 }, func(o *RMSProp) { o.LossScale = 1.0 / 3 }},
		{off, func(o *RMSProp) { o.Maximize = true }},
		{off, func(o *RMSProp) { o.EpsOutside = true }},
		{off, func(o *RMSProp) { o.LROutside = true }},
		{off, func(o *RMSProp) { o.ClipValue = 0.05 }},
	}
}()

// pairwise returns rows of one level for each factor, in which any two levels
// of any two factors meet. It starts each row with a pair that has not met yet
// and chooses the other levels, one after the other, to make most pairs meet.
func pairwise(levels []int) [][]int {
	type pair struct{ f, a, g, b int } // level a of factor f with level b of factor g, f < g
	open := map[pair]bool{}
	var order []pair
	for g := range levels {
		for f := range g {
			for a := range levels[f] {
				for b := range levels[g] {
					order = append(order, pair{f, a, g, b})
					open[pair{f, a, g, b}] = true
				}
			}
		}
	}
	var rows [][]int
	for _, first := range order {
		if !open[first] {
			continue
		}
		row := slices.Repeat([]int{-1}, len(levels))
		row[first.f], row[first.g] = first.a, first.b
		for f := range levels {
			met := func(a int) (n int) {
				for g, b := range row {
					if b >= 0 && (g < f && open[pair{g, b, f, a}] || g > f && open[pair{f, a, g, b}]) {
						n++
					}
				}
				return n
			}
			if row[f] < 0 {
				for a := range levels[f] {
					if row[f] < 0 || met(a) > met(row[f]) {
						row[f] = a
					}
				}
			}
		}
		for g, b := range row {
			for f, a := range row[:g] {
				delete(open, pair{f, a, g, b})
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// optionSets has every pair of options, and the presets.
var optionSets = func() []RMSProp {
	sets := []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax(), Gorgonia(), GoMLX()}
	var levels []int
	for _, f := range factors {
		levels = append(levels, len(f))
	}
	for _, row := range pairwise(levels) {
		var o RMSProp
		for f, level := range row {
			factors[f][level](&o)
		}
		sets = append(sets, o)
	}
	return sets
}()

func TestRMSPropOptionSets(t *testing.T) {
	rows := pairwise([]int{14, 3, 2, 3, 3, 2, 2, 2, 2})
	for g, ng := range []int{14, 3, 2, 3, 3, 2, 2, 2, 2} {
		for f, nf := range []int{14, 3, 2, 3, 3, 2, 2, 2, 2}[:g] {
			met := map[[2]int]bool{}
			for _, row := range rows {
				met[[2]int{row[f], row[g]}] = true
			}
			if len(met) != nf*ng {
				t.Errorf("factors %d and %d: %d of %d pairs in %d rows", f, g, len(met), nf*ng, len(rows))
			}
		}
	}
	for _, o := range optionSets {
		if err := o.Validate(); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
	t.Logf("%d option sets", len(optionSets))
}

// ---- What the tests of the family share ----

// tensorData is theta, grad, s, m and b of one tensor; m and b are nil where
// the options have none.
type tensorData struct{ theta, grad, s, m, b []float32 }

var sliceNames = [slicesPerTensor]string{"theta", "grad", "s", "m", "b"}

// at is one of the slices, in the order of sliceNames, where all are alike.
func (d *tensorData) at(i int) *[]float32 {
	return [...]*[]float32{&d.theta, &d.grad, &d.s, &d.m, &d.b}[i]
}

func (d *tensorData) all() [][]float32 { return [][]float32{d.theta, d.grad, d.s, d.m, d.b} }

func (d tensorData) clone() tensorData {
	for i, x := range d.all() {
		*d.at(i) = slices.Clone(x)
	}
	return d
}

func (d tensorData) slice(start, end int) tensorData {
	for i, x := range d.all() {
		*d.at(i) = part(x, start, end)
	}
	return d
}

func (d tensorData) state() *State { return &State{MeanSquare: d.s, MeanGrad: d.m, Momentum: d.b} }

func (d tensorData) requireSame(t testing.TB, where any, want tensorData) {
	t.Helper()
	for i, x := range want.all() {
		if got := *d.at(i); !bytes.Equal(bytesOf(got), bytesOf(x)) { // unequal NaNs are the same
			requireSame(t, fmt.Sprintf("%+v: %s", where, sliceNames[i]), got, x)
		}
	}
}

// allocate returns the slices that o needs, of n elements.
func (o *RMSProp) allocate(n int) tensorData {
	st := o.NewState(n)
	return tensorData{make([]float32, n), make([]float32, n), st.MeanSquare, st.MeanGrad, st.Momentum}
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

// special puts a special value into every slice of an element of d.
func (r *generator) special(d tensorData, i int) {
	for _, x := range d.all() {
		if x != nil {
			x[i] = specials[r.intn(len(specials))]
		}
	}
}

func (o *RMSProp) rounded(factor float64, step int) (p params) {
	p.round(o, factor, o.rhoAt(step))
	return p
}

func (d tensorData) generic(o *RMSProp) {
	p := o.rounded(1, 1)
	familyGeneric(d.theta, d.grad, d.s, d.m, d.b, &p)
}

// step takes the step with the implementation in use, and with the family's kernel
// though it be the plain member.
func (d tensorData) step(o *RMSProp) {
	p := o.rounded(1, 1)
	d.family(&p)
}

func (d tensorData) family(p *params) {
	p.plain = false
	c := p.call(d.theta, d.grad, d.state())
	c.run(c.n)
}

// ---- Bits ----

func TestMemberOracle(t *testing.T) {
	const n = 6000
	r := random(t, 11)
	for _, o := range optionSets {
		d := o.allocate(n)
		r.training(d)
		for i := n / 3; i < n; i++ {
			if i%2 == 0 {
				r.special(d, i)
				continue
			}
			for _, x := range d.all() { // every bit pattern is equally likely
				if x != nil {
					x[i] = math.Float32frombits(uint32(r.next()))
				}
			}
		}
		got := d.clone()
		got.generic(&o)
		at := func(d tensorData, i int) (x [5]float32) {
			for j, y := range d.all() {
				if y != nil {
					x[j] = y[i]
				}
			}
			return x
		}
		for i := range n {
			in, out := at(d, i), at(got, i)
			want := o.oracle(new(rounding), in)
			for j := range out {
				if !same(out[j], want[j]) {
					t.Fatalf("%+v, of %g: %s = %g, want %g", o, in, sliceNames[j], out[j], want[j])
				}
			}
		}
	}
}

// A step through the public method, which may leave it to Update's kernel, is the
// family's, with each option alone and with every pair.
func TestRMSPropUpdate(t *testing.T) {
	sets := slices.Clone(optionSets)
	for _, levels := range factors {
		for _, level := range levels {
			o := RMSProp{LR: usual.lr, Rho: usual.rho, Eps: usual.eps}
			level(&o)
			sets = append(sets, o)
		}
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 31)
		for _, o := range sets {
			got := o.allocate(100)
			r.training(got)
			want := got.clone()
			want.generic(&o)
			o.Update(got.theta, got.grad, got.state())
			got.requireSame(t, o, want)
		}
	})
}

func TestMemberAgainstGeneric(t *testing.T) {
	const longest = 130
	var arenas [5]arena
	for i := range arenas {
		arenas[i] = make(arena, longest+16+32)
	}
	offsets := 3
	if testing.Short() {
		offsets = 1
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 12)
		for _, o := range optionSets {
			for n := range longest + 1 {
				d := o.allocate(n)
				r.training(d)
				for i := range n / 16 { // every block may have a special value
					r.special(d, 16*i+r.intn(16))
				}
				want := d.clone()
				want.generic(&o)
				for range offsets {
					var got tensorData
					var at [5]int
					for j, x := range d.all() {
						if at[j] = r.intn(16); x != nil {
							*got.at(j) = arenas[j].place(at[j], x)
						}
					}
					got.step(&o)
					got.requireSame(t, fmt.Sprintf("%+v, offsets %d", o, at), want)
					for j, x := range d.all() {
						if x != nil && !arenas[j].intact(at[j], n) {
							t.Fatalf("%+v, offsets %d: memory beside %s was written", o, at, sliceNames[j])
						}
					}
				}
			}
		}
	})
}

// Long enough that special values meet in every lane and in every block.
func TestMemberSpecialValues(t *testing.T) {
	const n = 8192 + 5
	forEachISA(t, func(t *testing.T) {
		r := random(t, 13)
		for _, o := range optionSets {
			d := o.allocate(n)
			r.training(d)
			for i := range n {
				if i < n/2 || r.intn(32) == 0 {
					r.special(d, i)
				}
			}
			want := d.clone()
			want.generic(&o)
			d.step(&o)
			d.requireSame(t, o, want)
		}
	})
}

// Where nothing comes in any more, no mean and no buffer stays subnormal, and
// theta keeps its value unless decay or momentum moves it.
func TestMemberDead(t *testing.T) {
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
			d.step(&o)
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
func TestMemberNegativeVariance(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		for _, outside := range []bool{false, true} {
			o := RMSProp{LR: 0.1, Rho: 1, Eps: 0.25, Centered: true, EpsOutside: outside}
			d := tensorData{theta: []float32{1, 1}, grad: []float32{1, 1}, s: []float32{1, 1}, m: []float32{1.5, float32(math.NaN())}}
			d.step(&o)
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

func TestMemberSplits(t *testing.T) {
	const n = chunk + 1000
	forEachISA(t, func(t *testing.T) {
		r := random(t, 14)
		for _, o := range optionSets {
			d := o.allocate(n)
			r.training(d)
			whole, want := d.clone(), d.clone()
			want.generic(&o)
			o.Update(whole.theta, whole.grad, whole.state())
			whole.requireSame(t, o, want)
			longest := 5
			if testing.Short() {
				longest = 5 * 35
			}
			for ; longest < n; longest *= 35 {
				got := d.clone()
				for at := 0; at < n; {
					end := min(n, at+1+r.intn(longest))
					piece := got.slice(at, end)
					o.Update(piece.theta, piece.grad, piece.state())
					at = end
				}
				got.requireSame(t, o, want)
			}
		}
	})
}

// The plain member is Update, and the family's kernel for it agrees.
func TestRMSPropPlain(t *testing.T) {
	const n = chunk + 77
	theta, grad, s := allSpecials()
	r := random(t, 15)
	forEachISA(t, func(t *testing.T) {
		for _, h := range hypers {
			o := RMSProp{LR: h.lr, Rho: h.rho, Eps: h.eps}
			random := o.allocate(n)
			r.training(random)
			for _, d := range []tensorData{random, {theta: theta, grad: grad, s: s}} {
				want, family := d.clone(), d.clone()
				Update(want.theta, want.grad, want.s, h.lr, h.rho, h.eps)
				family.step(&o)
				family.requireSame(t, o, want)
				got := d.clone()
				o.Update(got.theta, got.grad, got.state())
				got.requireSame(t, o, want)
				if k := o.rounded(1, 1); !k.plain {
					t.Errorf("%+v does not take Update's way", o)
				}
			}
		}
	})
	for _, o := range optionSets {
		bare := RMSProp{LR: o.LR, Rho: o.Rho, Eps: o.Eps, InitialMeanSquare: o.InitialMeanSquare}
		bare.DecoupledDecay = o.DecoupledDecay && o.WeightDecay == 0 // there is nothing to decouple
		if k := o.rounded(1, 1); k.plain != (o == bare) {
			t.Errorf("%+v: taken for plain: %v", o, k.plain)
		}
	}
}

// goldenFamilySums is what goldenSums is to Update, for a member a line.
func goldenFamilySums() string {
	const n = 1009
	members := []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax()}
	for i := range members {
		for variant := range 3 {
			o := members[i]
			o.Centered = variant > 0
			o.Momentum = 0.9
			o.WeightDecay = 0.01
			o.DecoupledDecay = i%2 == 0
			o.Nesterov = variant == 2
			o.Maximize = variant == 1
			o.LossScale = 2
			members = append(members, o)
		}
	}
	var out strings.Builder
	for _, o := range members {
		d, unused := o.allocate(n), o.allocate(n)
		r := generator(2015)
		r.ordinary(d.theta, unused.grad, unused.s)
		for range 50 {
			r.ordinary(unused.theta, d.grad, unused.s)
			o.Update(d.theta, d.grad, d.state())
		}
		sum := sha256.New()
		for _, x := range [][]float32{d.theta, d.s, d.m, d.b} {
			binary.Write(sum, binary.LittleEndian, x)
		}
		fmt.Fprintf(&out, "%x %+v\n", sum.Sum(nil), o)
	}
	return out.String()
}

func TestMemberGolden(t *testing.T) {
	const file = "testdata/golden-family.txt"
	if *updateGolden {
		useISA(t, "generic")
		if err := os.WriteFile(file, []byte(goldenFamilySums()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forEachISA(t, func(t *testing.T) {
		if got := goldenFamilySums(); got != string(want) {
			t.Errorf("after 50 steps:\n%swant\n%s", got, want)
		}
	})
}

// ---- Arguments ----

func TestRMSPropValidate(t *testing.T) {
	const (
		rate     = "must be in [0, 2^64]"
		finite   = "must be finite in float32 and not negative"
		momentum = "must be in [0, 1), also in float32"
		scale    = "must be in [2^-126, 2^126], or 0 for none"
		clip     = "must be 2^-126 or more and finite in float32, or 0 for none"
	)
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		change func(o *RMSProp)
		want   string // "" where that is fine
	}{
		{func(o *RMSProp) { o.LR = nan }, "LR = NaN: " + rate},
		{func(o *RMSProp) { o.LR = -1 }, "LR = -1: " + rate},
		{func(o *RMSProp) { o.LR = math.Nextafter(0, -1) }, "LR = -5e-324: " + rate},
		{func(o *RMSProp) { o.LR = 0x1p64 * (1 + 0x1p-23) }, "LR = 1.8446746272732807e+19: " + rate},
		{func(o *RMSProp) { o.LR = 0x1p64 * (1 + 0x1p-25) }, ""}, // rounds to 2^64
		{func(o *RMSProp) { o.LR = 0 }, ""},
		{func(o *RMSProp) { o.Rho = nan }, "Rho = NaN: must be in [0, 1]"},
		{func(o *RMSProp) { o.Rho = -0.5 }, "Rho = -0.5: must be in [0, 1]"},
		{func(o *RMSProp) { o.Rho = 1.5 }, "Rho = 1.5: must be in [0, 1]"},
		{func(o *RMSProp) { o.Rho = math.Nextafter(1, 2) }, "Rho = 1.0000000000000002: must be in [0, 1]"},
		{func(o *RMSProp) { o.Rho = 1 }, ""},
		{func(o *RMSProp) { o.Rho = 0 }, ""},
		{func(o *RMSProp) { o.Eps = nan }, "Eps = NaN: " + finite},
		{func(o *RMSProp) { o.Eps = -1e-7 }, "Eps = -1e-07: " + finite},
		{func(o *RMSProp) { o.Eps = inf }, "Eps = +Inf: " + finite},
		{func(o *RMSProp) { o.Eps = math.Nextafter(0x1p128-0x1p103, 0) }, ""}, // rounds to the largest there is
		{func(o *RMSProp) { o.Eps = 0x1p128 - 0x1p103 }, "Eps = 3.4028235677973366e+38: " + finite},
		{func(o *RMSProp) { o.Momentum = nan }, "Momentum = NaN: " + momentum},
		{func(o *RMSProp) { o.Momentum = -0.1 }, "Momentum = -0.1: " + momentum},
		{func(o *RMSProp) { o.Momentum = 1 }, "Momentum = 1: " + momentum},
		{func(o *RMSProp) { o.Momentum = 1 - 1e-9 }, "Momentum = 0.999999999: " + momentum},
		{func(o *RMSProp) { o.Nesterov = true }, ""},
		{func(o *RMSProp) { o.WeightDecay = nan }, "WeightDecay = NaN: " + finite},
		{func(o *RMSProp) { o.WeightDecay = -0.1 }, "WeightDecay = -0.1: " + finite},
		{func(o *RMSProp) { o.WeightDecay = inf }, "WeightDecay = +Inf: " + finite},
		{func(o *RMSProp) { o.DecoupledDecay = true }, ""},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 1e18, 1e30, true },
			"LR = 1e+18, WeightDecay = 1e+30: their product must be finite in float32"},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 1e18, 1e30, false }, ""},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 2, math.MaxFloat32/2, true }, ""},
		{func(o *RMSProp) { o.LossScale = nan }, "LossScale = NaN: " + scale},
		{func(o *RMSProp) { o.LossScale = -1 }, "LossScale = -1: " + scale},
		{func(o *RMSProp) { o.LossScale = inf }, "LossScale = +Inf: " + scale},
		{func(o *RMSProp) { o.LossScale = 1e-38 }, "LossScale = 1e-38: " + scale},
		{func(o *RMSProp) { o.LossScale = 1e38 }, "LossScale = 1e+38: " + scale},
		{func(o *RMSProp) { o.LossScale = 0x1p-126 }, ""},
		{func(o *RMSProp) { o.LossScale = 0x1p126 }, ""},
		{func(o *RMSProp) { o.ClipValue = nan }, "ClipValue = NaN: " + clip},
		{func(o *RMSProp) { o.ClipValue = -1 }, "ClipValue = -1: " + clip},
		{func(o *RMSProp) { o.ClipValue = inf }, "ClipValue = +Inf: " + clip},
		{func(o *RMSProp) { o.ClipValue = 1e-38 }, "ClipValue = 1e-38: " + clip},
		{func(o *RMSProp) { o.ClipValue = 0x1p-126 }, ""},
		{func(o *RMSProp) { o.ClipValue = math.MaxFloat32 }, ""},
		{func(o *RMSProp) { o.InitialMeanSquare = nan }, "InitialMeanSquare = NaN: " + finite},
		{func(o *RMSProp) { o.InitialMeanSquare = -1 }, "InitialMeanSquare = -1: " + finite},
		{func(o *RMSProp) { o.LR, o.Rho, o.Momentum = -1, 2, 1 },
			"LR = -1: " + rate + "; Rho = 2: must be in [0, 1]; Momentum = 1: " + momentum},
	}
	for _, test := range tests {
		o := Keras()
		test.change(&o)
		err := o.Validate()
		if o.valid() != (test.want == "") {
			t.Errorf("%+v: valid: %v", o, o.valid())
		}
		if test.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if _, ok := errorAs[*ArgumentError](err); !ok {
			t.Errorf("Validate() = %v, want *ArgumentErrors: %s", err, test.want)
			continue
		}
		want := "kernel: " + strings.ReplaceAll(test.want, "; ", "\nkernel: ")
		if err.Error() != want {
			t.Errorf("Validate():\n%v\nwant\n%s", err, want)
		}
		theta, grad, s := []float32{1}, []float32{2}, []float32{3}
		requirePanic(t, test.want, func() { o.Update(theta, grad, &State{MeanSquare: s}) })
		requirePanic(t, test.want, func() { o.UpdateRows(theta, grad, &State{MeanSquare: s}, []int{0}, 1) })
		requirePanic(t, test.want, func() { o.NewState(1) })
		if theta[0] != 1 || s[0] != 3 {
			t.Errorf("something was written before the panic: %s", test.want)
		}
	}
}

// requirePanic wants a panic of f with an *ArgumentError whose message has all
// that want says, between semicolons.
func requirePanic(t *testing.T, want string, f func()) {
	t.Helper()
	err := recovered(f)
	argument, ok := errorAs[*ArgumentError](err)
	if !ok {
		t.Errorf("panic value %v, want an *ArgumentError: %s", err, want)
		return
	}
	for _, part := range strings.Split(want, "; ") {
		if !slices.Contains(strings.Split(strings.TrimPrefix(argument.Error(), "kernel: "), "; "), part) {
			t.Errorf("message:\n%s\nlacks\n%s", err, part)
		}
	}
}

func TestRMSPropPanics(t *testing.T) {
	memory := make([]float32, 24)
	const (
		lengths = ": lengths must be equal"
		apart   = ": they must be apart in memory"
	)
	type call struct {
		RMSProp
		d    tensorData
		step int
		rows []int
	}
	both := Keras()
	both.Centered, both.Momentum = true, 0.9
	tests := []struct {
		change func(c *call)
		want   string
	}{
		{func(c *call) { c.d.grad = c.d.grad[:3] }, "len(grad) = 3, len(theta) = 4" + lengths},
		{func(c *call) { c.d.s = c.d.s[:3] }, "len(st.MeanSquare) = 3, len(theta) = 4" + lengths},
		{func(c *call) { c.d.m = c.d.m[:3] }, "len(st.MeanGrad) = 3, len(theta) = 4, Centered = true" + lengths},
		{func(c *call) { c.d.b = c.d.b[:3] }, "len(st.Momentum) = 3, len(theta) = 4, Momentum = 0.9" + lengths},
		{func(c *call) { c.d.m = nil }, "len(st.MeanGrad) = 0, len(theta) = 4, Centered = true: missing, the option needs it"},
		{func(c *call) { c.d.b = nil }, "len(st.Momentum) = 0, len(theta) = 4, Momentum = 0.9: missing, the option needs it"},
		{func(c *call) { c.d.m, c.d.b = nil, nil }, "len(st.MeanGrad) = 0, len(theta) = 4, Centered = true: missing, the option needs it; " +
			"len(st.Momentum) = 0, len(theta) = 4, Momentum = 0.9: missing, the option needs it"},
		{func(c *call) { c.Centered = false }, "len(st.MeanGrad) = 4, len(theta) = 4, Centered = false: must be empty without that option"},
		{func(c *call) { c.Momentum = 0; c.d.b = c.d.b[:3] }, "len(st.Momentum) = 3, len(theta) = 4, Momentum = 0" + lengths},
		{func(c *call) { c.step = -1 }, "st.Step = -1: must not be negative"},
		{func(c *call) { c.d.grad = c.d.theta }, "theta and grad overlap: grad begins 0 bytes from theta, len(theta) = 4" + apart},
		{func(c *call) { c.d.s = c.d.theta }, "theta and st.MeanSquare overlap: st.MeanSquare begins 0 bytes from theta, len(theta) = 4" + apart},
		{func(c *call) { c.d.m = memory[11:15] }, "st.MeanSquare and st.MeanGrad overlap: st.MeanGrad begins 12 bytes from st.MeanSquare, len(st.MeanSquare) = 4" + apart},
		{func(c *call) { c.d.m = memory[1:5] }, "theta and st.MeanGrad overlap: st.MeanGrad begins 4 bytes from theta, len(theta) = 4" + apart},
		{func(c *call) { c.d.m = memory[5:9] }, "grad and st.MeanGrad overlap: st.MeanGrad begins 4 bytes from grad, len(grad) = 4" + apart},
		{func(c *call) { c.d.s = memory[7:11] }, "grad and st.MeanSquare overlap: st.MeanSquare begins 12 bytes from grad, len(grad) = 4" + apart},
		{func(c *call) { c.d.b = memory[3:7] }, "theta and st.Momentum overlap: st.Momentum begins 12 bytes from theta, len(theta) = 4" + apart},
		{func(c *call) { c.d.b = memory[7:11] }, "grad and st.Momentum overlap: st.Momentum begins 12 bytes from grad, len(grad) = 4" + apart},
		{func(c *call) { c.d.b = memory[9:13] }, "st.MeanSquare and st.Momentum overlap: st.Momentum begins 4 bytes from st.MeanSquare, len(st.MeanSquare) = 4" + apart},
		{func(c *call) { c.d.b = memory[13:17] }, "st.MeanGrad and st.Momentum overlap: st.Momentum begins 4 bytes from st.MeanGrad, len(st.MeanGrad) = 4" + apart},
		{func(c *call) { c.rows = []int{2} }, "rows[0] = 2: must be in [0, 2), the rows of theta"},
		{func(c *call) { c.rows = []int{0, -1} }, "rows[1] = -1: must be in [0, 2), the rows of theta"},
		{func(c *call) { c.rows = []int{1, 1} }, "rows[0] = rows[1] = 1: a row may be listed once"},
		{func(c *call) { c.rows = []int{1} }, "len(grad) = 4, len(rows) = 1, width = 2: grad must have a row for each of rows"},
		{func(c *call) { c.rows = []int{0, 1}; c.d.grad = make([]float32, 5) }, "len(grad) = 5, len(rows) = 2, width = 2: grad must have a row for each of rows"},
		{func(c *call) { c.rows = []int{0}; c.d.grad = memory[19:21] }, "st.Momentum and grad overlap: grad begins 12 bytes from st.Momentum, len(st.Momentum) = 4" + apart},
	}
	forEachISA(t, func(t *testing.T) {
		for _, test := range tests {
			for i := range memory {
				memory[i] = float32(i + 1)
			}
			c := call{RMSProp: both}
			for i := range sliceNames {
				*c.d.at(i) = memory[4*i:][:4]
			}
			test.change(&c)
			st := c.d.state()
			st.Step = c.step
			if c.rows == nil {
				requirePanic(t, test.want, func() { c.Update(c.d.theta, c.d.grad, st) })
				if len(c.d.grad) != 4 { // another message
					continue
				}
				c.rows = []int{1, 0}
			}
			requirePanic(t, test.want, func() { c.UpdateRows(c.d.theta, c.d.grad, st, c.rows, 2) })
			if st.Step != c.step {
				t.Errorf("a step was counted before the panic: %s", test.want)
			}
			for i, x := range memory {
				if x != float32(i+1) {
					t.Errorf("element %d was written before the panic: %s", i, test.want)
				}
			}
		}
	})
	o := Keras()
	requirePanic(t, "st = nil: missing, NewState makes one", func() { o.Update(memory[:1], memory[1:2], nil) })
	requirePanic(t, "n = -1: must not be negative", func() { o.NewState(-1) })
	requirePanic(t, "width = 0: must be positive", func() { o.UpdateRows(nil, nil, o.NewState(0), nil, 0) })
	requirePanic(t, "len(theta) = 3, width = 2: theta must be whole rows",
		func() { o.UpdateRows(memory[:3], nil, o.NewState(3), nil, 2) })
	o.Update(nil, nil, o.NewState(0))
	o.UpdateRows(nil, nil, o.NewState(0), nil, 1)
	// Any two that are the same, and nothing else.
	for i := range memory {
		memory[i] = 1
	}
	for i := range slicesPerTensor {
		for j := range i {
			var d tensorData
			for k := range sliceNames {
				*d.at(k) = memory[4*k:][:4]
			}
			*d.at(i) = *d.at(j)
			for name, f := range map[string]func(){
				"Update":     func() { both.Update(d.theta, d.grad, d.state()) },
				"UpdateRows": func() { both.UpdateRows(d.theta, d.grad, d.state(), []int{0, 1}, 2) },
			} {
				if _, ok := errorAs[*ArgumentError](recovered(f)); !ok {
					t.Errorf("%s: no panic where %s is %s", name, sliceNames[i], sliceNames[j])
				}
			}
		}
	}
	if slices.ContainsFunc(memory, func(x float32) bool { return x != 1 }) {
		t.Errorf("written before a panic: %g", memory)
	}
	// Slices side by side, and an empty one inside another, do not overlap.
	o.UpdateRows(memory[:4], memory[2:2], &State{MeanSquare: memory[8:12]}, nil, 2)
	o.Update(memory[:4], memory[4:8], &State{MeanSquare: memory[8:12], MeanGrad: memory[2:2], Momentum: memory[6:6]})
	o.Update(memory[1:1], memory[2:2], &State{MeanSquare: memory[3:3]})
}

// Neutral options have the bits of those without.
func TestRMSPropNeutralOptions(t *testing.T) {
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
			r.special(d, i)
		}
		got := d.clone()
		o.Update(d.theta, d.grad, d.state())
		same.Update(got.theta, got.grad, got.state())
		got.requireSame(t, o, d)
	}
}

// ---- Bias correction ----

func TestRMSPropRhoAt(t *testing.T) {
	for _, rho := range []float64{0, 1e-300, 0.5, 0.9, 0.95, 0.99, 0.999, 1 - 1e-6, math.Nextafter(1, 0)} {
		o := RMSProp{Rho: rho, BiasCorrection: true}
		if got := o.rhoAt(1); got != 0 {
			t.Errorf("Rho = %v: %v at step 1, want 0", rho, got)
		}
		// The means of Adam, corrected: s_t/(1-rho^t) is a mean of s_(t-1)/(1-rho^(t-1)) and g².
		power := new(big.Float).SetPrec(200).SetInt64(1)
		one := new(big.Float).SetPrec(200).SetInt64(1)
		exact := new(big.Float).SetPrec(200).SetFloat64(rho)
		for step := 1; step <= 2000; step++ {
			before := new(big.Float).Sub(one, power)
			power.Mul(power, exact)
			want := new(big.Float).Mul(exact, before)
			want.Quo(want, new(big.Float).Sub(one, power))
			w, _ := want.Float64()
			if got := o.rhoAt(step); math.Abs(got-w) > 1e-15 {
				t.Fatalf("Rho = %v: %v at step %d, want %v", rho, got, step, w)
			}
		}
		if got := o.rhoAt(math.MaxInt); math.Abs(got-rho) > 1e-12 && rho < 1-1e-9 {
			t.Errorf("Rho = %v: %v in the end", rho, got)
		}
		o.BiasCorrection = false
		if got := o.rhoAt(1); got != rho {
			t.Errorf("Rho = %v: %v without BiasCorrection", rho, got)
		}
	}
	o := RMSProp{Rho: 1, BiasCorrection: true} // the mean of all steps
	for step := 1; step < 100; step++ {
		if got, want := o.rhoAt(step), float64(step-1)/float64(step); math.Abs(got-want) > 1e-15 {
			t.Errorf("Rho = 1: %v at step %d, want %v", got, step, want)
		}
	}
}

// The first step forgets what was there, NaN too; a state that says it is
// further does not. Steps are counted with and without.
func TestRMSPropBiasCorrectionStart(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		o := Optax()
		o.LR, o.Eps, o.BiasCorrection, o.Centered = 0.5, 0, true, true
		o.Eps = 1
		theta, grad := []float32{0, 0}, []float32{2, 2}
		st := &State{MeanSquare: []float32{7, 1e30}, MeanGrad: []float32{3, -3}}
		o.Update(theta, grad, st)
		requireSame(t, "s", st.MeanSquare, []float32{4, 4})
		requireSame(t, "m", st.MeanGrad, []float32{2, 2})
		requireSame(t, "theta", theta, []float32{-1, -1})
		if st.Step != 1 {
			t.Errorf("Step = %d", st.Step)
		}
		grad[0] = 0
		o.Update(theta, grad, st) // rho_2 = 1 - 0.1/0.19 = 9/19
		requireSame(t, "s", st.MeanSquare[:1], []float32{float32(float32(9.0/19)*4) + 0})
		o.BiasCorrection = false
		o.Update(theta, grad, st)
		if st.Step != 3 {
			t.Errorf("Step = %d", st.Step)
		}
	})
}

func TestRMSPropNewState(t *testing.T) {
	for _, o := range optionSets {
		st := o.NewState(3)
		if len(st.MeanSquare) != 3 || (st.MeanGrad != nil) != o.Centered || (st.Momentum != nil) != (o.Momentum != 0) {
			t.Errorf("%+v: %+v", o, st)
		}
		if st.MeanSquare[2] != float32(o.InitialMeanSquare) {
			t.Errorf("%+v: MeanSquare = %g", o, st.MeanSquare)
		}
	}
}

// ---- Saving ----

func TestRMSPropStateSurvives(t *testing.T) {
	const n = 301
	codecs := map[string]func(in, out *State) error{
		"gob": func(in, out *State) error {
			var file bytes.Buffer
			return errors.Join(gob.NewEncoder(&file).Encode(in), gob.NewDecoder(&file).Decode(out))
		},
		"json": func(in, out *State) error {
			file, err := json.Marshal(in)
			return errors.Join(err, json.Unmarshal(file, out))
		},
	}
	for name, codec := range codecs {
		r := random(t, 18)
		for _, o := range optionSets {
			d := o.allocate(n)
			r.training(d)
			d.s[0], d.s[1] = 1e-40, float32(math.Copysign(0, -1))
			st := d.state()
			st.Step = 7
			read := new(State)
			if err := codec(st, read); err != nil {
				t.Fatal(name, err)
			}
			if !reflect.DeepEqual(st, read) {
				t.Fatalf("%s: %+v: read back as %v", name, o, read)
			}
			tensorData{d.theta, d.grad, read.MeanSquare, read.MeanGrad, read.Momentum}.requireSame(t, name, d) // -0 too
			theta := slices.Clone(d.theta)
			for range 3 {
				o.Update(d.theta, d.grad, st)
				o.Update(theta, d.grad, read)
			}
			tensorData{theta, d.grad, read.MeanSquare, read.MeanGrad, read.Momentum}.requireSame(t, name, d)
		}
	}
}

// What was saved before states had a Step reads as step 0.
func TestRMSPropStateWithoutStep(t *testing.T) {
	type old struct{ MeanSquare, MeanGrad, Momentum []float32 }
	var file bytes.Buffer
	read := new(State)
	if err := errors.Join(gob.NewEncoder(&file).Encode(old{[]float32{1}, nil, []float32{2}}), gob.NewDecoder(&file).Decode(read)); err != nil {
		t.Fatal(err)
	}
	want := &State{MeanSquare: []float32{1}, Momentum: []float32{2}}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("gob: %+v, want %+v", read, want)
	}
	read = new(State)
	if err := json.Unmarshal([]byte(`{"MeanSquare":[1],"MeanGrad":null,"Momentum":[2]}`), read); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("json: %+v, want %+v", read, want)
	}
}

// Large states begin elsewhere in a page than each other, and than what Go makes:
// where all lie alike, memory is slower.
func TestNewStateStaggers(t *testing.T) {
	o := PyTorch()
	o.Centered, o.Momentum = true, 0.9
	for _, n := range []int{0, 1, long - 1, long, 16 * long} {
		st := o.NewState(n)
		begins := map[uintptr]bool{0: true}
		for _, x := range [][]float32{st.MeanSquare, st.MeanGrad, st.Momentum} {
			if len(x) != n || cap(x) != n && n >= long {
				t.Fatalf("%d elements, capacity %d, want %d", len(x), cap(x), n)
			}
			start, _ := extent(x)
			begins[start%pageSize] = true
		}
		if n >= long && len(begins) != 4 {
			t.Errorf("%d elements begin at %v of a page", n, begins)
		}
	}
}
