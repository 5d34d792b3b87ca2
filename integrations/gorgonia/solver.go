// Package gorgoniakernel trains the graphs of gorgonia.org/gorgonia with the fused
// RMSProp step of package kernel. The line
//
//	solver := gorgonia.NewRMSPropSolver()
//
// becomes
//
//	solver := gorgoniakernel.FromGorgonia()
package gorgoniakernel

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/seed57504d97/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Solver is a [gorgonia.Solver], made by [New] or [FromGorgonia]. It takes one
// step at a time, on as many goroutines as [WithWorkers] says.
type Solver struct {
	// States has the state of each node that has taken a step, by the node's name:
	// plain data, to be saved with encoding/gob. A training whose weights and States
	// are restored continues bit for bit, one whose States are nil begins anew.
	States map[string]*kernel.State

	// Report is what the last step without an error has done.
	Report kernel.Report

	rmsprop   kernel.RMSProp
	l2reg     float64
	optimizer kernel.Optimizer
}

// New returns a solver that takes the steps of rmsprop. Where a number is out of
// range, Step says so.
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

// An Option sets something of a solver, as an argument or later, between steps:
//
//	gorgoniakernel.WithLearnRate(0.0001)(solver)
//
// Gorgonia's own options know Gorgonia's own solvers only.
type Option func(*Solver)

// WithLearnRate sets the learning rate.
func WithLearnRate(lr float64) Option { return func(s *Solver) { s.rmsprop.LR = lr } }

// WithL2Reg takes l2*w from each weight w in every step, as [gorgonia.WithL2Reg]
// does: not scaled by the learning rate, which must not be 0 then. It takes the place of
// [kernel.RMSProp.WeightDecay]. With 0 there is none, and WeightDecay holds.
func WithL2Reg(l2 float64) Option { return func(s *Solver) { s.l2reg = l2 } }

// WithClipNorm limits the norm of all gradients of a step together, see
// [kernel.Optimizer].
func WithClipNorm(norm float64) Option { return func(s *Solver) { s.optimizer.ClipNorm = norm } }

// WithSkipNonFinite leaves out the steps whose gradients have overflowed, see
// [kernel.Optimizer]. [Solver.Report] tells whether the last one was.
func WithSkipNonFinite() Option { return func(s *Solver) { s.optimizer.SkipNonFinite = true } }

// WithWorkers limits how many goroutines a step may use; 0, the default, is
// GOMAXPROCS. The weights do not depend on it.
func WithWorkers(n int) Option { return func(s *Solver) { s.optimizer.Workers = n } }

// Step takes one step on all nodes of the model and sets their gradients to
// zero. The nodes must have names, each its own, and values and gradients of
// float32: scalars, or tensors that are contiguous, row-major and apart from all
// others in memory. The error names each node that is not so; then nothing has
// changed.
//
// A node that was not in the model before begins with a new state, and one that
// is left out keeps its own.
func (s *Solver) Step(model []gorgonia.ValueGrad) error {
	params, place := make([]kernel.Param, len(model)), make(map[string]int, len(model))
	var problems []error
	for i, node := range model {
		name := nameOf(node, i)
		theta, noTheta := floats(node.Value(), nil)
		grad, noGrad := floats(node.Grad())
		if _, ok := place[name]; ok {
			problems = append(problems, fmt.Errorf("gorgoniakernel: two nodes are called %q: states are kept by name", name))
		}
		if noTheta != nil {
			problems = append(problems, fmt.Errorf("gorgoniakernel: value of %q: %w", name, noTheta))
		}
		if noGrad != nil {
			problems = append(problems, fmt.Errorf("gorgoniakernel: gradient of %q: %w", name, noGrad))
		}
		params[i] = kernel.Param{Theta: theta, Grad: grad, State: s.States[name], Name: name}
		place[name] = i
	}
	if problems != nil {
		return errors.Join(problems...)
	}
	s.optimizer.Options = s.rmsprop
	if s.l2reg != 0 {
		s.optimizer.Options.WeightDecay, s.optimizer.Options.DecoupledDecay = s.l2reg/s.rmsprop.LR, true
	}
	report, err := s.optimizer.Step(params)
	if err != nil {
		return err
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

// nameOf returns the node's name, or its place in the model if it is of a kind
// that has none.
func nameOf(node gorgonia.ValueGrad, i int) string {
	if n, ok := node.(gorgonia.Namer); ok {
		return n.Name()
	}
	return fmt.Sprintf("#%d", i)
}

// floats returns the elements of a value, not a copy of them, unless there is no
// value because of err.
func floats(v gorgonia.Value, err error) ([]float32, error) {
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case *gorgonia.F32:
		return unsafe.Slice((*float32)(v), 1), nil
	case *tensor.Dense:
		if v.Dtype() == tensor.Float32 && v.IsNativelyAccessible() && !v.RequiresIterator() && v.DataOrder().IsRowMajor() {
			return v.Float32s(), nil
		}
		return nil, fmt.Errorf("tensor of %v, %v: must be float32 in Go's memory, contiguous, row-major, not transposed, not masked", v.Dtype(), v.DataOrder())
	}
	return nil, fmt.Errorf("%T: must be a *gorgonia.F32 or a *tensor.Dense", v)
}
