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

// BenchmarkStep runs the graph of an update of 1Mi parameters, and takes the step.
// The graph has an operation of its own that makes the gradients, a product. With
// "gradients" that is all: no step is taken.
func BenchmarkStep(b *testing.B) {
	none := func() error { return nil }
	b.Run("gomlx", func(b *testing.B) { benchmarkStep(b, optimizers.RMSProp().Done(), none) })
	b.Run("kernel", func(b *testing.B) {
		opt := gomlxkernel.New(kernel.GoMLX())
		opt.ByHand = true
		benchmarkStep(b, opt, opt.Step)
	})
	b.Run("gradients", func(b *testing.B) {
		opt := gomlxkernel.New(kernel.GoMLX())
		opt.ByHand = true
		benchmarkStep(b, opt, none)
	})
}

func benchmarkStep(b *testing.B, opt optimizers.Interface, step func() error) {
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
	x := tensors.FromFlatDataAndDimensions(elements, n)
	update := func() {
		exec.MustExec(x)
		if err := step(); err != nil {
			b.Fatal(err)
		}
	}
	update() // the graph is built
	b.ReportAllocs()
	for b.Loop() {
		update()
	}
}
