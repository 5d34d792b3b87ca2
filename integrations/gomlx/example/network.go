package main

import (
	"io"
	"iter"
	"math/rand/v2"

	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"

	"github.com/seed57504d97/kernel/internal/digits"
)

const hidden = 64

// network is the train.ModelFn of a perceptron of two layers.
func network(ctx *context.Context, _ any, inputs []*graph.Node) []*graph.Node {
	return []*graph.Node{scores(ctx, inputs[0])}
}

// scores returns digits.Classes numbers for each of the images. The weights begin
// the same way each time.
func scores(ctx *context.Context, images *graph.Node) *graph.Node {
	rng := rand.New(rand.NewPCG(1, 0))
	layer := func(ctx *context.Context, x *graph.Node, outputs int) *graph.Node {
		inputs := x.Shape().Dim(-1)
		initial := tensors.FromFlatDataAndDimensions(digits.Weights(rng, inputs, outputs), inputs, outputs)
		w := ctx.VariableWithValue("w", initial).ValueGraph(x.Graph())
		b := ctx.VariableWithValue("b", make([]float32, outputs)).ValueGraph(x.Graph())
		return graph.Add(graph.Dot(x, w), graph.ExpandLeftToRank(b, 2))
	}
	h := graph.MaxScalar(layer(ctx.In("hidden"), images, hidden), 0)
	return layer(ctx.In("classes"), h, digits.Classes)
}

// batches is the train.Dataset of a set, an epoch at a time.
type batches struct {
	set   *digits.Set
	epoch int
	next  func() (*digits.Batch, bool) // of the epoch; nil before its first
}

func (*batches) Name() string { return "digits" }

// Reset goes on to the next epoch.
func (b *batches) Reset() {
	b.epoch++
	b.next = nil
}

func (b *batches) Yield() (spec any, inputs, labels []*tensors.Tensor, err error) {
	if b.next == nil {
		b.next, _ = iter.Pull(b.set.Batches(b.epoch, batch)) // which ends by itself, with the epoch
	}
	set, ok := b.next()
	if !ok {
		return nil, nil, nil, io.EOF
	}
	x, y := batchTensors(set)
	return nil, []*tensors.Tensor{x}, []*tensors.Tensor{y}, nil
}

// batchTensors returns the images, a row each, and the labels.
func batchTensors(set *digits.Batch) (images, labels *tensors.Tensor) {
	n := len(set.Labels)
	return tensors.FromFlatDataAndDimensions(set.Images, n, digits.Pixels), tensors.FromFlatDataAndDimensions(set.Labels, n, 1)
}
