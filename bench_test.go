package kernel

import (
	"fmt"
	"testing"
)

// The benchmarks of go test, for benchstat. Against the memory traffic and other
// libraries, go run -C bench . measures.

// benchmarkISAs runs f as a sub-benchmark for each implementation that this CPU
// has, with that one in use.
func benchmarkISAs(b *testing.B, f func(b *testing.B)) {
	for _, name := range ISAs() {
		b.Run(name, func(b *testing.B) {
			useISA(b, name)
			f(b)
		})
	}
}

// benchmarkSlices measures steps over the slices. A step loads all three and
// stores two of them.
func benchmarkSlices(b *testing.B, theta, grad, s []float32) {
	b.SetBytes(5 * 4 * int64(len(theta)))
	for b.Loop() {
		Update(theta, grad, s, usual.lr, usual.rho, usual.eps)
	}
}

// BenchmarkUpdate is ordinary data: single elements, the first cache, the
// second, the last, and memory.
func BenchmarkUpdate(b *testing.B) {
	benchmarkISAs(b, func(b *testing.B) {
		for _, n := range []int{1, 8, 64, 1 << 10, 32 << 10, 1 << 20, 16 << 20} {
			b.Run(fmt.Sprint(n), func(b *testing.B) {
				theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
				r := generator(7)
				r.ordinary(theta, grad, s)
				benchmarkSlices(b, theta, grad, s)
			})
		}
	})
}

// BenchmarkData is data on which a plain loop meets subnormal numbers in every
// step, and is many times slower for it. Here each kind takes the same time.
func BenchmarkData(b *testing.B) {
	const n = 32 << 10
	kinds := []struct {
		name    string
		grad, s float32
	}{
		{"ordinary", 0.01, 1e-4},
		{"dead-subnormal-s", 0, 1e-40},
		{"tiny-gradients", 1e-20, 0},
	}
	benchmarkISAs(b, func(b *testing.B) {
		for _, kind := range kinds {
			b.Run(kind.name, func(b *testing.B) {
				theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
				for i := range theta {
					theta[i], grad[i], s[i] = 1, kind.grad, kind.s
				}
				benchmarkSlices(b, theta, grad, s)
			})
		}
	})
}

// BenchmarkOffset begins the slices that many elements after a cache line's
// start: all three alike, or each elsewhere.
func BenchmarkOffset(b *testing.B) {
	const n = 32 << 10
	benchmarkISAs(b, func(b *testing.B) {
		for _, at := range [][3]int{{0, 0, 0}, {1, 1, 1}, {8, 8, 8}, {1, 5, 11}} {
			b.Run(fmt.Sprintf("%d-%d-%d", at[0], at[1], at[2]), func(b *testing.B) {
				// An allocation of this size begins a page.
				theta, grad, s := make([]float32, n+16)[at[0]:][:n], make([]float32, n+16)[at[1]:][:n], make([]float32, n+16)[at[2]:][:n]
				r := generator(8)
				r.ordinary(theta, grad, s)
				benchmarkSlices(b, theta, grad, s)
			})
		}
	})
}
