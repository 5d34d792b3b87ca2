package gomlxkernel_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/context/checkpoints"
	"github.com/gomlx/gomlx/pkg/ml/layers/regularizers"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers/cosineschedule"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
)

// weights are the variables of the model that is trained: a matrix, a scalar at the
// root, and a vector. Their lengths leave remainders of every vector's.
var weights = []struct {
	scope, name string
	dims        []int
}{{"/layer", "w", []int{37, 3}}, {"/", "scale", nil}, {"/layer/deeper", "b", []int{5}}}

// training is of a model whose gradients are its inputs: the loss is the sum of the
// products of all weights and inputs.
type training struct {
	t       *testing.T
	ctx     *context.Context
	trainer *train.Trainer
	loop    *train.Loop

	handler *checkpoints.Handler

	// What a test wants otherwise.
	backend    backends.Backend
	accumulate int // batches
	unattached bool
	l1         float64 // what the L1 regularizer is given
	frozen     bool    // no weight is trainable
	float64    bool    // the matrix is
	shared     bool    // there is another variable with the tensor of the matrix
}

func newTraining(t *testing.T, opt optimizers.Interface, configure ...func(*training)) *training {
	t.Helper()
	tr := &training{t: t, ctx: context.New(), backend: pureGo}
	for _, f := range configure {
		if f != nil {
			f(tr)
		}
	}
	loss := func(_, predictions []*graph.Node) *graph.Node { return predictions[0] }
	tr.trainer = train.NewTrainer(tr.backend, tr.ctx, tr.model, loss, opt, nil, nil)
	if tr.accumulate > 0 {
		if err := tr.trainer.AccumulateGradients(tr.accumulate); err != nil {
			t.Fatal(err)
		}
	}
	tr.loop = train.NewLoop(tr.trainer)
	if ours, ok := opt.(*gomlxkernel.Optimizer); ok && !tr.unattached {
		ours.AttachTo(tr.loop)
	}
	return tr
}

// pureGo runs the operations of a graph one after the other: where GoMLX v0.26 runs
// them at the same time, the race detector has much to say about it.
var pureGo = newBackend("ops_sequential")

func newBackend(config string) backends.Backend {
	backend, err := simplego.New(config)
	if err != nil {
		panic(err)
	}
	return backend
}

func (tr *training) model(ctx *context.Context, _ any, inputs []*graph.Node) []*graph.Node {
	g := inputs[0].Graph()
	ctx = ctx.Checked(false) // the variables may have come from a checkpoint
	cosineschedule.New(ctx, g, dtypes.Float32).FromContext().Done()
	sum := graph.ScalarZero(g, dtypes.Float32)
	for i, initial := range initialWeights()[:len(inputs)] {
		if i == 0 && tr.float64 {
			initial = tensors.FromShape(shapes.Make(dtypes.Float64, weights[i].dims...))
		}
		v := ctx.InAbsPath(weights[i].scope).VariableWithValue(weights[i].name, initial).SetTrainable(!tr.frozen)
		if tr.l1 != 0 {
			regularizers.L1(tr.l1)(ctx, g, v)
		}
		value := v.ValueGraph(g)
		if i == 0 && tr.shared {
			value = graph.Add(value, ctx.VariableWithValue("twin", initial).ValueGraph(g))
		}
		product := graph.Mul(graph.ConvertDType(value, dtypes.Float32), inputs[i])
		sum = graph.Add(sum, graph.ReduceAllSum(product))
	}
	return []*graph.Node{sum}
}

// initialWeights are always the same.
func initialWeights() (all []*tensors.Tensor) {
	return normal(rand.New(rand.NewPCG(7, 7)), 1)
}

// normal returns a tensor of random numbers for each of the weights.
func normal(rng *rand.Rand, scale float32) (all []*tensors.Tensor) {
	for _, w := range weights {
		n := 1
		for _, d := range w.dims {
			n *= d
		}
		elements := make([]float32, n)
		for i := range elements {
			elements[i] = scale * float32(rng.NormFloat64())
		}
		all = append(all, tensors.FromFlatDataAndDimensions(elements, w.dims...))
	}
	return all
}

// inputs is a data set without end.
type inputs struct {
	rng       *rand.Rand
	scale     float32
	variables int // of the weights; the first ones have an input
}

func newInputs() *inputs { return &inputs{rand.New(rand.NewPCG(1, 2)), 1, len(weights)} }

func (*inputs) Name() string { return "inputs" }
func (*inputs) Reset()       {}

// Yield has a spec for each number of inputs, so that there are as many graphs.
func (in *inputs) Yield() (spec any, ins, labels []*tensors.Tensor, err error) {
	return in.variables, normal(in.rng, in.scale)[:in.variables], nil, nil
}

// flat returns the elements of the next batch.
func (in *inputs) flat() []float32 { return concatenate(normal(in.rng, in.scale)) }

func concatenate(ts []*tensors.Tensor) (all []float32) {
	for _, t := range ts {
		all = append(all, tensors.MustCopyFlatData[float32](t)...)
	}
	return all
}

// run runs that many of the loop's steps.
func (tr *training) run(data train.Dataset, steps int) {
	tr.t.Helper()
	if _, err := tr.loop.RunSteps(data, steps); err != nil {
		tr.t.Fatal(err)
	}
}

// runOne takes a step whose loss is not finite, which the loop complains about.
func (tr *training) runOne(data train.Dataset) {
	tr.t.Helper()
	if _, err := tr.loop.RunSteps(data, 1); err == nil || !strings.Contains(err.Error(), "batch loss is") {
		tr.t.Fatalf("error %v", err)
	}
}

func (tr *training) initial() []float32 { return concatenate(initialWeights()) }

// weights returns the elements of all weights.
func (tr *training) weights() []float32 {
	tr.t.Helper()
	var all []*tensors.Tensor
	for _, w := range weights {
		all = append(all, tr.ctx.GetVariableByScopeAndName(w.scope, w.name).MustValue())
	}
	return concatenate(all)
}

func (tr *training) globalStep() int64 { return tr.trainer.GlobalStep() }
