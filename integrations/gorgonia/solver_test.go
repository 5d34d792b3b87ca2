package gorgoniakernel

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A leaf is a node without a graph.
type leaf struct {
	name        string
	value, grad gorgonia.Value
	err         error // of Grad
}

func (l *leaf) Name() string                  { return l.name }
func (l *leaf) Value() gorgonia.Value         { return l.value }
func (l *leaf) Grad() (gorgonia.Value, error) { return l.grad, l.err }

func dense(elements []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(elements))
}

// newModel has tensors of 0, 1 and 2 dimensions with the same weights always,
// below 1/4 in magnitude.
func newModel() []*leaf {
	rng := rand.New(rand.NewPCG(1, 2))
	elements := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = rng.Float32()/2 - 0.25
		}
		return x
	}
	tensorLeaf := func(name string, shape ...int) *leaf {
		n := tensor.Shape(shape).TotalSize()
		return &leaf{name: name, value: dense(elements(n), shape...), grad: dense(make([]float32, n), shape...)}
	}
	return []*leaf{
		tensorLeaf("w1", 31, 33), tensorLeaf("b1", 1, 33), tensorLeaf("v", 7),
		{name: "scalar", value: gorgonia.NewF32(elements(1)[0]), grad: gorgonia.NewF32(0)},
		{name: "scalar tensor", value: tensor.New(tensor.FromScalar(elements(1)[0])), grad: gorgonia.NewF32(0)},
		tensorLeaf("w2", 33, 10), tensorLeaf("b2", 1, 10),
	}
}

// without leaves out a node that Gorgonia's solver panics at.
func without(model []*leaf, name string) []*leaf {
	return slices.DeleteFunc(model, func(l *leaf) bool { return l.name == name })
}

func valueGrads(model []*leaf) (vg []gorgonia.ValueGrad) {
	for _, l := range model {
		vg = append(vg, l)
	}
	return vg
}

func elements(t *testing.T, v gorgonia.Value) []float32 {
	t.Helper()
	x, _, err := floats(v, nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// feed adds the gradients of a step to those that are there, as Gorgonia's
// machines do.
func feed(t *testing.T, model []*leaf, step int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(step), 3))
	for _, l := range model {
		for i, g := range elements(t, l.grad) {
			elements(t, l.grad)[i] = g + float32(rng.NormFloat64())
		}
	}
}

func mustStep(t *testing.T, s gorgonia.Solver, model []*leaf) {
	t.Helper()
	if err := s.Step(valueGrads(model)); err != nil {
		t.Fatal(err)
	}
}

// bits are those of everything that a step may change.
func bits(t *testing.T, model []*leaf, states map[string]*kernel.State) (all []uint32) {
	t.Helper()
	for _, l := range model {
		var st kernel.State
		if states[l.name] != nil {
			st = *states[l.name]
		}
		for _, x := range [][]float32{elements(t, l.value), elements(t, l.grad), st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
			for _, v := range x {
				all = append(all, math.Float32bits(v))
			}
		}
		all = append(all, uint32(st.Step))
	}
	return all
}

// difference is the largest between two models' weights.
func difference(t *testing.T, a, b []*leaf) (most float64) {
	t.Helper()
	for i := range a {
		x, y := elements(t, a[i].value), elements(t, b[i].value)
		for k := range x {
			d := math.Abs(float64(x[k]) - float64(y[k]))
			if !(d <= most) { // also NaN
				most = d
			}
		}
	}
	return most
}

func TestParityWithGorgonia(t *testing.T) {
	options := kernel.RMSProp{LR: 0.003, Rho: 0.9, Eps: 1e-4}
	for _, test := range []struct {
		name   string
		theirs gorgonia.Solver
		ours   *Solver
	}{
		{"defaults", gorgonia.NewRMSPropSolver(), FromGorgonia()},
		{"kernel's options", gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(options.LR), gorgonia.WithRho(options.Rho), gorgonia.WithEps(options.Eps)), New(options)},
		{"options", gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(options.LR), gorgonia.WithRho(options.Rho), gorgonia.WithEps(options.Eps)),
			FromGorgonia(WithLearnRate(options.LR), WithRho(options.Rho), WithEps(options.Eps))},
		// Which ignores the batch size, as the README says.
		{"batch size", gorgonia.NewRMSPropSolver(gorgonia.WithBatchSize(100)), FromGorgonia()},
		{"l2", gorgonia.NewRMSPropSolver(gorgonia.WithL2Reg(0.001)), FromGorgonia(WithL2Reg(0.001))},
		{"Adam", gorgonia.NewAdamSolver(), AdamFromGorgonia()},
		{"Adam, options", gorgonia.NewAdamSolver(gorgonia.WithLearnRate(0.003), gorgonia.WithBeta1(0.8), gorgonia.WithBeta2(0.99), gorgonia.WithEps(1e-4)),
			AdamFromGorgonia(WithLearnRate(0.003), WithBeta1(0.8), WithBeta2(0.99), WithEps(1e-4))},
		{"Adam, batch size and l2", gorgonia.NewAdamSolver(gorgonia.WithBatchSize(10), gorgonia.WithL2Reg(0.1)),
			AdamFromGorgonia(WithBatchSize(10), WithL2Reg(0.1))},
		{"Adam, clip", gorgonia.NewAdamSolver(gorgonia.WithClip(0.5)), AdamFromGorgonia(WithClipValue(0.5))},
		{"l2 at another rate", gorgonia.NewRMSPropSolver(gorgonia.WithL2Reg(0.01), gorgonia.WithLearnRate(0.003)), FromGorgonia(WithL2Reg(0.01), WithLearnRate(0.003))},
	} {
		t.Run(test.name, func(t *testing.T) {
			const name = "scalar tensor"
			theirs, ours := without(newModel(), name), without(newModel(), name)
			for step := 1; step <= 600; step++ {
				if step == 301 {
					gorgonia.WithLearnRate(0.0004)(test.theirs)
					WithLearnRate(0.0004)(test.ours)
				}
				feed(t, theirs, step)
				feed(t, ours, step)
				mustStep(t, test.theirs, theirs)
				mustStep(t, test.ours.AsSolver(), ours)
				most := 1e-6
				if step == 1 {
					most = 3e-8
				}
				if d := difference(t, theirs, ours); d > most {
					t.Fatalf("%v apart after step %d", d, step)
				}
			}
			t.Logf("%v apart after 600 steps", difference(t, theirs, ours))
			if d := difference(t, ours, without(newModel(), name)); d < 0.05 {
				t.Errorf("trained no further than %v", d)
			}
		})
	}
}

// Gorgonia's AdamW, which the README warns of, leaves the weights as they are.
func TestGorgoniasAdamWDoesNotTrain(t *testing.T) {
	graph := gorgonia.NewGraph()
	w := gorgonia.NewVector(graph, tensor.Float32, gorgonia.WithShape(2), gorgonia.WithName("w"), gorgonia.WithValue(dense([]float32{1, 2}, 2)))
	loss := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Square(w))))
	if _, err := gorgonia.Grad(loss, w); err != nil {
		t.Fatal(err)
	}
	machine := gorgonia.NewTapeMachine(graph, gorgonia.BindDualValues(w))
	defer machine.Close()
	for range 3 {
		if err := machine.RunAll(); err != nil {
			t.Fatal(err)
		}
		if err := gorgonia.NewAdamW(gorgonia.WithLearnRate(0.1)).Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{w})); err != nil {
			t.Fatal(err)
		}
		machine.Reset()
	}
	if got := w.Value().Data().([]float32); !slices.Equal(got, []float32{1, 2}) {
		t.Errorf("it does: %v; change the README and kernel.RMSProp's documentation", got)
	}
}

// The adapter adds nothing to what kernel does.
func TestStepIsKernels(t *testing.T) {
	options := kernel.RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-3, Momentum: 0.9, Centered: true, WeightDecay: 0.01, BiasCorrection: true}
	s := New(options, WithClipNorm(2), WithWorkers(1))
	ours, theirs := newModel(), newModel()
	optimizer := kernel.Optimizer{Options: options, ClipNorm: 2, ZeroGrad: true}
	params := make([]kernel.Param, len(theirs))
	for i, l := range theirs {
		params[i].Theta, params[i].Grad = elements(t, l.value), elements(t, l.grad)
	}
	for step := range 20 {
		feed(t, ours, step)
		feed(t, theirs, step)
		mustStep(t, s.AsSolver(), ours)
		report, err := optimizer.Step(params)
		if err != nil {
			t.Fatal(err)
		}
		if s.Report != report || report.Norm == 0 {
			t.Errorf("report %v, want %v", s.Report, report)
		}
	}
	states := map[string]*kernel.State{}
	for i, l := range theirs {
		states[l.name] = params[i].State
	}
	if !slices.Equal(bits(t, ours, s.States), bits(t, theirs, states)) {
		t.Error("other bits than kernel's")
	}
	for _, l := range ours {
		if g := elements(t, l.grad); slices.ContainsFunc(g, func(g float32) bool { return g != 0 }) {
			t.Errorf("gradient of %s: %v", l.name, g)
		}
	}
}

// Each option does what kernel does.
func TestOptions(t *testing.T) {
	decayed, clipped := kernel.PyTorch(), kernel.PyTorch()
	decayed.WeightDecay, decayed.DecoupledDecay = 0.001/decayed.LR, true
	clipped.ClipValue = 0.5
	scaled := New(kernel.PyTorch())
	scaled.optimizer.LossScale = 8
	for name, test := range map[string]struct {
		option Option
		want   *Solver
	}{
		"WithL2Reg": {WithL2Reg(0.001), New(decayed)}, "WithClipValue": {WithClipValue(0.5), New(clipped)}, "WithBatchSize": {WithBatchSize(8), scaled},
	} {
		s, want := New(kernel.PyTorch(), test.option), test.want
		plain := New(kernel.PyTorch())
		a, b, c := newModel(), newModel(), newModel()
		for step := range 5 {
			for solver, model := range map[*Solver][]*leaf{s: a, want: b, plain: c} {
				feed(t, model, step)
				mustStep(t, solver.AsSolver(), model)
			}
		}
		if !slices.Equal(bits(t, a, s.States), bits(t, b, want.States)) {
			t.Errorf("%s: other bits than kernel's", name)
		}
		if difference(t, a, c) == 0 {
			t.Errorf("%s changes nothing", name)
		}
	}
}

// A node without decay trains as one of a solver without decay.
func TestNoDecay(t *testing.T) {
	all, none := FromGorgonia(WithL2Reg(0.01)), FromGorgonia()
	some := FromGorgonia(WithL2Reg(0.01), WithNoDecay(func(name string) bool { return strings.HasPrefix(name, "b") }))
	a, b, c := newModel(), newModel(), newModel()
	for step := range 3 {
		for solver, model := range map[*Solver][]*leaf{all: a, none: b, some: c} {
			feed(t, model, step)
			mustStep(t, solver.AsSolver(), model)
		}
	}
	for i, l := range c {
		want, other := a, b
		if strings.HasPrefix(l.name, "b") {
			want, other = b, a
		}
		got := elements(t, l.value)
		if !slices.Equal(got, elements(t, want[i].value)) || slices.Equal(got, elements(t, other[i].value)) {
			t.Errorf("%s: decay is wrong", l.name)
		}
	}
}

// Gorgonia's options must not compile on a Solver: they would do nothing.
func TestIsNoSolver(t *testing.T) {
	if _, ok := any(FromGorgonia()).(gorgonia.Solver); ok {
		t.Error("a *Solver is a gorgonia.Solver")
	}
}

// widen returns the model in float64.
func widen(model []*leaf) (wide []*leaf) {
	float64s := func(v gorgonia.Value) gorgonia.Value {
		switch v := v.(type) {
		case *gorgonia.F32:
			return gorgonia.NewF64(float64(*v))
		case *tensor.Dense:
			if v.IsScalar() {
				return tensor.New(tensor.FromScalar(float64(v.Float32s()[0])))
			}
			x := make([]float64, v.Size())
			for i, e := range v.Float32s() {
				x[i] = float64(e)
			}
			return tensor.New(tensor.WithShape(v.Shape()...), tensor.WithBacking(x))
		}
		return nil
	}
	for _, l := range model {
		wide = append(wide, &leaf{name: l.name, value: float64s(l.value), grad: float64s(l.grad)})
	}
	return wide
}

// wideElements returns the elements of all values and gradients.
func wideElements(t *testing.T, model []*leaf) (values, grads []float64) {
	t.Helper()
	for _, l := range model {
		_, value, err := floats(l.value, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, grad, err := floats(l.grad, nil)
		if err != nil {
			t.Fatal(err)
		}
		values, grads = append(values, value...), append(grads, grad...)
	}
	return values, grads
}

// A model of float64 trains as one of float32, bit for bit, and near to Gorgonia's
// solver, which computes in float64.
func TestFloat64(t *testing.T) {
	const name = "scalar tensor" // which Gorgonia's solver panics at
	narrow := without(newModel(), name)
	wide, theirs := widen(narrow), widen(narrow)
	a, b, c := FromGorgonia(), FromGorgonia(WithFloat64(), WithWorkers(2)), gorgonia.NewRMSPropSolver()
	for step := range 300 {
		feed(t, narrow, step)
		for _, model := range [][]*leaf{wide, theirs} {
			for i, l := range narrow {
				_, grad, _ := floats(model[i].grad, nil)
				for k, g := range elements(t, l.grad) {
					grad[k] = float64(g)
				}
			}
		}
		mustStep(t, a.AsSolver(), narrow)
		mustStep(t, b.AsSolver(), wide)
		mustStep(t, c, theirs)
	}
	got, grads := wideElements(t, wide)
	want, _ := wideElements(t, widen(narrow))
	if !slices.Equal(got, want) {
		t.Error("other weights than in float32")
	}
	if slices.ContainsFunc(grads, func(g float64) bool { return g != 0 }) {
		t.Error("gradients are not zero")
	}
	reference, _ := wideElements(t, theirs)
	most := 0.0
	for i := range got {
		most = max(most, math.Abs(got[i]-reference[i]))
	}
	t.Logf("%.1e from Gorgonia's float64 after 300 steps", most)
	if !(most <= 1e-6) {
		t.Errorf("%v from Gorgonia's", most)
	}
	// A mixed model, whose states are the same.
	mixed := slices.Concat(wide[:2], narrow[2:])
	mustStep(t, b.AsSolver(), mixed)
}

// A step that is skipped leaves float64 weights as they are, not rounded.
func TestFloat64Skipped(t *testing.T) {
	s := FromGorgonia(WithFloat64(), WithSkipNonFinite())
	model := []*leaf{{name: "v", value: gorgonia.NewF64(math.Pi), grad: gorgonia.NewF64(1e300)}}
	mustStep(t, s.AsSolver(), model)
	values, grads := wideElements(t, model)
	if !s.Report.Skipped || values[0] != math.Pi || grads[0] != 0 {
		t.Errorf("%+v, weight %v, gradient %v", s.Report, values, grads)
	}
	*model[0].grad.(*gorgonia.F64) = 1
	mustStep(t, s.AsSolver(), model)
	if values, _ := wideElements(t, model); values[0] != float64(float32(values[0])) || values[0] == math.Pi {
		t.Errorf("weight %v", values)
	}

	// Another model with a node of that name, and another size.
	s.States = nil
	model = widen(newModel()[:1])
	model[0].name = "v"
	mustStep(t, s.AsSolver(), model)
}

func TestSkipNonFinite(t *testing.T) {
	s, model := FromGorgonia(WithSkipNonFinite()), newModel()
	feed(t, model, 1)
	elements(t, model[2].grad)[3] = float32(math.Inf(1))
	mustStep(t, s.AsSolver(), model)
	if !s.Report.Skipped || difference(t, model, newModel()) != 0 || elements(t, model[2].grad)[3] != 0 {
		t.Errorf("%+v, weights moved by %v", s.Report, difference(t, model, newModel()))
	}
	feed(t, model, 2)
	mustStep(t, s.AsSolver(), model)
	if s.Report.Skipped || s.States["v"].Step != 1 || difference(t, model, newModel()) == 0 {
		t.Errorf("%+v, %d steps in the step after", s.Report, s.States["v"].Step)
	}
}

// A model may come in parts, and grow: the state belongs to the name.
func TestParts(t *testing.T) {
	whole, parts := newModel(), newModel()
	a, b := FromGorgonia(), FromGorgonia()
	for step := range 5 {
		feed(t, whole, step)
		feed(t, parts, step)
		mustStep(t, a.AsSolver(), whole)
		slices.Reverse(parts)
		mustStep(t, b.AsSolver(), parts[:4])
		mustStep(t, b.AsSolver(), parts[4:])
		slices.Reverse(parts)
	}
	if !slices.Equal(bits(t, whole, a.States), bits(t, parts, b.States)) {
		t.Error("in parts other bits than as a whole")
	}
}

func TestResume(t *testing.T) {
	options := kernel.RMSProp{LR: 0.01, Rho: 0.9, Eps: 1e-3, Momentum: 0.9, Centered: true, BiasCorrection: true}
	model, s := newModel(), New(options)
	var resumed []*leaf
	var r *Solver
	for step := range 10 {
		feed(t, model, step)
		mustStep(t, s.AsSolver(), model)
		if r != nil {
			feed(t, resumed, step)
			slices.Reverse(resumed) // by name, not by place
			mustStep(t, r.AsSolver(), resumed)
			slices.Reverse(resumed)
		}
		if step == 4 {
			var saved bytes.Buffer
			if err := gob.NewEncoder(&saved).Encode(s.States); err != nil {
				t.Fatal(err)
			}
			r, resumed = New(options, WithWorkers(2)), newModel()
			if err := gob.NewDecoder(&saved).Decode(&r.States); err != nil {
				t.Fatal(err)
			}
			for i, l := range model {
				copy(elements(t, resumed[i].value), elements(t, l.value))
			}
		}
	}
	if !slices.Equal(bits(t, model, s.States), bits(t, resumed, r.States)) {
		t.Error("resumed with other bits")
	}
}

func TestStatesOfNil(t *testing.T) {
	s, model := FromGorgonia(), newModel()
	for range 2 {
		s.States = nil
		feed(t, model, 1)
		mustStep(t, s.AsSolver(), model)
		if len(s.States) != len(model) || s.States["w1"].Step != 1 {
			t.Errorf("%d states, the first of %d steps", len(s.States), s.States["w1"].Step)
		}
	}
}

// The elements of a contiguous view are all its own.
func TestContiguousView(t *testing.T) {
	all := dense(slices.Repeat([]float32{1}, 12), 4, 3)
	view, err := all.Slice(tensor.S(1, 3))
	if err != nil {
		t.Fatal(err)
	}
	mustStep(t, FromGorgonia().AsSolver(), []*leaf{{name: "view", value: view.(*tensor.Dense), grad: dense([]float32{1, 2, 3, 4, 5, 6}, 2, 3)}})
	for i, v := range all.Float32s() {
		if moved := v != 1; moved != (i >= 3 && i < 9) {
			t.Errorf("%v", all.Float32s())
			break
		}
	}
}

// nameless has no method Name.
type nameless struct{ gorgonia.ValueGrad }

func TestNameless(t *testing.T) {
	s, model := FromGorgonia(), newModel()
	feed(t, model, 1)
	if err := s.Step([]gorgonia.ValueGrad{nameless{model[0]}, nameless{model[1]}}); err != nil {
		t.Fatal(err)
	}
	if s.States["#0"] == nil || s.States["#1"] == nil {
		t.Errorf("states %v", s.States)
	}
}

// elsewhere is an engine whose memory Go cannot reach, such as a GPU's.
type elsewhere struct{ tensor.StdEng }

func (elsewhere) AllocAccessible() bool { return false }

func TestErrors(t *testing.T) {
	slice := func(v *tensor.Dense, by ...tensor.Slice) *tensor.Dense {
		view, err := v.Slice(by...)
		if err != nil {
			t.Fatal(err)
		}
		return view.(*tensor.Dense)
	}
	matrix := func() *tensor.Dense { return dense(make([]float32, 12), 4, 3) }
	transposed := matrix()
	if err := transposed.T(); err != nil {
		t.Fatal(err)
	}
	masked := matrix()
	masked.MaskedEqual(float32(0))
	const must = ": must be float32 in Go's memory, contiguous, row-major, not transposed, not masked"
	value := func(v gorgonia.Value) func(s *Solver, model []*leaf) {
		return func(_ *Solver, model []*leaf) { model[2].value = v }
	}
	for _, test := range []struct {
		name  string
		spoil func(s *Solver, model []*leaf)
		want  string
	}{
		{"float64", func(_ *Solver, model []*leaf) { model[2] = widen(model[2:3])[0] },
			`gorgoniakernel: value of "v": float64: make the node of tensor.Float32, or use WithFloat64 to step it in float32`},
		{"float64 scalar", func(_ *Solver, model []*leaf) { model[3] = widen(model[3:4])[0] },
			`gorgoniakernel: value of "scalar": float64: make the node of tensor.Float32, or use WithFloat64 to step it in float32`},
		{"float64 value", value(tensor.New(tensor.WithShape(7), tensor.Of(tensor.Float64))), `gorgoniakernel: "v": value and gradient must both be float32, or both float64`},
		{"one float64 tensor in two nodes", func(s *Solver, model []*leaf) {
			WithFloat64()(s)
			wide := widen(model)
			model[5], model[0] = wide[5], wide[0]
			model[5].value = slice(model[0].value.(*tensor.Dense), tensor.S(1, 11))
		}, `gorgoniakernel: w1 and w2 share memory: each tensor must be in one node`},
		{"int tensor", value(tensor.New(tensor.WithShape(7), tensor.Of(tensor.Int))), `gorgoniakernel: value of "v": tensor of int, Contiguous, RowMajor` + must},
		{"columns", value(slice(matrix(), nil, tensor.S(0, 2))), `gorgoniakernel: value of "v": tensor of float32, NonContiguous, RowMajor` + must},
		{"every second", value(slice(dense(make([]float32, 14), 14), tensor.S(0, 14, 2))), `gorgoniakernel: value of "v": tensor of float32, NonContiguous, RowMajor` + must},
		{"transposed", value(transposed), `gorgoniakernel: value of "v": tensor of float32, Contiguous, RowMajorᵀ` + must},
		{"column-major", value(tensor.New(tensor.WithShape(7, 2), tensor.AsFortran(make([]float32, 14)))), `gorgoniakernel: value of "v": tensor of float32, Contiguous, ColMajor` + must},
		{"masked", value(masked), `gorgoniakernel: value of "v": tensor of float32, Contiguous, RowMajor` + must},
		{"on a device", value(tensor.New(tensor.WithShape(7), tensor.WithBacking(make([]float32, 7)), tensor.WithEngine(elsewhere{}))), `gorgoniakernel: value of "v": tensor of float32, Contiguous, RowMajor` + must},
		{"no value", value(nil), `gorgoniakernel: value of "v": <nil>: must be a *gorgonia.F32 or a *tensor.Dense`},
		{"float64 gradient", func(_ *Solver, model []*leaf) { model[3].grad = gorgonia.NewF64(1) }, `gorgoniakernel: "scalar": value and gradient must both be float32, or both float64`},
		{"no gradient", func(_ *Solver, model []*leaf) { model[1].err = errors.New("not there") }, `gorgoniakernel: gradient of "b1": not there`},
		{"two at once", func(_ *Solver, model []*leaf) {
			model[1].err = errors.New("not there")
			model[3].value, model[3].grad = nil, nil
		}, `gorgoniakernel: gradient of "b1": not there
gorgoniakernel: value of "scalar": <nil>: must be a *gorgonia.F32 or a *tensor.Dense
gorgoniakernel: gradient of "scalar": <nil>: must be a *gorgonia.F32 or a *tensor.Dense`},
		{"shorter gradient", func(_ *Solver, model []*leaf) { model[6].grad = dense(make([]float32, 9), 9) }, `kernel: len(b2.Grad) = 9, want 10 (len(Theta))`},
		{"one tensor in two nodes", func(_ *Solver, model []*leaf) {
			model[5].value = slice(model[0].value.(*tensor.Dense), tensor.S(1, 11))
			model[5].grad = dense(make([]float32, 330), 10, 33)
		},
			`kernel: w2.Theta overlaps w1.Theta from byte 132 on, want memory of its own`},
		{"one gradient in two nodes", func(_ *Solver, model []*leaf) { model[4].grad = model[3].grad },
			`kernel: scalar tensor.Grad overlaps scalar.Grad from byte 0 on, want memory of its own`},
		{"one name for two nodes", func(_ *Solver, model []*leaf) { model[5].name = "w1" }, `gorgoniakernel: two nodes are called "w1": states are kept by name`},
		{"the state of another", func(s *Solver, _ []*leaf) { s.States["v"] = s.rmsprop.NewState(8) }, `kernel: len(v.State.MeanSquare) = 8, want 7 (len(Theta))`},
		{"learning rate", func(s *Solver, _ []*leaf) { WithLearnRate(-1)(s) }, `kernel: Options.LR = -1, want a number in [0, 2^64]`},
		{"l2 without learning rate", func(s *Solver, _ []*leaf) { WithLearnRate(0)(s); WithL2Reg(0.1)(s) }, `gorgoniakernel: WithLearnRate(0): must be above 0 with WithL2Reg`},
		{"clip norm", func(s *Solver, _ []*leaf) { WithClipNorm(-1)(s) }, `kernel: ClipNorm = -1, want 0 or more`},
		{"workers", func(s *Solver, _ []*leaf) { WithWorkers(-1)(s) }, `kernel: Workers = -1, want 0 or more`},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, model := FromGorgonia(), newModel()
			good := newModel()
			feed(t, model, 0)
			feed(t, good, 0)
			mustStep(t, s.AsSolver(), model)
			mustStep(t, FromGorgonia().AsSolver(), good)
			feed(t, model, 1)
			feed(t, good, 1)
			before := s.Report
			spoiled := slices.Clone(model)
			for i, l := range spoiled {
				spoiled[i] = &leaf{l.name, l.value, l.grad, nil}
			}
			test.spoil(s, spoiled)
			states := fmt.Sprint(s.States["w1"], s.States["v"], len(s.States))
			err := s.Step(valueGrads(spoiled))
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v\nwant  %s", err, test.want)
			}
			if !slices.Equal(bits(t, model, nil), bits(t, good, nil)) || fmt.Sprint(s.States["w1"], s.States["v"], len(s.States)) != states || s.Report != before {
				t.Error("something has changed")
			}
		})
	}
}

// A scalar is another one in memory after each run of a machine.
func TestMachine(t *testing.T) {
	train := func(solver gorgonia.Solver) (weights []float32) {
		g := gorgonia.NewGraph()
		x := gorgonia.NodeFromAny(g, dense([]float32{-2, -1, 0, 1, 2, 3}, 6), gorgonia.WithName("x"))
		y := gorgonia.NodeFromAny(g, dense([]float32{-7, -3, 1, 5, 9, 13}, 6), gorgonia.WithName("y")) // 4x + 1
		a := gorgonia.NodeFromAny(g, float32(1), gorgonia.WithName("a"))
		b := gorgonia.NodeFromAny(g, dense(slices.Repeat([]float32{3}, 6), 6), gorgonia.WithName("b"))
		line := gorgonia.Must(gorgonia.Add(gorgonia.Must(gorgonia.Mul(x, a)), b))
		loss := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.Square(gorgonia.Must(gorgonia.Sub(line, y))))))
		if _, err := gorgonia.Grad(loss, a, b); err != nil {
			t.Fatal(err)
		}
		vm := gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(a, b))
		defer vm.Close()
		for range 300 {
			if err := vm.RunAll(); err != nil {
				t.Fatal(err)
			}
			if err := solver.Step(gorgonia.NodesToValueGrads(gorgonia.Nodes{a, b})); err != nil {
				t.Fatal(err)
			}
			vm.Reset()
		}
		return append([]float32{a.Value().Data().(float32)}, b.Value().Data().([]float32)...)
	}
	options := kernel.Gorgonia()
	options.LR = 0.01
	theirs, ours := train(gorgonia.NewRMSPropSolver(gorgonia.WithLearnRate(options.LR))), train(New(options).AsSolver())
	for i := range theirs {
		if d := math.Abs(float64(theirs[i] - ours[i])); !(d <= 1e-5) {
			t.Errorf("weights %v, want %v", ours, theirs)
			break
		}
	}
	if ours[0] < 2.5 {
		t.Errorf("weights %v, not on their way to a = 4, b = 1", ours)
	}
}

// If the gradients are not bound, two nodes may have one gradient.
func TestUnboundGradients(t *testing.T) {
	g := gorgonia.NewGraph()
	a := gorgonia.NodeFromAny(g, dense([]float32{1, 2}, 2), gorgonia.WithName("a"))
	b := gorgonia.NodeFromAny(g, dense([]float32{3, 4}, 2), gorgonia.WithName("b"))
	if _, err := gorgonia.Grad(gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Add(a, b)))), a, b); err != nil {
		t.Fatal(err)
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	nodes := gorgonia.NodesToValueGrads(gorgonia.Nodes{a, b})
	const unbound = `gorgoniakernel: gradient of "a": <nil>: must be a *gorgonia.F32 or a *tensor.Dense
gorgoniakernel: gradient of "b": <nil>: must be a *gorgonia.F32 or a *tensor.Dense`
	if err := FromGorgonia().Step(nodes); err == nil || err.Error() != unbound {
		t.Errorf("before a run: error %v", err)
	}
	if err := vm.RunAll(); err != nil {
		t.Fatal(err)
	}
	if err := FromGorgonia().Step(nodes); err == nil || !strings.Contains(err.Error(), `b.Grad overlaps a.Grad`) {
		t.Errorf("after it: error %v", err)
	}
}
