package kernel

import "testing"

// Two units of work never write to the same cache line of the thetas or of the states that Step
// allocates, wherever the thetas lie.
func TestPartitionCacheLines(t *testing.T) {
	r := random(t, 23)
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		o := Keras()
		o.Centered = round%2 == 0
		o.Momentum = float64(round%3) / 4
		memory := make([]float32, 60_000)
		var params []Param
		for at := r.intn(40); ; {
			n := []int{r.intn(4), r.intn(40), r.intn(20_000)}[r.intn(3)]
			if at+n > len(memory) {
				break
			}
			params = append(params, Param{Theta: memory[at : at+n], Grad: make([]float32, n)})
			at += n + r.intn(3)*r.intn(30)
		}
		for i := range params { // in any order
			j := r.intn(i + 1)
			params[i], params[j] = params[j], params[i]
		}
		opt := &Optimizer{Options: o, Workers: 2}
		mustStep(t, opt, params)
		for range 2 {
			owner := map[uintptr]int{}
			elements, empty := 0, 0
			for unit := range opt.partition.units() {
				for _, piece := range opt.partition.unit(unit) {
					param := params[piece.tensor]
					start, end := piece.start, piece.end
					elements += end - start
					if len(param.Theta) == 0 {
						if unit != opt.partition.units()-1 {
							t.Fatal("a tensor without elements is not in the last unit")
						}
						empty++
					}
					for _, x := range [][]float32{param.Theta, param.State.MeanSquare, param.State.MeanGrad, param.State.MomentumBuffer} {
						if x = part(x, start, end); len(x) == 0 {
							continue
						}
						first, end := extent(x)
						for line := first / lineSize; line <= (end-1)/lineSize; line++ {
							if before, ok := owner[line]; ok && before != unit {
								t.Fatalf("units %d and %d write to one cache line", before, unit)
							}
							owner[line] = unit
						}
					}
				}
			}
			for _, param := range params {
				elements -= len(param.Theta)
				if len(param.Theta) == 0 {
					empty--
				}
			}
			if elements != 0 || empty != 0 {
				t.Fatalf("%d elements and %d empty tensors too many in %d units", elements, empty, opt.partition.units())
			}
			opt.partition.divide(params, opt.places.order, 1+r.intn(500)) // and once more in smaller units
		}
	}
}

// The last unit of work is small compared with all others, and there are units for all workers,
// for one large tensor and for many small ones.
func TestPartitionUnits(t *testing.T) {
	for _, test := range []struct{ tensors, size, workers, least, most int }{
		{1, 8 << 20, 2, 128, 128}, {1, 4 << 20, 2, 64, 64}, {1, 4 << 20, 1, 1, 1}, {10_000, 100, 2, 60, 64}, {10_000, 100, 8, 200, 256},
		{3, 1 << 20, 4, 128, 128}, {1, 100, 8, 1, 1}, {1000, 1, 8, 1, 1}, {300, 100, 8, 7, 8},
	} {
		var params []Param
		for range test.tensors {
			params = append(params, Param{Theta: make([]float32, test.size), Grad: make([]float32, test.size)})
		}
		opt := &Optimizer{Options: Keras(), Workers: test.workers}
		for range 2 {
			mustStep(t, opt, params)
			if units := opt.partition.units(); units < test.least || units > test.most {
				t.Errorf("%+v: %d units", test, units)
			}
			opt.Workers = 3 - 2*min(1, test.workers-1) // 3 for one worker, else 1
			mustStep(t, opt, params)
			if units := opt.partition.units(); opt.Workers == 1 && units != 1 || opt.Workers == 3 && units == 1 {
				t.Errorf("%+v: %d units for %d workers from then on", test, units, opt.Workers)
			}
			opt.Workers = test.workers
		}
	}
}
