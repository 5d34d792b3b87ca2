package kernel

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"
)

// This file has what the tests of a step share: implementations and plans, data, and options.

// ---- Implementations and plans ----

// forEachISA runs f as a subtest with every implementation that this CPU supports, and again
// with each of its plans except the first, which short calls use anyway.
func forEachISA(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			useISA(t, name)
			f(t)
			for _, plan := range otherplanNames() {
				t.Run(plan, func(t *testing.T) {
					usePlan(t, plan)
					f(t)
				})
			}
		})
	}
}

// eachPlan selects every plan of every implementation, one after the other, and yields its name.
func eachPlan(t *testing.T) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range ISAs() {
			useISA(t, name)
			for _, plan := range append(planNames()[:1:1], otherplanNames()...) {
				usePlan(t, plan)
				if !yield(name + " " + plan) {
					return
				}
			}
		}
	}
}

// otherPlans returns the plans of the implementation in use except the first. Short tests have
// one for each kind of block, each with another prefetch distance.
func otherplanNames() (names []string) {
	all := plansInUse()
	for i, p := range all[1:] {
		kinds := max(len(all)/3, 1) // atDistances
		kind := (i + 1) % kinds
		if !testing.Short() || (kind > 0 || kinds == 1) && (i+1)/kinds == (kind+1)%3 {
			names = append(names, p.String())
		}
	}
	return names
}

// plansInUse returns the plans of the implementation in use.
func plansInUse() []plan {
	i, _ := selection()
	return plans[i]
}

// usePlan makes the implementation in use run every step with one plan.
func usePlan(t testing.TB, name string) {
	t.Helper()
	keepSelection(t)
	if err := setPlan(name); err != nil {
		t.Fatal(err)
	}
}

func useISA(t testing.TB, name string) {
	t.Helper()
	keepSelection(t)
	if err := SetISA(name); err != nil {
		t.Fatal(err)
	}
	if ISA() != name {
		t.Fatalf("ISA() = %q after SetISA(%q)", ISA(), name)
	}
}

// keepSelection restores the implementation and the plan after the test.
func keepSelection(t testing.TB) {
	before := selected.Load()
	t.Cleanup(func() { selected.Store(before) })
}

// ---- Comparing ----

// same compares bits. All NaNs are equal, because their sign and payload depend on the CPU.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// bytesOf returns the memory of x.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func requireSame(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s[%d] of %d = %g (%#08x), want %g (%#08x)", what, i, len(want),
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// recovered returns the error that f panics with, if it does.
func recovered(f func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	f()
	return nil
}

// ---- Tensors ----

// tensorData is theta, grad, s, m and b of one tensor; m and b are nil if the options do not use
// them.
type tensorData struct{ theta, grad, s, m, b []float32 }

var sliceNames = [slicesPerTensor]string{"theta", "grad", "s", "m", "b"}

// at returns slice i, in the order of sliceNames.
func (d *tensorData) at(i int) *[]float32 {
	return [...]*[]float32{&d.theta, &d.grad, &d.s, &d.m, &d.b}[i]
}

func (d *tensorData) all() [][]float32 { return [][]float32{d.theta, d.grad, d.s, d.m, d.b} }

// replace returns d with each of its slices replaced by the result of f.
func (d tensorData) replace(f func(i int, x []float32) []float32) tensorData {
	for i, x := range d.all() {
		if x != nil {
			*d.at(i) = f(i, x)
		}
	}
	return d
}

func (d tensorData) clone() tensorData {
	return d.replace(func(_ int, x []float32) []float32 { return slices.Clone(x) })
}

func (d tensorData) slice(start, end int) tensorData {
	return d.replace(func(_ int, x []float32) []float32 { return part(x, start, end) })
}

func (d tensorData) state() *State {
	return &State{MeanSquare: d.s, MeanGrad: d.m, MomentumBuffer: d.b}
}

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
	return tensorData{make([]float32, n), make([]float32, n), st.MeanSquare, st.MeanGrad, st.MomentumBuffer}
}

// arena is memory for a slice at any offset, with canaries around it.
type arena []float32

const canary = 12345.678

func (a arena) place(offset int, values []float32) []float32 {
	slice := a[16+offset:][:len(values):len(values)]
	copy(slice, values)
	for i := range 16 {
		a[offset+i], a[16+offset+len(values)+i] = canary, canary
	}
	return slice
}

func (a arena) intact(offset, n int) bool {
	for i := range 16 {
		if a[offset+i] != canary || a[16+offset+n+i] != canary {
			return false
		}
	}
	return true
}

// ---- Options ----

// A variant is a set of options and the entry point to call with them.
type variant struct {
	RMSProp
	by entryPoint
}

type entryPoint string

const (
	byUpdate entryPoint = "Update" // for LR, Rho and Eps alone
	byMethod entryPoint = "RMSProp.Update"
)

func (v variant) String() string { return fmt.Sprintf("%s, %+v", v.by, v.RMSProp) }

// step computes a step with the implementation in use.
func (v variant) step(d tensorData) {
	if v.by == byUpdate {
		Update(d.theta, d.grad, d.s, v.LR, v.Rho, v.Eps)
	} else {
		v.Update(d.theta, d.grad, d.state())
	}
}

// generic computes it in Go.
func (v variant) generic(d tensorData) {
	k := v.rounded(1, 1)
	d.generic(&k)
}

// rounded returns the coefficients of the given step, whose gradient is multiplied by factor.
func (o *RMSProp) rounded(factor float64, step int) (k coeffs) {
	k.round(o, factor, step)
	return k
}

func (d tensorData) generic(k *coeffs) {
	c := k.call(d.theta, d.grad, d.state())
	if c.n > 0 {
		updateGeneric(&c)
	}
}

// run computes a step with the implementation in use.
func (d tensorData) run(k *coeffs) {
	c := k.call(d.theta, d.grad, d.state())
	c.run(c.n)
}

var usual = RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7}

// everything has all arrays, and options whose steps need all of them.
var everything = RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9, Centered: true, WeightDecay: 0.01, ClipValue: 0.5}

// numbers has the usual hyperparameters and each extreme.
var numbers = []RMSProp{
	usual,
	{LR: 0.01, Rho: 0.99, Eps: 1e-8},
	{LR: 0.001, Rho: 0.999, Eps: 1e-20},
	{LR: 0, Rho: 0.9, Eps: 1e-7},
	{LR: 0.001, Rho: 0, Eps: 1e-7},
	{LR: 0.001, Rho: 1, Eps: 1e-7},
	{LR: 0.001, Rho: 0.9, Eps: 0},
	{LR: 0.001, Rho: 1, Eps: 0},
	{LR: 0, Rho: 0, Eps: 0},
	{LR: 1, Rho: 1 - 0x1p-25, Eps: 0}, // rho rounds to 1, c = 2^-25
	{LR: maxRate, Rho: 0.5, Eps: 0x1p-149},
	{LR: 0x1p-149, Rho: 0.9, Eps: 1},
	{LR: 1e10, Rho: 0.9, Eps: 1e-35},
	{LR: 0.1, Rho: 0.9, Eps: math.MaxFloat32},
}

// variants has Update with all numbers, then all optionSets. The first is Update with the usual
// numbers.
var variants = func() (all []variant) {
	for _, o := range numbers {
		all = append(all, variant{o, byUpdate})
	}
	for _, o := range optionSets {
		all = append(all, variant{o, byMethod})
	}
	return all
}()

// factors lists the options with their levels, the first of which is off. Options that need or
// exclude each other are one factor.
var factors = func() [][]func(o *RMSProp) {
	levels := []func(o *RMSProp){}
	for _, h := range numbers {
		levels = append(levels, func(o *RMSProp) { o.LR, o.Rho, o.Eps = h.LR, h.Rho, h.Eps })
	}
	off := func(o *RMSProp) {}
	return [][]func(o *RMSProp){
		levels,
		{off, func(o *RMSProp) { o.Momentum = 0.9 }, func(o *RMSProp) { o.Momentum, o.Nesterov = 0.5, true },
			func(o *RMSProp) { o.Centered = true },
			func(o *RMSProp) { o.Centered, o.Momentum = true, 0.9 },
			func(o *RMSProp) { o.Centered, o.Momentum, o.Nesterov = true, 0.5, true },
			func(o *RMSProp) { o.FirstMoment = 0.9 }},
		{off, func(o *RMSProp) { o.WeightDecay = 0.01 },
			func(o *RMSProp) { o.WeightDecay, o.DecoupledDecay = 0.1, true }},
		{off, func(o *RMSProp) { o.LossScale = 1024 }, func(o *RMSProp) { o.LossScale = 1.0 / 3 }},
		{off, func(o *RMSProp) { o.Maximize = true }},
		{off, func(o *RMSProp) { o.EpsOutside = true }},
		{off, func(o *RMSProp) { o.LROutside = true }},
		{off, func(o *RMSProp) { o.ClipValue = 0.05 }},
	}
}()

// optionSets has the presets, each option alone, and every pair of options.
var optionSets = func() []RMSProp {
	sets := []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax(), Gorgonia(), GoMLX(), Adam(), AdamW(), KerasAdam(), OptaxAdamW(), GoMLXAdam()}
	for _, levels := range factors[1:] {
		for _, level := range levels[1:] {
			o := usual
			level(&o)
			sets = append(sets, o)
		}
	}
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

func TestOptionSets(t *testing.T) {
	levels := []int{14, 7, 3, 3, 2, 2, 2, 2}
	rows := pairwise(levels)
	for g, ng := range levels {
		for f, nf := range levels[:g] {
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

// ---- Random data ----

var seedFlag = flag.Uint64("seed", 0, "of the tests' random numbers; 0: another one in each run")

// seed is the seed of the run.
var seed = sync.OnceValue(func() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixNano())
})

// random returns random numbers that differ from run to run and from stream to stream. A test
// that fails reports the seed that repeats the failure.
func random(t testing.TB, stream int) generator {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("again with -seed %d", seed())
		}
	})
	r := generator(seed() + uint64(stream))
	r = generator(r.next()) // no stream is a later part of another
	return r
}

// generator is SplitMix64 (Steele, Lea, Flood, 2014). It uses only integers, so it gives the
// same numbers everywhere.
type generator uint64

func (r *generator) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *generator) intn(n int) int { return int(r.next() % uint64(n)) }

// symmetric returns a multiple of 2^-23, uniform in [-1, 1).
func (r *generator) symmetric() float32 { return float32(int32(r.next()>>40)-1<<23) * 0x1p-23 }

// bits returns any float32: each bit pattern is equally likely.
func (r *generator) bits() float32 { return math.Float32frombits(uint32(r.next())) }

func (r *generator) special() float32 { return specials[r.intn(len(specials))] }

// specials lists the values at which something changes, their neighbors, and some between.
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

// ordinary fills slices as in training: theta around 1, gradients of
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

// training fills d as in training: m is at most the root of s, b has any sign.
func (r *generator) training(d tensorData) {
	r.ordinary(d.theta, d.grad, d.s)
	for i := range d.m {
		d.m[i] = r.symmetric() * float32(math.Sqrt(float64(d.s[i])))
	}
	for i := range d.b {
		d.b[i] = r.symmetric() * 0.1
	}
}

// put sets an element of each slice of d to a value of a kind.
func (d tensorData) put(i int, value func() float32) {
	for _, x := range d.all() {
		if x != nil {
			x[i] = value()
		}
	}
}

// values returns elements of all kinds that may matter: as in training, special values, any
// bits, and both sides of the thresholds of gradients and means. For the plain formula it has
// every special value with every other; short tests use a seventh of them.
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

// atThresholds returns gradients and means on either side of their thresholds, every one with
// every other.
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

// ---- From the libraries of newer versions than Go 1.24, the oldest that the module supports ----

// errorAs is errors.AsType of Go 1.26: it returns the first E in err, and reports whether there
// is one.
func errorAs[E error](err error) (found E, ok bool) {
	ok = errors.As(err, &found)
	return found, ok
}

// waitGroup has the method Go of Go 1.25, which runs f in a goroutine to wait for.
type waitGroup struct{ sync.WaitGroup }

func (wg *waitGroup) Go(f func()) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		f()
	}()
}
