package gorgoniakernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// BenchmarkStep takes steps on a tensor of 1Mi elements. The gradients, which each
// step sets to zero, are restored outside of the time that counts.
func BenchmarkStep(b *testing.B) {
	const n = 1 << 20
	for _, workers := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
		b.Run(fmt.Sprintf("float32/kernel/workers=%d", workers), func(b *testing.B) {
			benchmarkStep[float32](b, n, FromGorgonia(WithWorkers(workers)).AsSolver())
		})
	}
	b.Run("float32/gorgonia", func(b *testing.B) { benchmarkStep[float32](b, n, gorgonia.NewRMSPropSolver()) })
	b.Run("float32/kernel's Adam/workers=1", func(b *testing.B) { benchmarkStep[float32](b, n, AdamFromGorgonia(WithWorkers(1)).AsSolver()) })
	b.Run("float32/gorgonia's Adam", func(b *testing.B) { benchmarkStep[float32](b, n, gorgonia.NewAdamSolver()) })
	b.Run("float64/kernel/workers=1", func(b *testing.B) {
		benchmarkStep[float64](b, n, FromGorgonia(WithFloat64(), WithWorkers(1)).AsSolver())
	})
	b.Run("float64/gorgonia", func(b *testing.B) { benchmarkStep[float64](b, n, gorgonia.NewRMSPropSolver()) })
}

func benchmarkStep[F float32 | float64](b *testing.B, n int, solver gorgonia.Solver) {
	matrix := func() *tensor.Dense {
		return tensor.New(tensor.WithShape(n/1024, 1024), tensor.WithBacking(make([]F, n)))
	}
	node := &leaf{name: "w", value: matrix(), grad: matrix()}
	model := valueGrads([]*leaf{node})
	gradient := make([]F, n)
	for i := range gradient {
		gradient[i] = F(i%1000+1) / 1000
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		copy(node.grad.Data().([]F), gradient)
		b.StartTimer()
		if err := solver.Step(model); err != nil {
			b.Fatal(err)
		}
	}
}
