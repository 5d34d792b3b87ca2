package kernel

import (
	"fmt"
	"slices"
	"testing"
)

// benchLayouts are the arrays that a member may have besides theta, grad and s, with
// the bytes that a step reads and writes for each element.
var benchLayouts = []struct {
	name   string
	member RMSProp
	bytes  int64
}{
	{"update", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7}, 20},
	{"plain", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, LossScale: 2, WeightDecay: 0.01}, 20},
	{"momentum", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9}, 28},
	{"centered", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Centered: true}, 28},
	{"both", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, Momentum: 0.9, Centered: true}, 36},
}

// perElement reports what a benchmark of n elements an iteration takes.
func perElement(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n)*1000, "ns/1000elements")
}

// BenchmarkMember has update, the plain options that take Update's way, for
// comparison.
func BenchmarkMember(b *testing.B) {
	for _, n := range []int{32 << 10, 16 << 20} {
		for _, layout := range benchLayouts {
			o := layout.member
			d := o.allocate(n)
			if err := AdviseHugePages(d.all()...); err != nil {
				b.Log(err)
			}
			r := generator(1)
			r.training(d)
			for _, name := range ISAs() {
				b.Run(fmt.Sprintf("%dKi/%s/%s", n>>10, layout.name, name), func(b *testing.B) {
					useISA(b, name)
					b.SetBytes(layout.bytes * int64(n))
					for b.Loop() {
						o.Update(d.theta, d.grad, d.state())
					}
					perElement(b, n)
				})
			}
		}
	}
}

// BenchmarkDead has parameters whose gradient is 0 and whose means and momentum
// have become subnormal at the start, or will in the course of it.
func BenchmarkDead(b *testing.B) {
	const n = 32 << 10
	for _, layout := range benchLayouts {
		for _, start := range []float32{1e-40, 1e-20, 1e-6} {
			o := layout.member
			o.WeightDecay = 0 // which would make theta its gradient
			for _, name := range ISAs() {
				b.Run(fmt.Sprintf("%s/%g/%s", layout.name, start, name), func(b *testing.B) {
					useISA(b, name)
					d := o.allocate(n)
					for b.Loop() {
						b.StopTimer()
						for _, x := range d.all()[2:] {
							for i := range x {
								x[i] = start
							}
						}
						b.StartTimer()
						for range 100 {
							o.Update(d.theta, d.grad, d.state())
						}
					}
					perElement(b, 100*n)
				})
			}
		}
	}
}

func BenchmarkOptimizer(b *testing.B) {
	o := RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7}
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
		// What each tensor takes by itself, with the checks of every call.
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

// BenchmarkShort is what a call of few elements costs: RMSProp.Update beside
// Update.
func BenchmarkShort(b *testing.B) {
	for _, n := range []int{1, 8, 16, 100} {
		for _, layout := range benchLayouts {
			o := layout.member
			d := o.allocate(n)
			r := generator(3)
			r.training(d)
			st := d.state()
			b.Run(fmt.Sprintf("%d/%s", n, layout.name), func(b *testing.B) {
				for b.Loop() {
					o.Update(d.theta, d.grad, st)
				}
			})
		}
		theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
		b.Run(fmt.Sprintf("%d/Update", n), func(b *testing.B) {
			for b.Loop() {
				Update(theta, grad, s, 0.001, 0.9, 1e-7)
			}
		})
	}
}

// BenchmarkRows has as many rows as are 16Ki elements, every other of the table,
// and, for what their elements take, one Update of all.
func BenchmarkRows(b *testing.B) {
	const n = 16 << 10
	for _, width := range []int{8, 16, 64} {
		for _, layout := range benchLayouts[:3] {
			o := layout.member
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

// BenchmarkMoved is a step on 100 tensors of one element that lie elsewhere than in the
// step before, with two workers: nearly all of it are the checks.
func BenchmarkMoved(b *testing.B) {
	const count = 100
	for _, layout := range benchLayouts {
		o := layout.member
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

// BenchmarkStep has the options of Step besides: what the norm and zeroing the gradients cost.
func BenchmarkStep(b *testing.B) {
	const n = 16 << 20
	o := RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7}
	r := generator(6)
	d := newTensors(&r, &o, []int{n}, true)[0]
	if err := AdviseHugePages(d.all()...); err != nil {
		b.Log(err)
	}
	for _, workers := range []int{1, 2} {
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
		// What ZeroGrad is to save.
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
