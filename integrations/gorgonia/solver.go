// Package gorgoniakernel trains the graphs of gorgonia.org/gorgonia with the fused
// RMSProp and Adam steps of package kernel. The lines
//
//	solver := gorgonia.NewRMSPropSolver()
//	solver := gorgonia.NewAdamSolver()
//
// become
//
//	solver := gorgoniakernel.FromGorgonia()
//	solver := gorgoniakernel.AdamFromGorgonia()
//
// Gorgonia's options, such as gorgonia.WithLearnRate, know Gorgonia's own solvers
// and do nothing to any other. Use the options of this package instead: they have
// the same names. See the README for the few that differ.
package gorgoniakernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/seed57504d97/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Solver steps the nodes of a graph. [New] and [FromGorgonia] make one. It takes one
// step at a time, on as many goroutines as [WithWorkers] says.
//
// It is not a [gorgonia.Solver]: otherwise gorgonia.WithLearnRate(0.1)(solver) would
// compile, and do nothing. If that interface is needed, use [Solver.AsSolver].
type Solver struct {
	// States has the state of each node that has taken a step, by the node's name. It
	// is plain data, which encoding/gob can save. A training whose weights and States
	// are restored continues bit for bit; one whose States are nil starts again.
	States map[string]*kernel.State

	// Report is the result of the last step that returned no error.
	Report kernel.Report

	rmsprop   kernel.RMSProp
	l2reg     float64
	noDecay   func(name string) bool
	wide      bool                // float64 nodes are stepped
	rounded   map[string]*rounded // by the node's name
	optimizer kernel.Optimizer
}

// rounded is a float64 node in float32.
type rounded struct{ theta, grad []float32 }

// Model is the argument of [Solver.Step]. Any []gorgonia.ValueGrad is one, such as
// the result of [gorgonia.NodesToValueGrads]. As a type of its own it keeps Solver
// from being a [gorgonia.Solver].
type Model []gorgonia.ValueGrad

// New returns a solver that takes the steps of rmsprop: with [kernel.AdamW], for example,
// those of AdamW. If a number is out of range,
// Step returns an error.
func New(rmsprop kernel.RMSProp, options ...Option) *Solver {
	s := &Solver{rmsprop: rmsprop}
	s.optimizer.ZeroGrad = true // because Gorgonia's machines add to what is there
	for _, set := range options {
		set(s)
	}
	return s
}

// FromGorgonia returns a solver with the defaults of [gorgonia.NewRMSPropSolver]:
// learning rate 0.001, rho 0.999, eps 1e-8.
func FromGorgonia(options ...Option) *Solver { return New(kernel.Gorgonia(), options...) }

// AdamFromGorgonia returns a solver with the defaults of [gorgonia.NewAdamSolver]:
// learning rate 0.001, betas 0.9 and 0.999, eps 1e-8.
func AdamFromGorgonia(options ...Option) *Solver { return New(kernel.Adam(), options...) }

// AsSolver returns s as a [gorgonia.Solver]. Do not call Gorgonia's options on it:
// gorgonia.WithLearnRate and the others would do nothing. Call this package's
// options on s.
func (s *Solver) AsSolver() gorgonia.Solver { return solver{s} }

type solver struct{ s *Solver }

func (w solver) Step(model []gorgonia.ValueGrad) error { return w.s.Step(model) }

// An Option sets something of a solver, as an argument or later, between steps:
//
//	gorgoniakernel.WithLearnRate(0.0001)(solver)
type Option func(*Solver)

// WithLearnRate sets the learning rate.
func WithLearnRate(lr float64) Option { return func(s *Solver) { s.rmsprop.LR = lr } }

// WithRho sets the share of the mean square that a step keeps.
func WithRho(rho float64) Option { return func(s *Solver) { s.rmsprop.Rho = rho } }

// WithBeta1 sets the share of the mean gradient that a step of Adam keeps.
func WithBeta1(beta1 float64) Option { return func(s *Solver) { s.rmsprop.FirstMoment = beta1 } }

// WithBeta2 is Adam's name for [WithRho].
func WithBeta2(beta2 float64) Option { return WithRho(beta2) }

// WithEps sets what is added to the mean square inside the root, or, with Adam, to
// the root.
func WithEps(eps float64) Option { return func(s *Solver) { s.rmsprop.Eps = eps } }

// WithBatchSize divides the gradients by n, for a loss that is the sum over a batch
// of n, as [gorgonia.NewAdamSolver] does. Leave it out to train as with
// [gorgonia.NewRMSPropSolver], which ignores gorgonia.WithBatchSize.
func WithBatchSize(n float64) Option { return func(s *Solver) { s.optimizer.LossScale = n } }

// WithL2Reg takes l2*w from each weight w in every step, as [gorgonia.WithL2Reg]
// does: not scaled by the learning rate, which must be above 0. With Adam it adds
// l2*w to the gradient of w, before [WithBatchSize] divides it, as Gorgonia does there.
// It replaces [kernel.RMSProp.WeightDecay]. With 0 there is none, and WeightDecay applies.
func WithL2Reg(l2 float64) Option { return func(s *Solver) { s.l2reg = l2 } }

// WithNoDecay leaves the nodes whose names it reports true for without weight decay,
// by [WithL2Reg] or [kernel.RMSProp.WeightDecay], as is usual for biases.
func WithNoDecay(is func(name string) bool) Option { return func(s *Solver) { s.noDecay = is } }

// WithClipValue limits each element of the gradients to [-c, c] before anything else,
// see [kernel.RMSProp]. It differs from gorgonia.WithClip, which lets the unlimited
// square into the mean.
func WithClipValue(c float64) Option { return func(s *Solver) { s.rmsprop.ClipValue = c } }

// WithClipNorm limits the norm of all gradients of a step together, see
// [kernel.Optimizer].
func WithClipNorm(norm float64) Option { return func(s *Solver) { s.optimizer.ClipNorm = norm } }

// WithSkipNonFinite skips the steps whose gradients have overflowed, see
// [kernel.Optimizer]. [Solver.Report] says whether the last one was.
func WithSkipNonFinite() Option { return func(s *Solver) { s.optimizer.SkipNonFinite = true } }

// WithWorkers limits how many goroutines a step may use; 0, the default, is
// GOMAXPROCS. The weights do not depend on it.
func WithWorkers(n int) Option { return func(s *Solver) { s.optimizer.Workers = n } }

// WithFloat64 also steps float64 nodes, which are an error without it, in float32
// precision: a step rounds the weights and gradients to float32, and writes the
// weights back. The weights are then float32 numbers from the first step on. The
// solver keeps 8 bytes per element for that.
func WithFloat64() Option { return func(s *Solver) { s.wide = true } }

// Step takes one step on all nodes of the model and sets their gradients to
// zero. The nodes must have names, each its own, and values and gradients of
// float32: scalars, or tensors that are contiguous, row-major and apart from all
// others in memory. The error names each node that is not so; then nothing has
// changed.
//
// A node that was not in the model before begins with a new state, and one that
// is left out keeps its own.
func (s *Solver) Step(model Model) error {
	params, place := make([]kernel.Param, len(model)), make(map[string]int, len(model))
	var wide []wideNode
	var problems []error
	problem := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("gorgoniakernel: "+format, args...))
	}
	for i, node := range model {
		name := nameOf(node, i)
		theta, theta64, noTheta := floats(node.Value(), nil)
		grad, grad64, noGrad := floats(node.Grad())
		if _, ok := place[name]; ok {
			problem("two nodes are called %q: states are kept by name", name)
		}
		if noTheta != nil {
			problem("value of %q: %w", name, noTheta)
		}
		if noGrad != nil {
			problem("gradient of %q: %w", name, noGrad)
		}
		if noTheta == nil && noGrad == nil && (theta64 != nil || grad64 != nil) {
			switch {
			case theta64 == nil || grad64 == nil:
				problem("%q: value and gradient must both be float32, or both float64", name)
			case !s.wide:
				problem("value of %q: float64: make the node of tensor.Float32, or use WithFloat64 to step it in float32", name)
			}
			wide = append(wide, wideNode{name, i, theta64, grad64})
		}
		params[i] = kernel.Param{Theta: theta, Grad: grad, State: s.States[name], Name: name}
		params[i].NoDecay = s.noDecay != nil && s.noDecay(name)
		place[name] = i
	}
	if problems = append(problems, overlaps(wide)...); problems != nil {
		return errors.Join(problems...)
	}
	options := s.rmsprop
	switch {
	case s.l2reg == 0:
	case options.FirstMoment != 0: // as AdamSolver, not as RMSPropSolver
		options.WeightDecay, options.DecoupledDecay = s.l2reg/cmp.Or(s.optimizer.LossScale, 1), false
	case !(options.LR > 0):
		return fmt.Errorf("gorgoniakernel: WithLearnRate(%v): must be above 0 with WithL2Reg", options.LR)
	default:
		options.WeightDecay, options.DecoupledDecay = s.l2reg/options.LR, true
	}
	s.optimizer.Options = options
	for _, w := range wide {
		params[w.place].Theta, params[w.place].Grad = s.round(w)
	}
	report, err := s.optimizer.Step(params)
	if err != nil {
		return err
	}
	for _, w := range wide {
		if !report.Skipped {
			for i, v := range params[w.place].Theta {
				w.theta[i] = float64(v)
			}
		}
		clear(w.grad)
	}
	s.Report = report
	if s.States == nil {
		s.States = map[string]*kernel.State{}
	}
	for name, i := range place {
		s.States[name] = params[i].State
	}
	return nil
}

// wideNode is a float64 node of a model.
type wideNode struct {
	name        string
	place       int
	theta, grad []float64
}

// round returns the node in float32. A weight that a step has written is a float32
// number, so that it stays as it is.
func (s *Solver) round(w wideNode) (theta, grad []float32) {
	r := s.rounded[w.name]
	if r == nil || len(r.theta) != len(w.theta) || len(r.grad) != len(w.grad) {
		r = &rounded{make([]float32, len(w.theta)), make([]float32, len(w.grad))}
		if s.rounded == nil {
			s.rounded = map[string]*rounded{}
		}
		s.rounded[w.name] = r
	}
	for i, v := range w.theta {
		r.theta[i] = float32(v)
	}
	for i, v := range w.grad {
		r.grad[i] = float32(v)
	}
	return r.theta, r.grad
}

// overlaps returns an error for each two float64 slices that share memory. The
// kernel checks those of float32.
func overlaps(wide []wideNode) (problems []error) {
	type span struct {
		what       string
		start, end uintptr
	}
	var spans []span
	for _, w := range wide {
		for what, x := range map[string][]float64{w.name: w.theta, "the gradient of " + w.name: w.grad} {
			if len(x) > 0 {
				start := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
				spans = append(spans, span{what, start, start + 8*uintptr(len(x))})
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.what, b.what)) })
	for i := 1; i < len(spans); i++ {
		if last, next := spans[i-1], spans[i]; next.start < last.end {
			problems = append(problems, fmt.Errorf("gorgoniakernel: %s and %s share memory: each tensor must be in one node", last.what, next.what))
		}
	}
	return problems
}

// nameOf returns the node's name, or its place in the model if it is of a kind
// that has none.
func nameOf(node gorgonia.ValueGrad, i int) string {
	if n, ok := node.(gorgonia.Namer); ok {
		return n.Name()
	}
	return fmt.Sprintf("#%d", i)
}

// floats returns the elements of a value, not a copy of them, as float32 or float64,
// or err if that is not nil.
func floats(v gorgonia.Value, err error) ([]float32, []float64, error) {
	if err != nil {
		return nil, nil, err
	}
	switch v := v.(type) {
	case *gorgonia.F32:
		return unsafe.Slice((*float32)(v), 1), nil, nil
	case *gorgonia.F64:
		return nil, unsafe.Slice((*float64)(v), 1), nil
	case *tensor.Dense:
		if v.IsNativelyAccessible() && !v.RequiresIterator() && v.DataOrder().IsRowMajor() {
			switch v.Dtype() {
			case tensor.Float32:
				return v.Float32s(), nil, nil
			case tensor.Float64:
				return nil, v.Float64s(), nil
			}
		}
		return nil, nil, fmt.Errorf("tensor of %v, %v: must be float32 in Go's memory, contiguous, row-major, not transposed, not masked", v.Dtype(), v.DataOrder())
	}
	return nil, nil, fmt.Errorf("%T: must be a *gorgonia.F32 or a *tensor.Dense", v)
}
