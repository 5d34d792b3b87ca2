package gorgoniakernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
)

// A step on a tensor of 1Mi elements. The gradients, which each step sets to
// zero, are restored outside of the time that counts.
func BenchmarkStep(b *testing.B) {
	const n = 1 << 20
	type bench struct {
		name   string
		solver gorgonia.Solver
	}
	benches := []bench{{"gorgonia", gorgonia.NewRMSPropSolver()}}
	for _, workers := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
		benches = append(benches, bench{fmt.Sprintf("kernel/workers=%d", workers), FromGorgonia(WithWorkers(workers))})
	}
	gradient := make([]float32, n)
	for i := range gradient {
		gradient[i] = float32(i%1000+1) / 1000
	}
	for _, bench := range benches {
		b.Run(bench.name, func(b *testing.B) {
			node := &leaf{name: "w", value: dense(make([]float32, n), 1024, 1024), grad: dense(make([]float32, n), 1024, 1024)}
			model := valueGrads([]*leaf{node})
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				copy(node.grad.Data().([]float32), gradient)
				b.StartTimer()
				if err := bench.solver.Step(model); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
