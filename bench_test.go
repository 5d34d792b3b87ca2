package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// These benchmarks are for benchstat. go run -C bench . compares with the memory traffic and
// with other libraries.

// benchLayouts has a variant for each layout.
var benchLayouts = []struct {
	name string
	variant
}{
	{"update", variant{usual, byUpdate}},
	{"plain", variant{RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, LossScale: 2, WeightDecay: 0.01}, byMethod}},
	{"momentum", variant{RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9}, byMethod}},
	{"centered", variant{RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Centered: true}, byMethod}},
	{"both", variant{RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9, Centered: true}, byMethod}},
}

// benchmarkISAs runs f as a sub-benchmark with each implementation that this CPU supports.
func benchmarkISAs(b *testing.B, name string, f func(b *testing.B)) {
	for _, isa := range ISAs() {
		b.Run(name+"/"+isa, func(b *testing.B) {
			useISA(b, isa)
			f(b)
		})
	}
}

// benchmarkSteps measures v's steps over d. Each loads all arrays and stores all but
// the gradient.
func benchmarkSteps(b *testing.B, v variant, d tensorData) {
	arrays := 0
	for _, x := range d.all() {
		if x != nil {
			arrays++
		}
	}
	n := len(d.theta)
	b.SetBytes(int64((2*arrays - 1) * 4 * n))
	if v.by == byUpdate { // directly, for the short calls
		for b.Loop() {
			Update(d.theta, d.grad, d.s, v.LR, v.Rho, v.Eps)
		}
	} else {
		st := d.state()
		for b.Loop() {
			v.Update(d.theta, d.grad, st)
		}
	}
	perElement(b, n)
}

// perElement reports the time for each element of a benchmark with n elements in an iteration.
func perElement(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n)*1000, "ns/1000elements")
}

// BenchmarkUpdate measures ordinary data: single elements, the first cache, the second, the
// last, and memory.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1, 8, 16, 64, 100, 1 << 10, 32 << 10, 1 << 20, 16 << 20} {
		for _, layout := range benchLayouts {
			d := layout.allocate(n)
			if err := AdviseHugePages(d.all()...); err != nil {
				b.Log(err)
			}
			r := generator(1)
			r.training(d)
			benchmarkISAs(b, fmt.Sprintf("%d/%s", n, layout.name), func(b *testing.B) { benchmarkSteps(b, layout.variant, d) })
		}
	}
}

// BenchmarkData measures data on which a plain loop meets subnormal numbers in every step and
// becomes many times slower: gradients of 0 with means and momentum that are or become
// subnormal, and gradients whose square is subnormal. Here each kind takes the same time.
func BenchmarkData(b *testing.B) {
	const n = 32 << 10
	for _, kind := range []struct {
		name        string
		grad, state float32
	}{
		{"ordinary", 0.01, 1e-4},
		{"dead-subnormal", 0, 1e-40},
		{"dying", 0, 1e-6},
		{"tiny-gradients", 1e-20, 0},
	} {
		for _, layout := range benchLayouts {
			layout.WeightDecay = 0 // with it, theta would be a gradient
			benchmarkISAs(b, kind.name+"/"+layout.name, func(b *testing.B) {
				d := layout.allocate(n)
				for i := range n {
					d.theta[i], d.grad[i] = 1, kind.grad
				}
				for b.Loop() {
					b.StopTimer()
					for _, x := range d.all()[2:] {
						for i := range x {
							x[i] = kind.state
						}
					}
					b.StartTimer()
					for range 100 {
						layout.step(d)
					}
				}
				perElement(b, 100*n)
			})
		}
	}
}

// BenchmarkOffset begins the slices that many elements after the start of a cache line: all
// three alike, or each at another offset.
func BenchmarkOffset(b *testing.B) {
	const n = 32 << 10
	for _, at := range [][3]int{{0, 0, 0}, {1, 1, 1}, {8, 8, 8}, {1, 5, 11}} {
		benchmarkISAs(b, fmt.Sprintf("%d-%d-%d", at[0], at[1], at[2]), func(b *testing.B) {
			// An allocation of this size begins a page.
			d := usual.allocate(n + 16).replace(func(i int, x []float32) []float32 { return x[at[i]:][:n] })
			r := generator(8)
			r.training(d)
			benchmarkSteps(b, variants[0], d)
		})
	}
}

func BenchmarkOptimizer(b *testing.B) {
	o := usual
	for _, shape := range []struct {
		name       string
		count, len int
	}{{"10000x100", 10_000, 100}, {"1x64Mi", 1, 64 << 20}} {
		r := generator(2)
		sizes := make([]int, shape.count)
		for i := range sizes {
			sizes[i] = shape.len
		}
		tensors := newTensors(&r, &o, sizes, true)
		if shape.count == 1 {
			if err := AdviseHugePages(tensors[0].all()...); err != nil {
				b.Log(err)
			}
		}
		perTensor := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(shape.count), "ns/tensor")
		}
		// Each tensor in a call of its own, with the checks of every call.
		b.Run(shape.name+"/Update", func(b *testing.B) {
			b.SetBytes(20 * int64(shape.count*shape.len))
			for b.Loop() {
				for _, d := range tensors {
					Update(d.theta, d.grad, d.s, o.LR, o.Rho, o.Eps)
				}
			}
			perTensor(b)
		})
		for _, workers := range []int{1, 2} {
			opt := &Optimizer{Options: o, Workers: workers}
			params := paramsOf(tensors, always)
			b.Run(fmt.Sprintf("%s/workers=%d", shape.name, workers), func(b *testing.B) {
				b.SetBytes(20 * int64(shape.count*shape.len))
				for b.Loop() {
					if _, err := opt.Step(params); err != nil {
						b.Fatal(err)
					}
				}
				perTensor(b)
			})
		}
	}
}

// BenchmarkRows steps every other row of a table, 16Ki elements in all, and for comparison all
// of these elements in one Update.
func BenchmarkRows(b *testing.B) {
	const n = 16 << 10
	for _, width := range []int{8, 16, 64} {
		for _, layout := range benchLayouts[:3] {
			o := layout.RMSProp
			d := o.allocate(2 * n)
			r := generator(4)
			r.training(d)
			var rows []int
			for row := 0; row < 2*n/width; row += 2 {
				rows = append(rows, row)
			}
			st := d.state()
			perRow := func(b *testing.B) {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rows)), "ns/row")
			}
			b.Run(fmt.Sprintf("%d/%s/UpdateRows", width, layout.name), func(b *testing.B) {
				for b.Loop() {
					o.UpdateRows(d.theta, d.grad[:n], st, rows, width)
				}
				perRow(b)
			})
			half := d.slice(0, n)
			b.Run(fmt.Sprintf("%d/%s/Update", width, layout.name), func(b *testing.B) {
				for b.Loop() {
					o.Update(half.theta, half.grad, half.state())
				}
				perRow(b)
			})
		}
	}
}

// BenchmarkMoved steps 100 tensors of one element whose places change in every step, with two
// workers. Nearly all of the time goes into the checks.
func BenchmarkMoved(b *testing.B) {
	const count = 100
	for _, layout := range benchLayouts {
		o := layout.RMSProp
		r := generator(5)
		var sizes []int
		for range count {
			sizes = append(sizes, 1)
		}
		var sets [2][]Param
		for i := range sets {
			sets[i] = paramsOf(newTensors(&r, &o, sizes, false), always)
		}
		moved := slices.Clone(sets[0])
		for i := range moved {
			moved[i].Grad = sets[1][i].Grad
		}
		for _, second := range []struct {
			name   string
			params []Param
		}{{"none", sets[0]}, {"gradients", moved}, {"all", sets[1]}} {
			for _, zero := range []bool{false, true} {
				b.Run(fmt.Sprintf("%s/%s/ZeroGrad=%v", layout.name, second.name, zero), func(b *testing.B) {
					opt := &Optimizer{Options: o, Workers: 2, ZeroGrad: zero}
					for b.Loop() {
						mustStep(b, opt, sets[0])
						mustStep(b, opt, second.params)
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/step")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkStep measures Step, and what the norm and zeroing the gradients cost.
func BenchmarkStep(b *testing.B) {
	const n = 16 << 20
	o := usual
	r := generator(6)
	d := newTensors(&r, &o, []int{n}, true)[0]
	if err := AdviseHugePages(d.all()...); err != nil {
		b.Log(err)
	}
	counts := []int{1, 2, max(2, runtime.GOMAXPROCS(0))} // the last is -cpu
	for _, workers := range slices.Compact(counts) {
		for _, on := range []struct {
			name string
			opt  *Optimizer
		}{
			{"plain", &Optimizer{}},
			{"ZeroGrad", &Optimizer{ZeroGrad: true}},
			{"ClipNorm", &Optimizer{ClipNorm: 1e9}},
		} {
			b.Run(fmt.Sprintf("%s/workers=%d", on.name, workers), func(b *testing.B) {
				on.opt.Options, on.opt.Workers = o, workers
				params := []Param{{Theta: d.theta, Grad: d.grad, State: d.state()}}
				for b.Loop() {
					mustStep(b, on.opt, params)
				}
				perElement(b, n)
			})
		}
		// What ZeroGrad saves.
		b.Run(fmt.Sprintf("clear/workers=%d", workers), func(b *testing.B) {
			opt := &Optimizer{Options: o, Workers: workers}
			params := []Param{{Theta: d.theta, Grad: d.grad, State: d.state()}}
			for b.Loop() {
				mustStep(b, opt, params)
				clear(d.grad)
			}
			perElement(b, n)
		})
	}
}
