package kernel

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// tensorSizes are tensors of every kind: none, small, in the middle of a cache
// line, long enough to be cut.
var tensorSizes = []int{1, 0, 100, 17, 3*chunk + 5, 16, 1, 1, 1, 2000, 15, 31, smallestUnit, 20_011}

// newTensors returns tensors of those sizes: each for itself, or with all theta
// in one slice and all else in another, in which they share cache lines.
func newTensors(r *generator, o *RMSProp, sizes []int, together bool) []tensorData {
	total := 0
	for _, n := range sizes {
		total += n
	}
	all := o.allocate(total)
	r.training(all)
	var out []tensorData
	at := 0
	for _, n := range sizes {
		d := all.slice(at, at+n)
		if !together {
			d = d.clone()
		}
		out = append(out, d)
		at += n
	}
	return out
}

func paramsOf(tensors []tensorData, withState func(i int) bool) []Param {
	var params []Param
	for i, d := range tensors {
		param := Param{Theta: d[0], Grad: d[1]}
		if withState(i) {
			param.State = d.state()
		}
		params = append(params, param)
	}
	return params
}

func always(int) bool { return true }

func withGOMAXPROCS(t *testing.T, n int) {
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// However the work is divided, the bits are those of Update on each tensor.
func TestOptimizer(t *testing.T) {
	sets := optionSets
	if testing.Short() {
		sets = optionSets[:12]
	}
	forEachISA(t, func(t *testing.T) {
		for _, procs := range []int{1, 2, 8} {
			t.Run(fmt.Sprint("GOMAXPROCS=", procs), func(t *testing.T) {
				withGOMAXPROCS(t, procs)
				r := generator(21)
				for i, o := range sets {
					tensors := newTensors(&r, &o, tensorSizes, i%2 == 0)
					if i%3 == 0 {
						slices.Reverse(tensors)
					}
					var want []tensorData
					for _, d := range tensors {
						want = append(want, d.clone())
					}
					workers := []int{0, 1, 2, 3, 8, 1 << 20}[i%6]
					opt, err := NewOptimizer(o, paramsOf(tensors, always), workers)
					if err != nil {
						t.Fatal(err)
					}
					for step := range 2 {
						opt.LR = o.LR / float64(1+step)
						opt.Step()
						one := o
						one.LR = opt.LR
						for _, d := range want {
							one.Update(d[0], d[1], d.state())
						}
					}
					for i := range want {
						tensors[i].requireSame(t, fmt.Sprintf("%d workers, tensor %d, %+v", workers, i, o), want[i])
					}
				}
			})
		}
	})
}

func TestOptimizerMakesStates(t *testing.T) {
	o := TensorFlow()
	o.Centered, o.Momentum = true, 0.5
	for _, together := range []bool{false, true} {
		r := generator(22)
		tensors := newTensors(&r, &o, tensorSizes, together)
		params := paramsOf(tensors, func(i int) bool { return i%5 == 2 })
		var want []tensorData
		for i, d := range tensors {
			d = d.clone()
			if i%5 != 2 {
				st := o.NewState(len(d[0]))
				d[2], d[3], d[4] = st.MeanSquare, st.MeanGrad, st.Momentum
			}
			want = append(want, d)
		}
		opt, err := NewOptimizer(o, params, 3)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			opt.Step()
			for _, d := range want {
				o.Update(d[0], d[1], d.state())
			}
		}
		for i, param := range params {
			if opt.State(i) != param.State {
				t.Fatalf("State(%d) is not the one in params", i)
			}
			st := param.State
			got := tensorData{param.Theta, param.Grad, st.MeanSquare, st.MeanGrad, st.Momentum}
			got.requireSame(t, i, want[i])
			for _, x := range got[2:] {
				if cap(x) != len(x) && i%5 != 2 {
					t.Errorf("tensor %d: append to the state would write to another", i)
				}
			}
		}
	}
}

// No cache line of the thetas and of the states that NewOptimizer makes is
// written by two units of work, wherever the thetas lie.
func TestOptimizerCacheLines(t *testing.T) {
	r := generator(23)
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
		opt, err := NewOptimizer(o, params, 2)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			owner := map[uintptr]int{}
			elements := 0
			for unit, from := range opt.cuts[:len(opt.cuts)-1] {
				to := opt.cuts[unit+1]
				for i := from.tensor; i <= min(to.tensor, len(opt.tensors)-1); i++ {
					d := opt.tensors[i]
					start, end := 0, len(d.theta)
					if i == from.tensor {
						start = from.at
					}
					if i == to.tensor {
						end = to.at
					}
					elements += end - start
					for _, x := range [][]float32{d.theta, d.s, d.m, d.b} {
						if x = part(x, start, end); len(x) == 0 {
							continue
						}
						first, behind := extent(x)
						for line := first / lineSize; line <= (behind-1)/lineSize; line++ {
							if before, ok := owner[line]; ok && before != unit {
								t.Fatalf("units %d and %d write to one cache line", before, unit)
							}
							owner[line] = unit
						}
					}
				}
			}
			total := 0
			for _, param := range params {
				total += len(param.Theta)
			}
			if elements != total {
				t.Fatalf("%d elements of %d in %d units", elements, total, len(opt.cuts)-1)
			}
			opt.cuts = cutTensors(opt.tensors, 1+r.intn(500)) // and once more in smaller units
		}
	}
}

// The last unit of work is short against all the others.
func TestOptimizerUnits(t *testing.T) {
	for _, test := range []struct{ tensors, size, workers int }{
		{1, 64 << 20, 2}, {10_000, 100, 2}, {10_000, 100, 8}, {3, 1 << 20, 4}, {1, 100, 8}, {1, 64 << 20, 1},
	} {
		unit := unitSize(test.tensors*test.size, test.workers)
		units := (test.tensors*test.size + unit - 1) / unit
		if test.workers == 1 && units != 1 {
			t.Errorf("%+v: %d units", test, units)
		}
		if test.workers > 1 && units < 8*test.workers && unit > smallestUnit {
			t.Errorf("%+v: %d units of %d", test, units, unit)
		}
	}
}

func TestOptimizerSetGrad(t *testing.T) {
	o := Keras()
	memory := make([]float32, 40)
	theta, other, s := memory[8:12], memory[16:20], memory[24:28]
	params := []Param{{Theta: other, Grad: make([]float32, 4)}, {theta, memory[:4], &State{MeanSquare: s}}}
	opt, err := NewOptimizer(o, params, 2)
	if err != nil {
		t.Fatal(err)
	}
	const apart = " overlap in memory: they must be apart"
	for _, test := range []struct {
		i    int
		grad []float32
		want string
	}{
		{2, nil, "i = 2: must be in [0, 2), the tensors"},
		{-1, nil, "i = -1: must be in [0, 2), the tensors"},
		{1, make([]float32, 3), "params[1]: len(grad) = 3, len(Theta) = 4: lengths must be equal"},
		{1, theta, "params[1]: grad and params[1].Theta" + apart},
		{0, memory[5:9], "params[0]: grad and params[1].Theta" + apart},
		{1, memory[19:23], "params[1]: grad and params[0].Theta" + apart},
		{1, memory[21:25], "params[1]: grad and params[1].State.MeanSquare" + apart},
		{0, opt.State(0).MeanSquare, "params[0]: grad and params[0].State.MeanSquare" + apart},
	} {
		err := opt.SetGrad(test.i, test.grad)
		if _, ok := errors.AsType[*ArgumentError](err); !ok || err.Error() != "kernel: "+test.want {
			t.Errorf("SetGrad = %v, want %s", err, test.want)
		}
	}
	for _, grad := range [][]float32{memory[4:8], memory[12:16], memory[20:24], memory[28:32], memory[:4]} {
		for i := range grad {
			grad[i] = 2
		}
		if err := opt.SetGrad(0, grad); err != nil { // both share the last one
			t.Error(err)
		}
	}
	opt.Step()
	for _, x := range slices.Concat(theta, other) {
		if x >= 0 {
			t.Errorf("theta = %g after a step along a positive gradient", x)
		}
	}
}

func TestNewOptimizerErrors(t *testing.T) {
	o := Keras()
	o.Momentum = 0.9
	memory := make([]float32, 100)
	at := func(i int) []float32 { return memory[i : i+10] }
	good := func() []Param {
		return []Param{
			{at(0), at(10), &State{MeanSquare: at(20), Momentum: at(30)}},
			{at(40), at(10), nil}, // a gradient may be shared
			{at(50), at(60), &State{MeanSquare: at(70), Momentum: at(80)}},
		}
	}
	if _, err := NewOptimizer(o, good(), 2); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		change func(o *RMSProp, params []Param)
		want   []string
	}{
		{func(o *RMSProp, params []Param) { o.LR = -1; o.Eps = math.NaN() },
			[]string{"LR = -1: must be finite in float32 and not negative", "Eps = NaN: must be finite in float32 and not negative"}},
		{func(o *RMSProp, params []Param) { params[1].Grad = nil; params[2].State.Momentum = nil },
			[]string{"params[1]: len(Grad) = 0, len(Theta) = 10: lengths must be equal",
				"params[2]: len(State.Momentum) = 0, len(Theta) = 10, Momentum = 0.9: missing, the option needs it"}},
		{func(o *RMSProp, params []Param) { params[2].State.MeanGrad = at(90) },
			[]string{"params[2]: len(State.MeanGrad) = 10, len(Theta) = 10, Centered = false: must be empty without that option"}},
		{func(o *RMSProp, params []Param) { params[2].State.MeanSquare = memory[70:79] },
			[]string{"params[2]: len(State.MeanSquare) = 9, len(Theta) = 10: lengths must be equal"}},
		{func(o *RMSProp, params []Param) { params[0].Grad = params[0].Theta },
			[]string{"params[0].Theta and params[0].Grad overlap in memory: they must be apart"}},
		{func(o *RMSProp, params []Param) { params[1].Theta = at(55) },
			[]string{"params[2].Theta and params[1].Theta overlap in memory: they must be apart",
				"params[1].Theta and params[2].Grad overlap in memory: they must be apart"}},
		{func(o *RMSProp, params []Param) { params[2].State = params[0].State },
			[]string{"params[0].State.MeanSquare and params[2].State.MeanSquare overlap in memory: they must be apart",
				"params[0].State.Momentum and params[2].State.Momentum overlap in memory: they must be apart"}},
		{func(o *RMSProp, params []Param) { params[2].Grad = memory[45:55] },
			[]string{"params[1].Theta and params[2].Grad overlap in memory: they must be apart",
				"params[2].Grad and params[2].Theta overlap in memory: they must be apart"}},
		{func(o *RMSProp, params []Param) { params[1].Theta, params[1].Grad = memory[5:7], memory[2:4] },
			[]string{"params[0].Theta and params[1].Grad overlap in memory: they must be apart",
				"params[0].Theta and params[1].Theta overlap in memory: they must be apart"}},
		{func(o *RMSProp, params []Param) { params[1].Grad = at(81) },
			[]string{"params[2].State.Momentum and params[1].Grad overlap in memory: they must be apart"}},
	} {
		o, params := o, good()
		test.change(&o, params)
		opt, err := NewOptimizer(o, params, 2)
		if _, ok := errors.AsType[*ArgumentError](err); !ok || opt != nil {
			t.Errorf("NewOptimizer = %v, %v, want %q", opt, err, test.want)
			continue
		}
		if want := "kernel: " + strings.Join(test.want, "\nkernel: "); err.Error() != want {
			t.Errorf("error:\n%v\nwant\n%s", err, want)
		}
		if params[1].State != nil {
			t.Error("a state was made although there is an error")
		}
	}
}

func TestOptimizerPanics(t *testing.T) {
	for _, test := range []struct {
		start, change func(o *RMSProp)
		want          string
	}{
		{func(o *RMSProp) {}, func(o *RMSProp) { o.Centered = true },
			"Centered = true, and was false in NewOptimizer: the states are made for that"},
		{func(o *RMSProp) { o.Centered = true }, func(o *RMSProp) { o.Centered = false },
			"Centered = false, and was true in NewOptimizer: the states are made for that"},
		{func(o *RMSProp) {}, func(o *RMSProp) { o.Momentum = 0.5 },
			"Momentum = 0.5, and was zero in NewOptimizer: the states are made for that"},
		{func(o *RMSProp) { o.Momentum = 0.5 }, func(o *RMSProp) { o.Momentum = 0 },
			"Momentum = 0, and was not zero in NewOptimizer: the states are made for that"},
		{func(o *RMSProp) {}, func(o *RMSProp) { o.Rho = 2 }, "Rho = 2: must be in [0, 1]"},
	} {
		o := Keras()
		test.start(&o)
		theta := []float32{1, 2}
		opt, err := NewOptimizer(o, []Param{{Theta: theta, Grad: []float32{1, 1}}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		test.change(&opt.RMSProp)
		requirePanic(t, test.want, opt.Step)
		if !slices.Equal(theta, []float32{1, 2}) || opt.State(0).MeanSquare[0] != 0 {
			t.Errorf("something was written before the panic: %s", test.want)
		}
	}
}

func TestOptimizerEmpty(t *testing.T) {
	for _, params := range [][]Param{nil, {{}}, {{}, {Theta: []float32{}}}} {
		for _, workers := range []int{0, 1, 4} {
			opt, err := NewOptimizer(PyTorch(), params, workers)
			if err != nil {
				t.Fatal(err)
			}
			opt.Step()
		}
	}
}
