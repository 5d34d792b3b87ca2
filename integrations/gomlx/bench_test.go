package gomlxkernel_test

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
)

// BenchmarkStep runs the graph of an update of 1Mi parameters, step included. The
// graph has one operation of its own that makes the gradients, a product. With
// "gradients" that is all: no step is taken.
func BenchmarkStep(b *testing.B) {
	b.Run("gomlx", func(b *testing.B) { benchmarkStep(b, optimizers.RMSProp().Done()) })
	b.Run("kernel", func(b *testing.B) { benchmarkStep(b, gomlxkernel.New(kernel.GoMLX())) })
	b.Run("gomlx's Adam", func(b *testing.B) { benchmarkStep(b, optimizers.Adam().Done()) })
	b.Run("kernel's Adam", func(b *testing.B) { benchmarkStep(b, gomlxkernel.New(kernel.GoMLXAdam())) })
	b.Run("gradients", func(b *testing.B) { benchmarkStep(b, gradientsOnly{}) })
}

// gradientsOnly is an optimizer that computes the gradients and takes no step.
type gradientsOnly struct{ optimizers.Interface }

func (gradientsOnly) UpdateGraphWithGradients(_ *context.Context, gradients []*graph.Node, _ dtypes.DType) {
	for _, grad := range gradients {
		grad.SetLogged("gradient")
	}
}

func benchmarkStep(b *testing.B, opt optimizers.Interface) {
	const n = 1 << 20
	rng := rand.New(rand.NewPCG(1, 1))
	elements := make([]float32, n)
	for i := range elements {
		elements[i] = float32(rng.NormFloat64())
	}
	ctx := context.New()
	exec := context.MustNewExec(newBackend(""), ctx, func(ctx *context.Context, x *graph.Node) *graph.Node {
		w := ctx.VariableWithValue("w", make([]float32, n)).ValueGraph(x.Graph())
		gradients := []*graph.Node{graph.MulScalar(x, 0.5)}
		opt.(train.OptimizeWithGradients).UpdateGraphWithGradients(ctx, gradients, dtypes.Float32)
		return graph.Slice(w, graph.AxisRange(0, 1))
	})
	exec.SetNodeLogger(func(_ *graph.Graph, _ []string, logged []*tensors.Tensor, _ []graph.NodeId) {
		for _, t := range logged {
			t.MustFinalizeAll()
		}
	})
	if ours, ok := opt.(*gomlxkernel.Optimizer); ok {
		ours.AttachToExec(exec)
	}
	x := tensors.FromFlatDataAndDimensions(elements, n)
	exec.MustExec(x) // the graph is built
	b.ReportAllocs()
	for b.Loop() {
		exec.MustExec(x)
	}
}
