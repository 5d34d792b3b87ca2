// Package gomlxkernel trains GoMLX models with the fused RMSProp of package
// kernel, in place of GoMLX's own:
//
//	opt := gomlxkernel.New(kernel.GoMLX()) // was: optimizers.RMSProp().Done()
//	trainer := train.NewTrainer(backend, ctx, model, loss, opt, nil, nil)
//	loop := train.NewLoop(trainer)
//	opt.AttachTo(loop)
//
// A GoMLX graph cannot call the host. So the graph of a training step leaves the
// gradients in variables, and the step is taken when the graph has run, by the
// first of the loop's OnStep hooks. Weights and state are updated in place, in the
// memory of GoMLX's variables. On backends whose buffers are shared with the
// host, as those of the pure Go backend are, nothing is copied. On others, such as
// XLA's, the gradients are transferred to the host and the weights back to the
// device, 8 bytes a parameter and step over the bus; the state stays on the host.
// That works, but GoMLX's own optimizer, which runs on the device, is the better
// choice there.
package gomlxkernel

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/gomlx/pkg/core/distributed"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/context/checkpoints"
	"github.com/gomlx/gomlx/pkg/ml/context/initializers"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
	"github.com/seed57504d97/kernel"
)

// Optimizer is an optimizers.Interface for the float32 variables of one Context, on
// one device. It works with Trainer.AccumulateGradients: a step for each
// accumulated gradient.
//
// The fields of the embedded [kernel.Optimizer] may be set, and changed between
// steps: Options, Workers, ClipNorm, SkipNonFinite. Only Momentum and Centered
// must be what they are to be when the first graph is built, which makes the
// variables for them.
//
// The learning rate is the Context's variable that schedules set, as for GoMLX's
// optimizers. It begins as the parameter "learning_rate" or, where there is none,
// as Options.LR. "clip_nan" and a nanlogger see the gradients as they do there.
// "clip_step_by_value" and the functions of train.AddPerStepUpdateGraphFn, which
// would run before the step, are refused: Trainer.TrainStep returns an error.
//
// The state is in variables of the Context, below Scope. GoMLX's checkpoints save
// and load it, and training goes on from them bit for bit. They leave the gradients
// out if their handler is there when the graph is built. Each variable that is
// trained counts its own steps, so that BiasCorrection is right for one that joins
// later or that some graphs do not use; GoMLX's own optimizer counts once for all.
type Optimizer struct {
	kernel.Optimizer
	Scope  string        // of its variables, below the root; two optimizers of one Context need two
	ByHand bool          // the caller has a loop of its own, and calls Step after each Trainer.TrainStep
	Report kernel.Report // of the last step

	attached      bool
	rate, waiting *context.Variable // waiting: which of graphs has left gradients, from 1; 0: none
	graphs        []gradients
}

// gradients are what a graph computes: the tensors to step on, and the variables
// to borrow their slices from.
type gradients struct {
	params []kernel.Param
	steps  []*context.Variable // of each, how many it has taken
	loans  []loan
}

type loan struct {
	variable *context.Variable
	flat     *[]float32
	written  bool
}

// New returns an optimizer that takes the steps of options. [kernel.GoMLX] has
// the formula and the defaults of GoMLX's optimizers.RMSProp.
func New(options kernel.RMSProp) *Optimizer {
	return &Optimizer{Optimizer: kernel.Optimizer{Options: options}, Scope: "KernelOptimizer"}
}

// AttachTo lets the loop take the steps, before its other OnStep hooks of any
// priority. Call it before the loop runs.
func (o *Optimizer) AttachTo(loop *train.Loop) {
	o.attached = true
	loop.OnStep("gomlxkernel", math.MinInt, func(*train.Loop, []*tensors.Tensor) error { return o.Step() })
}

// UpdateGraph implements optimizers.Interface: it builds the part of the graph
// that leaves the gradients for Step.
func (o *Optimizer) UpdateGraph(ctx *context.Context, _ *graph.Graph, loss *graph.Node) {
	o.UpdateGraphWithGradients(ctx, ctx.BuildTrainableVariablesGradientsGraph(loss), loss.DType())
}

// UpdateGraphWithGradients implements train.OptimizeWithGradients. The gradients
// are those of all trainable variables of their graph, in the order of the Context.
// As other functions that build graphs do, it panics with an error, which
// Trainer.TrainStep returns.
func (o *Optimizer) UpdateGraphWithGradients(ctx *context.Context, grads []*graph.Node, lossDType dtypes.DType) {
	if len(grads) == 0 {
		panic(errors.New("gomlxkernel: there are no trainable variables"))
	}
	g := grads[0].Graph()
	own := ctx.Checked(false).InAbsPath(context.ScopeSeparator + o.Scope)
	waiting := own.VariableWithValue("waiting", int64(0)).SetTrainable(false)
	switch {
	case !o.attached && !o.ByHand:
		panic(errors.New("gomlxkernel: nothing would take the steps: call AttachTo, or Step after each Trainer.TrainStep, with ByHand"))
	case o.waiting != nil && o.waiting != waiting:
		panic(errors.New("gomlxkernel: one Optimizer trains one Context: make another, or call Clear first"))
	case g.DistributedStrategy() != distributed.None:
		panic(fmt.Errorf("gomlxkernel: distributed training (%s) is not supported", g.DistributedStrategy()))
	case context.GetParamOr(ctx, optimizers.ParamClipStepByValue, 0.0) != 0:
		panic(fmt.Errorf("gomlxkernel: %q is not supported: there are Options.ClipValue and ClipNorm, which limit gradients", optimizers.ParamClipStepByValue))
	}
	ctx.EnumerateGraphParams(g, func(scope, key string, _ any) {
		if key == train.TrainerPerStepUpdateGraphFnParamKey {
			panic(fmt.Errorf("gomlxkernel: a function of train.AddPerStepUpdateGraphFn in %s would run before the step, not after it", scope))
		}
	})
	o.waiting = waiting
	o.rate = optimizers.LearningRateVar(ctx, lossDType, context.GetParamOr(ctx, optimizers.ParamLearningRate, o.Options.LR))
	optimizers.IncrementGlobalStepGraph(ctx, g, lossDType)

	made := gradients{params: make([]kernel.Param, 0, len(grads))}
	for v := range ctx.IterVariables() {
		if !v.Trainable || !v.InUseByGraph(g) {
			continue
		}
		if v.DType() != dtypes.Float32 {
			panic(fmt.Errorf("gomlxkernel: variable %s is %s: must be Float32", v.ScopeAndName(), v.DType()))
		}
		grad := grads[len(made.params)]
		optimizers.TraceNaNInGradients(ctx, v, grad)
		grad = optimizers.ClipNaNsInGradients(ctx, grad)
		beside := own.InAbsPath(strings.TrimSuffix(own.Scope()+v.Scope(), context.ScopeSeparator))
		variable := func(suffix string, initial float64) *context.Variable {
			return beside.WithInitializer(initializers.BroadcastTensorToShape(tensors.FromScalar(float32(initial)))).
				VariableWithShape(v.Name()+suffix, v.Shape()).SetTrainable(false)
		}
		left := variable("_gradient", 0)
		left.SetValueGraph(grad)
		if handler, ok := ctx.Loader().(*checkpoints.Handler); ok {
			handler.ExcludeVarsFromSaving(left)
		}

		made.steps = append(made.steps, beside.VariableWithValue(v.Name()+"_step", int64(0)).SetTrainable(false))
		st := &kernel.State{}
		made.params = append(made.params, kernel.Param{State: st, Name: v.ScopeAndName()})
		param := &made.params[len(made.params)-1]
		made.loans = append(made.loans, loan{v, &param.Theta, true}, loan{left, &param.Grad, false},
			loan{variable("_mean_square", o.Options.InitialMeanSquare), &st.MeanSquare, true})
		if o.Options.Centered {
			made.loans = append(made.loans, loan{variable("_mean_gradient", 0), &st.MeanGrad, true})
		}
		if o.Options.Momentum != 0 {
			made.loans = append(made.loans, loan{variable("_momentum", 0), &st.MomentumBuffer, true})
		}
	}
	o.graphs = append(o.graphs, made)
	waiting.SetValueGraph(graph.Const(g, int64(len(o.graphs))))
}

// Step takes a step on the gradients that the last graph has left, if it has: with
// Trainer.AccumulateGradients most leave none. On an error everything is as it was.
func (o *Optimizer) Step() error {
	if o.waiting == nil {
		return nil
	}
	number := tensors.ToScalar[int64](o.waiting.MustValue())
	if number == 0 {
		return nil
	}
	left := &o.graphs[number-1]
	for i, v := range left.steps {
		left.params[i].State.Step = int(tensors.ToScalar[int64](v.MustValue()))
	}
	defer func(initial float64) { o.Options.LR = initial }(o.Options.LR)
	o.Options.LR = shapes.ConvertTo[float64](o.rate.MustValue().Value())
	var err error
	if e := lend(left.loans, make(map[*tensors.Tensor]bool), func() { o.Report, err = o.Optimizer.Step(left.params) }); e != nil || err != nil {
		return errors.Join(e, err)
	}
	for i, v := range left.steps {
		if err := tensors.AssignFlatData(v.MustValue(), []int64{int64(left.params[i].State.Step)}); err != nil {
			return err
		}
	}
	return tensors.AssignFlatData(o.waiting.MustValue(), []int64{0})
}

// lend calls do while all the slices are lent. GoMLX lends one in a callback: each
// is nested in the one before.
func lend(loans []loan, lent map[*tensors.Tensor]bool, do func()) error {
	if len(loans) == 0 {
		do()
		return nil
	}
	value, err := loans[0].variable.Value()
	if err != nil {
		return err
	}
	if lent[value] {
		return fmt.Errorf("gomlxkernel: variable %s has its tensor in common with another", loans[0].variable.ScopeAndName())
	}
	lent[value] = true
	access := value.ConstFlatData
	if loans[0].written {
		access = value.MutableFlatData
	}
	if e := access(func(flat any) {
		*loans[0].flat = flat.([]float32)
		err = lend(loans[1:], lent, do)
	}); e != nil {
		return e
	}
	return err
}

// Clear implements optimizers.Interface: it deletes the optimizer's variables.
func (o *Optimizer) Clear(ctx *context.Context) error {
	o.rate, o.waiting, o.graphs = nil, nil, nil
	return ctx.InAbsPath(context.ScopeSeparator + o.Scope).DeleteVariablesInScope()
}
