package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// overlapMemory is not on a stack: spans are numbers, which do not follow a stack that moves.
var overlapMemory [12]float32

// All slices of a small memory, including empty ones at every place, against the definition:
// two slices overlap if they share an element.
func TestOverlap(t *testing.T) {
	memory := overlapMemory[:5]
	var all [][2]int
	for start := range len(memory) + 1 {
		for end := start; end <= len(memory); end++ {
			all = append(all, [2]int{start, end})
		}
	}
	share := func(a, b [2]int) bool { return max(a[0], b[0]) < min(a[1], b[1]) }
	in := func(x [2]int) []float32 { return memory[x[0]:x[1]] }
	for _, a := range all {
		for _, b := range all {
			if got := overlap(in(a), in(b)); got != share(a, b) {
				t.Errorf("overlap of %v and %v: %v", a, b, got)
			}
			spans := appendSpan(appendSpan(nil, in(a), 0, true), in(b), 1, true)
			sortSpans(spans)
			if got := apart(spans); got == share(a, b) {
				t.Errorf("%v and %v apart: %v", a, b, got)
			}
			if share(a, b) {
				continue
			}
			for _, x := range all {
				if got := meets(in(x), spans); got != (share(x, a) || share(x, b)) {
					t.Errorf("%v meets one of %v and %v: %v", x, a, b, got)
				}
			}
		}
	}
	if meets(nil, nil) || !apart(nil) {
		t.Error("there is nothing to overlap")
	}
}

// The sweep reports each slice that overlaps one before it if either is written, whatever else
// lies between them.
func TestOverlapSweep(t *testing.T) {
	memory := overlapMemory[:]
	r := random(t, 41)
	for range 20_000 {
		var spans []span
		for i := range 2 + r.intn(4) {
			start := r.intn(len(memory))
			spans = appendSpan(spans, memory[start:][:1+r.intn(len(memory)-start)], i, r.intn(2) == 0)
		}
		sortSpans(spans)
		var want []int32
		for i, b := range spans {
			if slices.ContainsFunc(spans[:i], func(a span) bool { return a.end > b.start && (a.written || b.written) }) {
				want = append(want, b.slice)
			}
		}
		var got, asked []int32
		var wrong *ArgumentError
		wrong = wrong.overlaps(spans, func(slice int32) (tensor, name string) {
			asked = append(asked, slice)
			return "", ""
		})
		for i := 1; i < len(asked); i += 2 { // the second of a pair begins no earlier
			got = append(got, asked[i])
		}
		if !slices.Equal(got, want) || len(want) > 0 && len(wrong.all()) != len(want) {
			t.Fatalf("%+v: those that overlap one before them are %v, want %v", spans, got, want)
		}
	}
}

// ---- Calls that are refused ----

// The ranges in messages.
const (
	wantRate   = ", want a number in [0, 2^64]"
	wantShare  = ", want a number in [0, 1]"
	wantFinite = ", want a number that is finite in float32 and not negative"
)

// requirePanic requires f to panic with an *ArgumentError with this text.
func requirePanic(t *testing.T, want string, f func()) {
	t.Helper()
	requireArgumentError(t, recovered(f), want)
}

// requireArgumentError requires err to be an *ArgumentError with this text.
func requireArgumentError(t *testing.T, err error, want string) {
	t.Helper()
	if _, ok := errorAs[*ArgumentError](err); !ok {
		t.Errorf("%v, want an *ArgumentError: %s", err, want)
	} else if want = "kernel: " + want; err.Error() != want {
		t.Errorf("message:\n%s\nwant\n%s", err, want)
	}
}

// Each wrong call says what is wrong and writes nothing.
func TestRefused(t *testing.T) {
	overlapping := func(a, b string, bytes int) string {
		return fmt.Sprintf("%s overlaps %s from byte %d on, want memory of its own", b, a, bytes)
	}
	// A call's slices are 4 elements of memory each, and 4 apart.
	type call struct {
		RMSProp
		memory []float32
		d      tensorData
		step   int
		rows   []int
	}
	type refusal struct {
		change func(c *call)
		want   string
	}
	updates := []refusal{
		{func(c *call) { c.d.grad = c.d.grad[:3] }, "len(grad) = 3, want 4 (len(theta))"},
		{func(c *call) { c.d.s = c.d.s[:2] }, "len(s) = 2, want 4 (len(theta))"},
		{func(c *call) { c.d.s = c.memory[16:21] }, "len(s) = 5, want 4 (len(theta))"},
		{func(c *call) { c.d.grad = c.memory[8:13] }, "len(grad) = 5, want 4 (len(theta))"},
		{func(c *call) { c.d.s = nil }, "len(s) = 0, want 4 (len(theta))"},
		{func(c *call) { c.d.theta = nil }, "len(grad) = 4, want 0 (len(theta))\nkernel: len(s) = 4, want 0 (len(theta))"},
		{func(c *call) { c.LR = -1 }, "lr = -1" + wantRate},
		{func(c *call) { c.LR = math.NaN() }, "lr = NaN" + wantRate},
		{func(c *call) { c.LR = math.Inf(1) }, "lr = +Inf" + wantRate},
		{func(c *call) { c.LR = 1e39 }, "lr = 1e+39" + wantRate},
		{func(c *call) { c.Eps = -1e-7 }, "eps = -1e-07" + wantFinite},
		{func(c *call) { c.Eps = math.NaN() }, "eps = NaN" + wantFinite},
		{func(c *call) { c.Eps = math.Inf(1) }, "eps = +Inf" + wantFinite},
		{func(c *call) { c.Rho = -0.1 }, "rho = -0.1" + wantShare},
		{func(c *call) { c.Rho = 1.5 }, "rho = 1.5" + wantShare},
		{func(c *call) { c.Rho = math.NaN() }, "rho = NaN" + wantShare},
		{func(c *call) { c.d.grad = c.d.theta }, overlapping("theta", "grad", 0)},
		{func(c *call) { c.d.s = c.d.theta }, overlapping("theta", "s", 0)},
		{func(c *call) { c.d.grad = c.d.s }, overlapping("grad", "s", 0)},
		{func(c *call) { c.d.grad = c.memory[1:5] }, overlapping("theta", "grad", 4)},
		{func(c *call) { c.d.theta = c.memory[19:23] }, overlapping("s", "theta", 12)},
		{func(c *call) { c.d.grad = c.memory[13:17] }, overlapping("grad", "s", 12)},
	}
	methods := []refusal{
		{func(c *call) { c.d.grad = c.d.grad[:3] }, "len(grad) = 3, want 4 (len(theta))"},
		{func(c *call) { c.d.s = c.d.s[:3] }, "len(st.MeanSquare) = 3, want 4 (len(theta))"},
		{func(c *call) { c.d.s = c.memory[16:21] }, "len(st.MeanSquare) = 5, want 4 (len(theta))"},
		{func(c *call) { c.d.m = c.memory[24:29] }, "len(st.MeanGrad) = 5, want 4 (len(theta)) with Centered"},
		{func(c *call) { c.d.b = c.memory[32:37] }, "len(st.MomentumBuffer) = 5, want 4 (len(theta)) with Momentum = 0.9"},
		{func(c *call) { c.d.m = c.d.m[:3] }, "len(st.MeanGrad) = 3, want 4 (len(theta)) with Centered"},
		{func(c *call) { c.d.b = c.d.b[:3] }, "len(st.MomentumBuffer) = 3, want 4 (len(theta)) with Momentum = 0.9"},
		{func(c *call) { c.d.m = nil }, "len(st.MeanGrad) = 0, want 4 (len(theta)) with Centered"},
		{func(c *call) { c.d.b = nil }, "len(st.MomentumBuffer) = 0, want 4 (len(theta)) with Momentum = 0.9; Adapt adds it"},
		{func(c *call) { c.d.m, c.d.b = nil, nil }, "len(st.MeanGrad) = 0, want 4 (len(theta)) with Centered" +
			"\nkernel: len(st.MomentumBuffer) = 0, want 4 (len(theta)) with Momentum = 0.9; Adapt adds it"},
		{func(c *call) { c.Centered = false }, "len(st.MeanGrad) = 4, want 0 without Centered and FirstMoment"},
		{func(c *call) { c.FirstMoment = 0.9 }, "FirstMoment = 0.9, want 0 with Centered, Momentum or Nesterov, which it excludes" +
			"\nkernel: len(st.MomentumBuffer) = 4, want 0 with FirstMoment; Adapt removes it"},
		{func(c *call) { c.FirstMoment, c.Centered, c.Momentum = 0.9, false, 0 },
			"len(st.MomentumBuffer) = 4, want 0 with FirstMoment; Adapt removes it"},
		{func(c *call) { c.FirstMoment, c.Centered, c.Momentum, c.d.b, c.d.m = 0.9, false, 0, nil, c.d.m[:3] },
			"len(st.MeanGrad) = 3, want 4 (len(theta)) with FirstMoment"},
		{func(c *call) { c.FirstMoment, c.Centered, c.Momentum, c.d.b, c.d.m = 0.9, false, 0, nil, nil },
			"len(st.MeanGrad) = 0, want 4 (len(theta)) with FirstMoment"},
		{func(c *call) { c.Momentum = 0; c.d.b = c.d.b[:3] }, "len(st.MomentumBuffer) = 3, want 4 (len(theta)) with Momentum = 0"},
		{func(c *call) { c.step = -1 }, "st.Step = -1, want 0 or more"},
		{func(c *call) { c.d.grad = c.d.theta }, overlapping("theta", "grad", 0)},
		{func(c *call) { c.d.s = c.d.theta }, overlapping("theta", "st.MeanSquare", 0)},
		{func(c *call) { c.d.m = c.memory[19:23] }, overlapping("st.MeanSquare", "st.MeanGrad", 12)},
		{func(c *call) { c.d.m = c.memory[1:5] }, overlapping("theta", "st.MeanGrad", 4)},
		{func(c *call) { c.d.m = c.memory[9:13] }, overlapping("grad", "st.MeanGrad", 4)},
		{func(c *call) { c.d.s = c.memory[11:15] }, overlapping("grad", "st.MeanSquare", 12)},
		{func(c *call) { c.d.b = c.memory[3:7] }, overlapping("theta", "st.MomentumBuffer", 12)},
		{func(c *call) { c.d.b = c.memory[11:15] }, overlapping("grad", "st.MomentumBuffer", 12)},
		{func(c *call) { c.d.b = c.memory[17:21] }, overlapping("st.MeanSquare", "st.MomentumBuffer", 4)},
		{func(c *call) { c.d.b = c.memory[25:29] }, overlapping("st.MeanGrad", "st.MomentumBuffer", 4)},
	}
	tables := []refusal{
		{func(c *call) { c.rows = []int{2, 0} }, "rows[0] = 2, want a row of theta, in [0, 2)"},
		{func(c *call) { c.rows = []int{0, -1} }, "rows[1] = -1, want a row of theta, in [0, 2)"},
		{func(c *call) { c.rows = []int{1, 1} }, "rows[1] = 1, want each row once; rows[0] already lists it"},
		{func(c *call) { c.rows = []int{1} }, "len(grad) = 4, want 2 (len(rows)*width)"},
		{func(c *call) { c.rows = []int{0, 1}; c.d.grad = make([]float32, 5) }, "len(grad) = 5, want 4 (len(rows)*width)"},
		{func(c *call) { c.rows = []int{0}; c.d.grad = c.memory[35:37] }, overlapping("st.MomentumBuffer", "grad", 12)},
	}
	forEachISA(t, func(t *testing.T) {
		take := func(test refusal, step func(c *call, st *State)) {
			t.Helper()
			c := call{RMSProp: everything, memory: make([]float32, 8*slicesPerTensor), rows: []int{1, 0}}
			for i := range c.memory {
				c.memory[i] = float32(i + 1)
			}
			for i := range sliceNames {
				*c.d.at(i) = c.memory[8*i:][:4]
			}
			test.change(&c)
			st := c.d.state()
			st.Step = c.step
			requirePanic(t, test.want, func() { step(&c, st) })
			if st.Step != c.step {
				t.Errorf("a step was counted before the panic: %s", test.want)
			}
			for i, x := range c.memory {
				if x != float32(i+1) {
					t.Errorf("element %d was written before the panic: %s", i, test.want)
				}
			}
		}
		for _, test := range updates {
			take(test, func(c *call, _ *State) { Update(c.d.theta, c.d.grad, c.d.s, c.LR, c.Rho, c.Eps) })
		}
		for _, test := range methods {
			take(test, func(c *call, st *State) { c.Update(c.d.theta, c.d.grad, st) })
		}
		for _, test := range append(methods[1:len(methods):len(methods)], tables...) { // with rows, fewer gradients are allowed
			take(test, func(c *call, st *State) { c.UpdateRows(c.d.theta, c.d.grad, st, c.rows, 2) })
		}
	})
	o, x := Keras(), []float32{1, 1, 1}
	requirePanic(t, "st = nil, want a State (NewState makes one)", func() { o.Update(x[:1], x[1:2], nil) })
	requirePanic(t, "st = nil, want a State (NewState makes one)\nkernel: grad overlaps theta from byte 4 on, want memory of its own",
		func() { o.Update(x[:2], x[1:3], nil) })
	requirePanic(t, "n = -1, want 0 or more", func() { o.NewState(-1) })
	requirePanic(t, "width = 0, want 1 or more", func() { o.UpdateRows(nil, nil, o.NewState(0), nil, 0) })
	requirePanic(t, "len(theta) = 3, want a multiple of width = 2", func() { o.UpdateRows(x, nil, o.NewState(3), nil, 2) })
}

// Any two equal slices are refused. Slices side by side, and empty ones inside another, are
// accepted.
func TestOverlapOfSlices(t *testing.T) {
	memory := make([]float32, 4*slicesPerTensor)
	place := func() (d tensorData) {
		for i := range sliceNames {
			*d.at(i) = memory[4*i:][:4]
		}
		return d
	}
	steps := map[string]func(d tensorData){
		"Update":             func(d tensorData) { Update(d.theta, d.grad, d.s, 0.1, 0.9, 1e-7) },
		"RMSProp.Update":     func(d tensorData) { everything.Update(d.theta, d.grad, d.state()) },
		"RMSProp.UpdateRows": func(d tensorData) { everything.UpdateRows(d.theta, d.grad, d.state(), []int{0, 1}, 2) },
	}
	for name, step := range steps {
		for i := range slicesPerTensor {
			for j := range i {
				d := place()
				*d.at(i) = *d.at(j)
				if _, refused := errorAs[*ArgumentError](recovered(func() { step(d) })); !refused && (i < 3 || name != "Update") {
					t.Errorf("%s: no panic where %s is %s", name, sliceNames[i], sliceNames[j])
				}
			}
		}
		step(place())
	}
	o := Keras()
	o.UpdateRows(memory[:4], memory[2:2], &State{MeanSquare: memory[8:12]}, nil, 2)
	o.Update(memory[:4], memory[4:8], &State{MeanSquare: memory[8:12], MeanGrad: memory[2:2], MomentumBuffer: memory[6:6]})
	o.Update(memory[1:1], memory[2:2], &State{MeanSquare: memory[3:3]})
	Update(memory[1:1], memory[2:2], memory[3:3], 0.1, 0.9, 1e-7)
	Update(nil, []float32{}, nil, 0.1, 0.9, 1e-7)
	o.Update(nil, nil, o.NewState(0))
	o.UpdateRows(nil, nil, o.NewState(0), nil, 1)
}

// Slices that begin at the same address are named in their order, however many there are.
func TestOverlapsInOrder(t *testing.T) {
	theta := make([]float32, 4)
	params := make([]Param, 40)
	for i := range params {
		params[i] = Param{Theta: theta[i%2*2:], Grad: make([]float32, 4-i%2*2)}
	}
	_, err := (&Optimizer{Options: Keras()}).Step(params)
	e, ok := errorAs[*ArgumentError](err)
	if !ok || len(e.all()) != len(params)-1 {
		t.Fatalf("%v, want %d overlaps", err, len(params)-1)
	}
	for i, e := range e.all() { // first those at the start of theta
		place := 2 * (i + 1)
		if place >= len(params) {
			place += 1 - len(params)
		}
		if want := params[place].name(place); e.Tensor != want {
			t.Errorf("error %d is about %s, want %s", i, e.Tensor, want)
		}
	}
}
