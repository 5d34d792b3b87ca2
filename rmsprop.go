package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"
)

// RMSProp is one member of the RMSProp family: what PyTorch, TensorFlow, Keras
// and optax call RMSprop, each with its own conventions and options. [Keras],
// [PyTorch], [TensorFlow] and [Optax] return those. The zero value of each
// option switches it off.
//
// A step does, element by element and in one pass over memory, whatever is on:
//
//	grad = GradScale*grad                           -GradScale with Maximize
//	grad = grad + WeightDecay*theta                 unless DecoupledDecay
//	s    = Rho*s + (1-Rho)*grad²
//	m    = Rho*m + (1-Rho)*grad                     Centered
//	v    = s                                        max(s - m², 0) with Centered
//	d    = sqrt(v+Eps)                              sqrt(v) + Eps with EpsOutside
//	u    = LR/d*grad                                1/d*grad with LROutside
//	b    = Momentum*b + u                           Momentum
//	u    = b                                        Momentum*b + u with Nesterov
//	u    = LR*u                                     LROutside
//	theta = theta - LR*WeightDecay*theta            DecoupledDecay
//	theta = theta - u
//
// The numbers are rounded to float32 once a call: 1-Rho and LR*WeightDecay
// after they were computed in float64. Every operation after that is one
// float32 operation, rounded to nearest even, and none are fused, so that
// every implementation gives the same bits. The rules of [Update] that keep
// subnormal numbers out hold here too: the gradient that goes into s counts as
// zero below 2^-63 in magnitude, and so do s, m and b below 2^-126. Such a dead
// element adds nothing to b, and leaves theta to the decay and what momentum is left.
//
// With only LR, Rho and Eps set, the bits are those of Update.
//
// # What differs from the frameworks
//
// Each framework rounds in an order of its own: a preset follows the formula
// to a few units in the last place a step, not to the bit. Besides:
//
//   - PyTorch with centered takes the root of s - m² as it is, so that theta
//     becomes NaN where rounding makes it negative, as after many equal
//     gradients. Here s - m² is then 0.
//   - Keras decays by weight_decay before the step and decoupled: set WeightDecay
//     and DecoupledDecay, since decay that is off has nothing to decouple. Its
//     exponential moving average of theta (use_ema) and the clipping of
//     gradients are left to the caller; GradScale takes the factor of a clipped
//     norm.
//   - optax's bias_correction is not here.
//   - TensorFlow's sparse update is [RMSProp.UpdateRows].
type RMSProp struct {
	LR  float64 // learning rate: the step in theta's units
	Rho float64 // share of the old means that is kept, in [0, 1]; PyTorch calls it alpha
	Eps float64 // in units of grad², or of grad where EpsOutside

	Momentum       float64 // share of the last step that is kept, in [0, 1); PyTorch's momentum
	Nesterov       bool    // look one step of the momentum ahead
	Centered       bool    // divide by an estimate of the standard deviation: subtract the mean
	WeightDecay    float64 // pull towards zero: added to the gradient (L2), or
	DecoupledDecay bool    // taken from theta itself
	GradScale      float64 // multiplies the gradient, such as 1 over a loss scale; 0 means 1
	Maximize       bool    // go up the gradient, not down
	EpsOutside     bool    // sqrt(s) + Eps instead of sqrt(s + Eps)
	LROutside      bool    // the momentum buffer holds steps before the learning rate

	InitialMeanSquare float64 // what a new state's mean square starts at; optax's initial_scale
}

// Keras returns the conventions and defaults of keras.optimizers.RMSprop in
// Keras 3. Its weight decay is decoupled: set DecoupledDecay along with
// WeightDecay.
func Keras() RMSProp { return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7} }

// PyTorch returns the conventions and defaults of torch.optim.RMSprop.
func PyTorch() RMSProp {
	return RMSProp{LR: 0.01, Rho: 0.99, Eps: 1e-8, EpsOutside: true, LROutside: true}
}

// TensorFlow returns the conventions and defaults of TensorFlow 1's
// tf.train.RMSPropOptimizer, whose mean square starts at 1. It has no default
// learning rate; 0.001 is that of Keras.
func TensorFlow() RMSProp {
	return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-10, InitialMeanSquare: 1}
}

// Optax returns the conventions and defaults of optax.rmsprop, with its
// eps_in_sqrt. It has no default learning rate; 0.001 is that of Keras.
func Optax() RMSProp { return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-8} }

// State is what an optimizer remembers of one tensor from step to step: plain
// data, to be saved with encoding/gob or, as long as it holds neither NaN nor
// infinities, encoding/json. Training resumed from it continues bit for bit.
type State struct {
	MeanSquare []float32 // s: running mean of grad²
	MeanGrad   []float32 // m: running mean of grad, only with Centered
	Momentum   []float32 // b: momentum buffer, only with Momentum
}

// problems are what is wrong with a call or a configuration.
type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// panic panics if there are any.
func (p problems) panic() {
	if p != nil {
		panic(&ArgumentError{strings.Join(p, "; ")})
	}
}

// err returns them as one error that holds an [*ArgumentError] each.
func (p problems) err() error {
	var all []error
	for _, problem := range p {
		all = append(all, &ArgumentError{problem})
	}
	return errors.Join(all...)
}

// Validate returns nil, or an error that names every field that is out of
// range or contradicts another, with its value. It joins one [*ArgumentError] a
// problem.
func (o *RMSProp) Validate() error {
	var p problems
	o.check(&p)
	return p.err()
}

func (o *RMSProp) check(p *problems) {
	positive := func(name string, x float64) {
		if !inRange(x) {
			p.addf("%s = %v: must be finite in float32 and not negative", name, x)
		}
	}
	positive("LR", o.LR)
	if !(o.Rho >= 0 && o.Rho <= 1) {
		p.addf("Rho = %v: must be in [0, 1]", o.Rho)
	}
	positive("Eps", o.Eps)
	if !(o.Momentum >= 0 && float32(o.Momentum) < 1) {
		p.addf("Momentum = %v: must be in [0, 1), also in float32", o.Momentum)
	}
	if o.Nesterov && o.Momentum == 0 {
		p.addf("Nesterov = true, Momentum = 0: there is no momentum to look ahead of")
	}
	positive("WeightDecay", o.WeightDecay)
	if o.DecoupledDecay && o.WeightDecay == 0 {
		p.addf("DecoupledDecay = true, WeightDecay = 0: there is no decay to decouple")
	}
	// The product of two that are fine by themselves.
	if o.DecoupledDecay && float32(o.LR) <= math.MaxFloat32 && float32(o.WeightDecay) <= math.MaxFloat32 &&
		float32(o.LR*o.WeightDecay) > math.MaxFloat32 {
		p.addf("LR = %v, WeightDecay = %v: their product must be finite in float32", o.LR, o.WeightDecay)
	}
	positive("GradScale", o.GradScale)
	positive("InitialMeanSquare", o.InitialMeanSquare)
}

// NewState returns the state that a tensor of n elements starts with. It
// panics with an [*ArgumentError] if n is negative or o is not valid.
func (o *RMSProp) NewState(n int) *State {
	var p problems
	o.check(&p)
	if n < 0 {
		p.addf("n = %d: must not be negative", n)
	}
	p.panic()
	st := &State{MeanSquare: make([]float32, n)}
	o.begin(st.MeanSquare)
	if o.Centered {
		st.MeanGrad = make([]float32, n)
	}
	if o.Momentum != 0 {
		st.Momentum = make([]float32, n)
	}
	return st
}

// begin fills a new mean square, which is zero.
func (o *RMSProp) begin(s []float32) {
	if o.InitialMeanSquare != 0 {
		for i := range s {
			s[i] = float32(o.InitialMeanSquare)
		}
	}
}

// Update takes one step: it moves theta against grad, and the state st along.
// One element of theta, grad and of each of the state's slices is a parameter;
// theta and the state are written, grad is only read.
//
// It panics with an [*ArgumentError], before it has written anything, if o is
// not valid, if st lacks a slice that o needs or has one that o does not, if the
// lengths differ, or if two of the slices overlap in memory.
//
// Like the function [Update] it does not allocate, keeps no reference and
// starts no goroutine. Concurrent calls are safe on tensors that do not
// overlap; grad may be shared.
func (o *RMSProp) Update(theta, grad []float32, st *State) {
	var p problems
	o.check(&p)
	if len(grad) != len(theta) {
		p.addf("len(grad) = %d, len(theta) = %d: lengths must be equal", len(grad), len(theta))
	}
	o.checkState(&p, argumentNames, st, len(theta))
	if st != nil {
		checkApart(&p, argumentNames, theta, grad, st)
	}
	p.panic()
	k := o.member()
	k.run(theta, grad, st.MeanSquare, st.MeanGrad, st.Momentum)
}

// UpdateRows takes one step in some rows of a table, as for an embedding of
// which a batch uses few: theta and the state are rows of width elements, and
// row i of grad updates row rows[i] of them, with the bits that Update gives
// there. All other rows are left alone: neither do their means and momentum
// decay, nor does their theta, which is what TensorFlow calls the sparse
// update. A row whose gradient is zero is another thing when it is listed.
//
// It panics with an [*ArgumentError], before it has written anything, where
// Update would, and if a row is out of range or listed twice. It allocates only
// where rows is unsorted and the table has more than 32,768 rows: one bit a row,
// to find what is listed twice.
func (o *RMSProp) UpdateRows(theta, grad []float32, st *State, rows []int, width int) {
	var p problems
	o.check(&p)
	if width < 1 {
		p.addf("width = %d: must be positive", width)
		p.panic()
	}
	if len(theta)%width != 0 {
		p.addf("len(theta) = %d, width = %d: theta must be whole rows", len(theta), width)
	}
	if len(grad)%width != 0 || len(grad)/width != len(rows) {
		p.addf("len(grad) = %d, len(rows) = %d, width = %d: grad must have a row for each of rows",
			len(grad), len(rows), width)
	}
	o.checkState(&p, argumentNames, st, len(theta))
	if st != nil {
		checkApart(&p, argumentNames, theta, grad, st)
	}
	checkRows(&p, rows, len(theta)/width)
	p.panic()

	k := o.member()
	row := func(x []float32, r int) []float32 {
		if len(x) == 0 {
			return nil
		}
		return x[r*width:][:width]
	}
	for i, r := range rows {
		k.run(row(theta, r), row(grad, i), row(st.MeanSquare, r), row(st.MeanGrad, r), row(st.Momentum, r))
	}
}

// checkRows finds the rows that are not in [0, n) or listed twice. Sorted rows
// need one look each.
func checkRows(p *problems, rows []int, n int) {
	sorted, last := true, -1
	for i, r := range rows {
		if r < 0 || r >= n {
			p.addf("rows[%d] = %d: must be in [0, %d), the rows of theta", i, r, n)
			return
		}
		sorted = sorted && r > last
		last = r
	}
	if sorted {
		return
	}
	var few [512]uint64
	seen := few[:]
	if n > 64*len(few) {
		seen = make([]uint64, (n+63)/64)
	}
	for i, r := range rows {
		bit := uint64(1) << (r % 64)
		if seen[r/64]&bit != 0 {
			p.addf("rows[%d] = rows[%d] = %d: a row may be listed once", slices.Index(rows, r), i, r)
			return
		}
		seen[r/64] |= bit
	}
}

// names are how the messages call a tensor's slices.
type names struct{ theta, grad, state string }

var argumentNames = names{"theta", "grad", "st"}

// checkState finds what st has too little or too much for o and n elements.
func (o *RMSProp) checkState(p *problems, name names, st *State, n int) {
	if st == nil {
		p.addf("%s = nil: missing, NewState makes one", name.state)
		return
	}
	if len(st.MeanSquare) != n {
		p.addf("len(%s.MeanSquare) = %d, len(%s) = %d: lengths must be equal", name.state, len(st.MeanSquare), name.theta, n)
	}
	if want := used(n, o.Centered); len(st.MeanGrad) != want {
		p.addf("len(%s.MeanGrad) = %d, len(%s) = %d, Centered = %v: %s",
			name.state, len(st.MeanGrad), name.theta, n, o.Centered, misfit(len(st.MeanGrad), want))
	}
	if want := used(n, o.Momentum != 0); len(st.Momentum) != want {
		p.addf("len(%s.Momentum) = %d, len(%s) = %d, Momentum = %v: %s",
			name.state, len(st.Momentum), name.theta, n, o.Momentum, misfit(len(st.Momentum), want))
	}
}

func used(n int, on bool) int {
	if on {
		return n
	}
	return 0
}

func misfit(length, want int) string {
	switch {
	case want == 0:
		return "must be empty without that option"
	case length == 0:
		return "missing, the option needs it"
	default:
		return "lengths must be equal"
	}
}

// checkApart finds slices of one tensor that overlap in memory, unless both are
// only read.
func checkApart(p *problems, name names, theta, grad []float32, st *State) {
	all := [...][]float32{grad, theta, st.MeanSquare, st.MeanGrad, st.Momentum}
	for i, a := range all {
		for j, b := range all[:i] {
			if overlap(a, b) {
				p.addf("%s and %s overlap in memory: they must be apart", name.slice(j), name.slice(i))
			}
		}
	}
}

// slice is the name of a slice by its place in checkApart.
func (name names) slice(i int) string {
	return [...]string{name.grad, name.theta, name.state + ".MeanSquare", name.state + ".MeanGrad", name.state + ".Momentum"}[i]
}

// member is a valid RMSProp with its numbers rounded, ready to run.
type member struct {
	plain  bool // only lr, rho and eps are on, and Update's kernel does it
	base   constants
	family memberConstants
}

func (o *RMSProp) member() member {
	lr, rho, c, eps := float32(o.LR), float32(o.Rho), float32(1-o.Rho), float32(o.Eps)
	k := memberConstants{
		numerator: lr, rho: rho, c: c, eps: eps,
		scale:     float32(cmp.Or(o.GradScale, 1)),
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
	case o.DecoupledDecay:
		k.options |= memberDecoupled
		k.lrDecay = float32(o.LR * o.WeightDecay)
	case o.WeightDecay != 0:
		k.options |= memberL2
		k.decay = float32(o.WeightDecay)
	}
	if o.Nesterov {
		k.options |= memberNesterov
	}
	return member{
		plain: !o.Centered && o.Momentum == 0 && o.WeightDecay == 0 && k.scale == 1 &&
			!o.EpsOutside && !o.LROutside,
		base:   constants{lr: lr, rho: rho, c: c, eps: eps},
		family: k,
	}
}

// run takes one step, chunk by chunk. m and b are empty where the member has none.
func (k *member) run(theta, grad, s, m, b []float32) {
	if len(m) == 0 {
		m = nil
	}
	if len(b) == 0 {
		b = nil
	}
	for len(theta) > 0 {
		n := min(chunk, len(theta))
		nm, nb := min(n, len(m)), min(n, len(b))
		if k.plain {
			updateChunk(theta[:n], grad[:n], s[:n], &k.base)
		} else {
			memberChunk(theta[:n], grad[:n], s[:n], m[:nm], b[:nb], &k.family)
		}
		theta, grad, s, m, b = theta[n:], grad[n:], s[n:], m[nm:], b[nb:]
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
