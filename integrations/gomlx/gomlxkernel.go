// Package gomlxkernel trains GoMLX models with the fused RMSProp and Adam of package
// kernel instead of GoMLX's own:
//
//	opt := gomlxkernel.New(kernel.GoMLX())     // was: optimizers.RMSProp().Done()
//	opt := gomlxkernel.New(kernel.GoMLXAdam()) // was: optimizers.Adam().Done()
//	trainer := train.NewTrainer(backend, ctx, model, loss, opt, nil, nil)
//	loop := train.NewLoop(trainer)
//	opt.AttachTo(loop)
//
// A GoMLX graph cannot call the host. So the graph of a training step returns the
// gradients as logged nodes, and the executor's node logger runs the step after
// the graph. The step updates weights and state in place, in the
// memory of GoMLX's variables. On a backend whose buffers are shared with the host,
// such as the pure Go backend, nothing is copied. On others, such as XLA, the
// gradients are transferred to the host and the weights back to the device: 8 bytes
// per parameter and step over the bus. That works, but GoMLX's own optimizers, which
// run on the device, are the better choice there.
package gomlxkernel

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"

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

// Name and AdamName are the names of these optimizers for the Context parameter
// "optimizer", which [optimizers.FromContext] reads. See [FromContext] and [AdamFromContext].
const (
	Name     = "kernel_rmsprop"
	AdamName = "kernel_adam"
)

func init() {
	optimizers.KnownOptimizers[Name] = func(ctx *context.Context) optimizers.Interface { return FromContext(ctx) }
	optimizers.KnownOptimizers[AdamName] = func(ctx *context.Context) optimizers.Interface { return AdamFromContext(ctx) }
}

// Optimizer is an optimizers.Interface for the float32 variables of one Context, on
// one device. It works with Trainer.AccumulateGradients: one step for each
// accumulated gradient.
//
// [New] and [FromContext] make one. Attach it to what runs its graphs, with
// [Optimizer.AttachTo] for a train.Loop, [Optimizer.AttachToTrainer] for a loop of
// your own, or [Optimizer.AttachToExec] without a Trainer. Building a graph is an
// error until one of them was called.
//
// # Learning rate
//
// The rate of each step is the Context's learning rate variable, which schedules
// set, as with GoMLX's optimizers. It starts at the Context's parameter
// "learning_rate", or at Kernel.Options.LR if there is none. If both are given and
// differ, building the graph is an error, unless Options.LR is 0.001, the default of
// GoMLX and of [kernel.GoMLX]. After a step Options.LR is the rate of that step;
// changing it is an error.
//
// # GoMLX's hyperparameters
//
// "clip_step_by_value" limits the change of each weight in a step, decay included,
// as with GoMLX's optimizers. It costs a copy of the weights. "clip_nan" and a
// nanlogger see the gradients. The functions of train.AddPerStepUpdateGraphFn, which
// the L1 regularizer and KAN layers use, run after each step, in a graph of their
// own.
//
// # State
//
// The state is in variables of the Context, below Scope. GoMLX's checkpoints save
// and load it, and training resumes from them bit for bit. Each trained variable
// counts its own steps, so that BiasCorrection is right for one that joins later or
// that some graphs do not use. GoMLX's own optimizers count once for all.
//
// An Optimizer takes over its Scope, including the state, from an optimizer that used
// it before. If the other one then runs another step, that is an error: two optimizers
// that train one Context alternately need two Scopes.
type Optimizer struct {
	// Kernel runs the steps. Its fields may be set, and changed between steps. But set
	// Momentum, Centered and FirstMoment before the first graph is built, because that
	// creates the variables for them.
	Kernel kernel.Optimizer
	Scope  string        // of its variables, below the root scope
	Report kernel.Report // of the last step

	// Configure may set NoDecay and LRScale of a variable's Param. It is called for
	// each trainable variable when a graph is built. If it is nil, none
	// is set. Options that it sets do not follow the Context's learning rate.
	Configure func(v *context.Variable, p *kernel.Param)

	id       int64
	attached bool
	execs    []executor // whose graphs are still to be built
	owner    *context.Variable
	taken    *context.Variable // how many graphs had their step taken
	initial  float64           // Options.LR as it was given
	lr       float64           // Options.LR as it was left
	graphs   map[graph.GraphId]*gradients
	err      error // of the last step, not yet returned
}

// executor is a context.Exec or graph.Exec.
type executor interface {
	SetNodeLogger(graph.LoggerFn)
	GetNodeLogger() graph.LoggerFn
}

var lastID atomic.Int64

// gradients is what one graph returns, and what a step on it needs.
type gradients struct {
	nodes  map[graph.NodeId]int // places in logged
	logged []*tensors.Tensor    // of the step that is being taken: the learning rate, and each param's gradient
	params []kernel.Param
	steps  []*context.Variable // how many steps each param has taken
	loans  []loan
	limit  float32       // of a weight's change; 0: none
	before [][]float32   // the weights before the step, if there is a limit
	after  *context.Exec // runs the functions of train.AddPerStepUpdateGraphFn; nil: none
}

// loan is a tensor that is borrowed for a step.
type loan struct {
	name    string
	value   func() (*tensors.Tensor, error)
	flat    *[]float32
	written bool
}

// New returns an optimizer that takes the steps of options. [kernel.GoMLX] has the
// formula and the defaults of GoMLX's optimizers.RMSProp, [kernel.GoMLXAdam] those of
// its optimizers.Adam.
func New(options kernel.RMSProp) *Optimizer {
	return &Optimizer{
		Kernel: kernel.Optimizer{Options: options},
		Scope:  "KernelOptimizer",
		id:     lastID.Add(1),
		graphs: map[graph.GraphId]*gradients{},
	}
}

// FromContext returns New(kernel.GoMLX()) with the hyperparameters of
// optimizers.RMSProp().FromContext(ctx): "adam_epsilon", "adam_beta2" and
// "adam_weight_decay". It panics if "adam_dtype" is anything but float32.
//
// optimizers.FromContext(ctx) returns it if the Context's "optimizer" is [Name].
// [Attach] then attaches it:
//
//	opt := optimizers.FromContext(ctx)
//	trainer := train.NewTrainer(backend, ctx, model, loss, opt, nil, nil)
//	loop := train.NewLoop(trainer)
//	gomlxkernel.Attach(opt, loop)
func FromContext(ctx *context.Context) *Optimizer { return New(fromContext(ctx, kernel.GoMLX())) }

// AdamFromContext returns New(kernel.GoMLXAdam()) with the hyperparameters of
// optimizers.Adam().FromContext(ctx): those of [FromContext] and "adam_beta1". It is
// AdamW if "adam_weight_decay" is set, which GoMLX's "adamw" also needs.
//
// optimizers.FromContext(ctx) returns it if the Context's "optimizer" is [AdamName].
func AdamFromContext(ctx *context.Context) *Optimizer {
	o := fromContext(ctx, kernel.GoMLXAdam())
	o.FirstMoment = context.GetParamOr(ctx, optimizers.ParamAdamBeta1, o.FirstMoment)
	return New(o)
}

func fromContext(ctx *context.Context, o kernel.RMSProp) kernel.RMSProp {
	o.Eps = context.GetParamOr(ctx, optimizers.ParamAdamEpsilon, o.Eps)
	o.Rho = context.GetParamOr(ctx, optimizers.ParamAdamBeta2, o.Rho)
	o.WeightDecay = context.GetParamOr(ctx, optimizers.ParamAdamWeightDecay, o.WeightDecay)
	if dtype := context.GetParamOr(ctx, optimizers.ParamAdamDType, ""); dtype != "" && dtype != "float32" {
		panic(fmt.Errorf("gomlxkernel: %q = %q: must be float32", optimizers.ParamAdamDType, dtype))
	}
	return o
}

// Attach attaches opt to the loop if it is an *[Optimizer], and does nothing if it is
// one of GoMLX's own.
func Attach(opt optimizers.Interface, loop *train.Loop) {
	if o, ok := opt.(*Optimizer); ok {
		o.AttachTo(loop)
	}
}

// AttachTo makes the loop's Trainer take the steps, in whatever loop it runs, and
// makes this loop stop with the error of a step that fails. Call it before the
// Trainer's first step.
func (o *Optimizer) AttachTo(loop *train.Loop) {
	o.AttachToTrainer(loop.Trainer)
	loop.OnStep("gomlxkernel", math.MinInt, func(*train.Loop, []*tensors.Tensor) error { return o.Err() })
}

// AttachToTrainer makes the Trainer take the steps. Call it before the Trainer's
// first step, and [Optimizer.Err] after each Trainer.TrainStep: an error that is left
// there makes the next step panic.
func (o *Optimizer) AttachToTrainer(trainer *train.Trainer) {
	o.attached = true
	trainer.OnExecCreation(func(exec *context.Exec, graphType train.GraphType) {
		if graphType == train.TrainType {
			o.execs = append(o.execs, exec)
		}
	})
}

// AttachToExec makes the executor take the steps: one whose graph function calls
// UpdateGraph or UpdateGraphWithGradients. Call it before its first execution, and
// [Optimizer.Err] after each: an error that is left there makes the next step panic.
func (o *Optimizer) AttachToExec(exec interface {
	SetNodeLogger(graph.LoggerFn)
	GetNodeLogger() graph.LoggerFn
}) {
	o.execs, o.attached = append(o.execs, exec), true
}

// Err returns the error of the last step, or nil if it was taken. A step that fails
// changes nothing: its gradients are lost, and training may continue. An error is
// returned once.
func (o *Optimizer) Err() error {
	err := o.err
	o.err = nil
	return err
}

// UpdateGraph implements optimizers.Interface: it builds the part of the graph that
// returns the gradients.
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
	counter := func(name string) *context.Variable { return own.VariableWithValue(name, int64(0)).SetTrainable(false) }
	owner := counter("owner")
	switch {
	case !o.attached:
		panic(errors.New("gomlxkernel: nothing would take the steps: call AttachTo(loop), AttachToTrainer or AttachToExec first"))
	case o.owner != nil && o.owner != owner:
		panic(errors.New("gomlxkernel: one Optimizer trains one Context: make another Optimizer, or call Clear first"))
	case g.DistributedStrategy() != distributed.None:
		panic(fmt.Errorf("gomlxkernel: distributed training (%s) is not supported", g.DistributedStrategy()))
	}
	if err := o.Kernel.Options.Validate(); err != nil {
		panic(err)
	}
	rate := optimizers.LearningRateVar(ctx, lossDType, o.initialRate(ctx))
	if o.owner == nil {
		must(owner.SetValue(tensors.FromScalar(o.id)))
		exclude(ctx, owner)
		o.owner = owner
	}
	optimizers.IncrementGlobalStepGraph(ctx, g, lossDType)
	o.countGraph(ctx, g, counter("graphs"), counter("taken"), lossDType)

	made := &gradients{nodes: map[graph.NodeId]int{}, limit: float32(context.GetParamOr(ctx, optimizers.ParamClipStepByValue, 0.0))}
	log := func(node *graph.Node, message string) {
		node = graph.Identity(node) // two gradients may be one node, and the model may log it itself
		node.SetLogged("gomlxkernel: " + message)
		made.nodes[node.Id()] = len(made.nodes)
	}
	// If this graph's executor is not attached, GoMLX prints the messages in each step.
	log(rate.ValueGraph(g), "NO STEP IS TAKEN: call AttachTo(loop), AttachToTrainer or AttachToExec; learning rate")
	made.params = make([]kernel.Param, 0, len(grads))
	for v := range ctx.IterVariables() {
		if !v.Trainable || !v.InUseByGraph(g) {
			continue
		}
		if v.DType() != dtypes.Float32 {
			panic(fmt.Errorf("gomlxkernel: variable %s is %s: must be Float32, build the model with dtypes.Float32", v.ScopeAndName(), v.DType()))
		}
		i := len(made.params)
		optimizers.TraceNaNInGradients(ctx, v, grads[i])
		log(optimizers.ClipNaNsInGradients(ctx, grads[i]), "gradient of "+v.ScopeAndName())
		made.add(o, own, v, i)
	}
	made.after = perStepUpdates(ctx, g)
	o.graphs[g.GraphId()] = made
	// Now, and not when an executor is attached, so that this logger comes before those
	// that were set in between: a nanlogger leaves the messages in another order.
	for _, exec := range o.execs {
		exec.SetNodeLogger(o.logger(exec.GetNodeLogger()))
	}
	o.execs = nil
}

// initialRate returns what the learning rate variable starts at.
func (o *Optimizer) initialRate(ctx *context.Context) float64 {
	lr := o.Kernel.Options.LR
	rate := context.GetParamOr(ctx, optimizers.ParamLearningRate, lr)
	switch {
	case o.owner != nil:
		if err := o.checkRate(); err != nil {
			panic(err)
		}
	case rate != lr && lr != kernel.GoMLX().LR:
		panic(fmt.Errorf("gomlxkernel: Options.LR = %v, but the Context has %q = %v: give one of them", lr, optimizers.ParamLearningRate, rate))
	case rate == 0:
		panic(errors.New("gomlxkernel: the learning rate is 0: nothing would be trained"))
	default:
		o.initial, o.lr = lr, lr
	}
	return rate
}

// checkRate returns an error if Options.LR was changed, which nothing would heed.
func (o *Optimizer) checkRate() error {
	if lr := o.Kernel.Options.LR; lr != o.lr {
		return fmt.Errorf("gomlxkernel: Options.LR was changed from %v to %v: the rate is the Context's, set its variable: "+
			"optimizers.LearningRateVar(ctx, dtype, 0).SetValue", o.lr, lr)
	}
	return nil
}

// countGraph counts the executions of the graph, and adds NaN to the loss if the
// step after the last one was not taken: a train.Loop then stops.
func (o *Optimizer) countGraph(ctx *context.Context, g *graph.Graph, graphs, taken *context.Variable, dtype dtypes.DType) {
	o.taken = taken
	n := graphs.ValueGraph(g)
	lost := graph.NotEqual(n, taken.ValueGraph(g))
	graphs.SetValueGraph(graph.AddScalar(n, 1))
	nan := graph.Const(g, shapes.CastAsDType(math.NaN(), dtype))
	train.AddLoss(ctx, graph.Where(lost, nan, graph.ScalarZero(g, dtype)))
}

// add adds the i-th trainable variable of a graph.
func (made *gradients) add(o *Optimizer, own *context.Context, v *context.Variable, i int) {
	beside := own.InAbsPath(strings.TrimSuffix(own.Scope()+v.Scope(), context.ScopeSeparator))
	state := func(suffix string, initial float64) func() (*tensors.Tensor, error) {
		return beside.WithInitializer(initializers.BroadcastTensorToShape(tensors.FromScalar(float32(initial)))).
			VariableWithShape(v.Name()+suffix, v.Shape()).SetTrainable(false).Value
	}
	name, st := v.ScopeAndName(), &kernel.State{}
	made.params = append(made.params, kernel.Param{State: st, Name: name})
	made.steps = append(made.steps, beside.VariableWithValue(v.Name()+"_step", int64(0)).SetTrainable(false))
	param := &made.params[i]
	if o.Configure != nil {
		o.Configure(v, param)
	}
	made.loans = append(made.loans,
		loan{name, v.Value, &param.Theta, true},
		loan{"gradient of " + name, func() (*tensors.Tensor, error) { return made.logged[1+i], nil }, &param.Grad, false},
		loan{name + "_mean_square", state("_mean_square", o.Kernel.Options.InitialMeanSquare), &st.MeanSquare, true})
	if o.Kernel.Options.Centered || o.Kernel.Options.FirstMoment != 0 {
		made.loans = append(made.loans, loan{name + "_mean_gradient", state("_mean_gradient", 0), &st.MeanGrad, true})
	}
	if o.Kernel.Options.Momentum != 0 {
		made.loans = append(made.loans, loan{name + "_momentum", state("_momentum", 0), &st.MomentumBuffer, true})
	}
	if made.limit > 0 {
		made.before = append(made.before, make([]float32, v.Shape().Size()))
	}
}

// perStepUpdates takes the functions of train.AddPerStepUpdateGraphFn from the
// graph, in which they would run before the step, and returns an executor of a graph
// that has them alone, or nil if there are none.
func perStepUpdates(ctx *context.Context, g *graph.Graph) *context.Exec {
	type update struct {
		scope string
		build train.ContextGraphFn
	}
	var updates []update
	ctx.EnumerateGraphParams(g, func(scope, key string, value any) {
		if build, ok := value.(train.ContextGraphFn); ok && key == train.TrainerPerStepUpdateGraphFnParamKey {
			updates = append(updates, update{scope, build})
		}
	})
	if updates == nil {
		return nil
	}
	for _, u := range updates {
		ctx.InAbsPath(u.scope).SetGraphParam(g, train.TrainerPerStepUpdateGraphFnParamKey, nil)
	}
	exec, err := context.NewExec(g.Backend(), ctx.Checked(false), func(ctx *context.Context, g *graph.Graph) {
		for _, u := range updates {
			u.build(ctx.InAbsPath(u.scope), g)
		}
	})
	must(err)
	return exec
}

// exclude keeps a variable out of the Context's checkpoints, if it has them.
func exclude(ctx *context.Context, v *context.Variable) {
	if handler, ok := ctx.Loader().(*checkpoints.Handler); ok {
		handler.ExcludeVarsFromSaving(v)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// logger returns a logger that takes the step on the gradients of a graph that has
// run, and hands all other nodes on to next.
func (o *Optimizer) logger(next graph.LoggerFn) graph.LoggerFn {
	return func(g *graph.Graph, messages []string, values []*tensors.Tensor, nodes []graph.NodeId) {
		if made := o.graphs[g.GraphId()]; made != nil {
			var others []int
			made.logged = make([]*tensors.Tensor, len(made.nodes))
			for i, node := range nodes {
				if place, ours := made.nodes[node]; ours {
					made.logged[place] = values[i]
				} else {
					others = append(others, i)
				}
			}
			if len(others) < len(nodes) { // else a logger of the same Optimizer has taken the step
				o.take(made)
			}
			made.logged = nil
			messages, values, nodes = at(messages, others), at(values, others), at(nodes, others)
		}
		if next != nil {
			next(g, messages, values, nodes)
		}
	}
}

// at returns a copy of some elements of x.
func at[T any](x []T, indices []int) []T {
	some := make([]T, len(indices))
	for i, index := range indices {
		some[i] = x[index]
	}
	return some
}

// take takes a step on the gradients that a graph has just returned, and keeps its
// error for Err.
func (o *Optimizer) take(made *gradients) {
	if o.err != nil {
		panic(o.err) // nobody asked for it
	}
	o.err = o.step(made)
	for _, t := range made.logged {
		if t != nil {
			o.err = errors.Join(o.err, t.FinalizeAll())
		}
	}
	// Counted whether or not it failed: the error says enough.
	n, err := count(o.taken)
	o.err = errors.Join(o.err, err, setCount(o.taken, n+1))
}

func (o *Optimizer) step(made *gradients) error {
	if slices.Contains(made.logged, nil) {
		return errors.New("gomlxkernel: the executor did not return all gradients: attach the optimizer before the first step, and set other loggers before it")
	}
	if owner, err := count(o.owner); err != nil || owner != o.id {
		return cmp.Or(err, fmt.Errorf("gomlxkernel: another Optimizer has taken over the scope %q: two that train one Context by turns need two Scopes", o.Scope))
	}
	if err := o.checkRate(); err != nil {
		return err
	}
	for i, v := range made.steps {
		n, err := count(v)
		if err != nil {
			return err
		}
		made.params[i].State.Step = int(n)
	}
	o.lr = shapes.ConvertTo[float64](made.logged[0].Value())
	o.Kernel.Options.LR = o.lr
	var report kernel.Report
	var err error
	lendErr := lend(made.loans, make(map[*tensors.Tensor]bool), func() {
		for i, before := range made.before {
			copy(before, made.params[i].Theta)
		}
		report, err = o.Kernel.Step(made.params)
		for i, before := range made.before {
			limitChange(made.params[i].Theta, before, made.limit)
		}
	})
	if err = errors.Join(lendErr, err); err != nil {
		return err
	}
	o.Report = report
	for i, v := range made.steps {
		if err := setCount(v, int64(made.params[i].State.Step)); err != nil {
			return err
		}
	}
	if made.after != nil {
		_, err = made.after.Exec()
	}
	return err
}

// count returns the value of an int64 variable. It does not use tensors.ToScalar,
// which may return a copy from before the last setCount.
func count(v *context.Variable) (n int64, err error) {
	value, err := v.Value()
	if err != nil {
		return 0, err
	}
	err = tensors.ConstFlatData(value, func(flat []int64) { n = flat[0] })
	return n, err
}

func setCount(v *context.Variable, n int64) error {
	value, err := v.Value()
	if err != nil {
		return err
	}
	return tensors.AssignFlatData(value, []int64{n})
}

// limitChange lets theta differ from before by no more than limit.
func limitChange(theta, before []float32, limit float32) {
	for i, b := range before {
		switch d := b - theta[i]; {
		case d > limit:
			theta[i] = b - limit
		case d < -limit:
			theta[i] = b + limit
		}
	}
}

// lend calls do while all the slices are lent. GoMLX lends one in a callback: each
// is nested in the one before.
func lend(loans []loan, lent map[*tensors.Tensor]bool, do func()) error {
	if len(loans) == 0 {
		do()
		return nil
	}
	value, err := loans[0].value()
	if err != nil {
		return err
	}
	if lent[value] {
		return fmt.Errorf("gomlxkernel: variable %s has its tensor in common with another", loans[0].name)
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
	if o.owner != nil {
		o.Kernel.Options.LR = o.initial
	}
	o.owner, o.taken, o.err = nil, nil, nil
	clear(o.graphs)
	return ctx.InAbsPath(context.ScopeSeparator + o.Scope).DeleteVariablesInScope()
}
