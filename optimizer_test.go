package kernel

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"
)

// tensorSizes has tensors of every kind: empty, small, ending within a cache line, long enough to
// be divided.
var tensorSizes = []int{1, 0, 100, 17, 3*chunk + 5, 16, 1, 1, 1, 2000, 15, 31, smallestUnit, 20_011}

// newTensors returns tensors of those sizes. They have slices of their own, or share one slice for
// all thetas and another one for everything else, with shared cache lines.
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

func cloneAll(tensors []tensorData) (clones []tensorData) {
	for _, d := range tensors {
		clones = append(clones, d.clone())
	}
	return clones
}

func paramsOf(tensors []tensorData, withState func(i int) bool) []Param {
	var params []Param
	for i, d := range tensors {
		param := Param{Theta: d.theta, Grad: d.grad}
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

// mustStep runs a step that must succeed.
func mustStep(t testing.TB, p *Optimizer, params []Param) Report {
	t.Helper()
	report, err := p.Step(params)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// For any division of the work, the bits are those of Update on each tensor.
func TestOptimizer(t *testing.T) {
	sets := optionSets
	if testing.Short() {
		sets = optionSets[:12]
	}
	forEachISA(t, func(t *testing.T) {
		for _, procs := range []int{1, 2, 8} {
			t.Run(fmt.Sprint("GOMAXPROCS=", procs), func(t *testing.T) {
				withGOMAXPROCS(t, procs)
				r := random(t, 21)
				for i, o := range sets {
					if o.Rho == 0 && o.Eps == 0 { // which Step refuses
						o.Eps = 0x1p-149
					}
					tensors := newTensors(&r, &o, tensorSizes, i%2 == 0)
					if i%3 == 0 {
						slices.Reverse(tensors)
					}
					want := cloneAll(tensors)
					states := make([]*State, len(want))
					for j := range want {
						states[j] = want[j].state()
					}
					opt := &Optimizer{Options: o, Workers: []int{0, 1, 2, 3, 8, 1 << 20}[i%6], LossScale: o.LossScale}
					opt.Options.LossScale = 0
					params := paramsOf(tensors, always)
					for step := range 2 {
						opt.Options.LR = o.LR / float64(1+step)
						mustStep(t, opt, params)
						one := opt.Options
						one.LossScale = o.LossScale
						for j, d := range want {
							one.Update(d.theta, d.grad, states[j])
						}
					}
					for i := range want {
						tensors[i].requireSame(t, fmt.Sprintf("%d workers, tensor %d, %+v", opt.Workers, i, o), want[i])
						if params[i].State.Step != 2 {
							t.Errorf("State.Step = %d after 2 steps", params[i].State.Step)
						}
					}
				}
			})
		}
	})
}

// ---- A step by the plain method ----

// plainGradient returns the gradient of a tensor; of a table, with each row once.
func (p *Param) plainGradient() (grad []float32, rows []int) {
	if p.Width == 0 || p.Grad == nil {
		return p.Grad, nil
	}
	return CoalesceRows(p.Grad, p.Rows, p.Width)
}

// plainNorm returns the norm of all gradients by the letter of its contract.
func plainNorm(o *Optimizer, params []Param) float64 {
	total := 0.0
	for _, param := range params {
		sum := 0.0
		grad, _ := param.plainGradient()
		for block := range slices.Chunk(grad, 4096) {
			var lane [16]float64
			for i, g := range block {
				lane[i%16] += float64(float64(g) * float64(g))
			}
			var pairs [4]float64
			for j := range pairs {
				pairs[j] = (lane[j] + lane[j+8]) + (lane[j+4] + lane[j+12])
			}
			sum += (pairs[0] + pairs[2]) + (pairs[1] + pairs[3])
		}
		total += sum
	}
	if o.LossScale != 0 {
		return math.Sqrt(total) / o.LossScale
	}
	return math.Sqrt(total)
}

// plainOptions returns the options of a tensor's steps.
func plainOptions(o *Optimizer, p *Param) RMSProp {
	r := *p.options(o)
	if p.NoDecay {
		r.WeightDecay = 0
	}
	if p.LRScale != 0 {
		r.LR *= p.LRScale
	}
	r.LossScale = o.LossScale
	return r
}

// plainStep does what Step does, as a loop over RMSProp.Update, without any check.
func plainStep(o *Optimizer, params []Param) (report Report) {
	factor := 1.0
	if o.ClipNorm != 0 || o.SkipNonFinite {
		report.Norm = plainNorm(o, params)
		report.Skipped = math.IsNaN(report.Norm) || math.IsInf(report.Norm, 0) || o.SkipNonFinite && report.Norm >= 0x1p64
		if o.ClipNorm != 0 {
			factor = min(1, o.ClipNorm/(report.Norm+1e-6))
		}
		for i, param := range params {
			notFinite := func(x float32) bool { return x-x != 0 }
			if grad, _ := param.plainGradient(); slices.ContainsFunc(grad, notFinite) {
				report.NonFinite = param.name(i)
				break
			}
		}
	}
	for i := range params {
		param := &params[i]
		if param.State == nil {
			param.State = new(State)
		}
		if param.Grad == nil && len(param.Theta) > 0 {
			continue
		}
		r := plainOptions(o, param)
		if len(param.State.MeanSquare) != len(param.Theta) {
			*param.State = *r.NewState(len(param.Theta))
		}
		st := param.State
		grad, rows := param.plainGradient()
		switch {
		case report.Skipped:
		case factor == 1 && param.Width == 0:
			r.Update(param.Theta, grad, st)
		case factor == 1:
			r.UpdateRows(param.Theta, grad, st, rows, param.Width)
		default:
			st.Step++
			k := r.rounded(factor, st.Step)
			if param.Width == 0 {
				c := k.call(param.Theta, grad, st)
				c.run(c.n)
			}
			for i, row := range rows {
				in := func(x []float32) []float32 { return part(x, row*param.Width, (row+1)*param.Width) }
				c := k.call(in(param.Theta), grad[i*param.Width:][:param.Width], &State{0, in(st.MeanSquare), in(st.MeanGrad), in(st.MomentumBuffer)})
				c.run(c.n)
			}
		}
		if o.ZeroGrad {
			clear(param.Grad)
		}
	}
	return report
}

// cloneParams copies everything that a step reads and writes. What is nil stays nil.
func cloneParams(params []Param) []Param {
	clones := slices.Clone(params)
	for i := range clones {
		c := &clones[i]
		c.Theta, c.Grad = slices.Clone(c.Theta), slices.Clone(c.Grad)
		if c.State != nil {
			c.State = &State{c.State.Step, slices.Clone(c.State.MeanSquare), slices.Clone(c.State.MeanGrad), slices.Clone(c.State.MomentumBuffer)}
		}
	}
	return clones
}

// requireSameParams compares all bits, and which states and gradients exist.
func requireSameParams(t testing.TB, where any, got, want []Param) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%v: %d tensors, want %d", where, len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		if (g.State == nil) != (w.State == nil) || (g.Grad == nil) != (w.Grad == nil) {
			t.Fatalf("%v: tensor %d: %+v, want %+v", where, i, g, w)
		}
		d, e := tensorData{theta: g.Theta, grad: g.Grad}, tensorData{theta: w.Theta, grad: w.Grad}
		if g.State != nil {
			if g.State.Step != w.State.Step {
				t.Fatalf("%v: tensor %d: State.Step = %d, want %d", where, i, g.State.Step, w.State.Step)
			}
			d.s, d.m, d.b = g.State.MeanSquare, g.State.MeanGrad, g.State.MomentumBuffer
			e.s, e.m, e.b = w.State.MeanSquare, w.State.MeanGrad, w.State.MomentumBuffer
		}
		d.requireSame(t, fmt.Sprintf("%v: tensor %d", where, i), e)
	}
}

// ---- Anything may change between steps ----

// A script draws what changes before a step. choose returns a number in [0, n).
type script struct {
	choose func(n int) int
	random generator
	p      Optimizer
	params []Param
	own    []*RMSProp
	made   map[uintptr]madeState // by address of Theta
}

// A madeState belongs to a Theta of n elements whose state the last step allocated, and that many
// steps before it.
type madeState struct{ n, times int }

// newScript returns a script with a few tensors.
func newScript(choose func(n int) int) *script {
	s := &script{choose: choose, random: 77}
	s.p.Options = s.options()
	s.withMeanGrad(&s.p.Options)
	for range 1 + choose(6) {
		s.add()
	}
	return s
}

func (s *script) fill(x []float32) []float32 {
	for i := range x {
		x[i] = s.random.symmetric()
	}
	return x
}

// options draws any options except Centered and FirstMoment, which must fit the states.
func (s *script) options() RMSProp {
	o := []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax(), Gorgonia(), GoMLX()}[s.choose(6)]
	o.EpsHat = s.choose(4) == 0
	o.Momentum = []float64{0, 0.9, 0.5}[s.choose(3)]
	o.Nesterov = s.choose(2) == 0
	o.WeightDecay = []float64{0, 0.01}[s.choose(2)]
	o.ClipValue = []float64{0, 0.25}[s.choose(2)]
	o.Maximize = s.choose(4) == 0
	o.BiasCorrection = s.choose(2) == 0
	return o
}

// withMeanGrad draws one of these two, or none.
func (s *script) withMeanGrad(o *RMSProp) {
	switch s.choose(4) {
	case 0, 1:
		o.FirstMoment, o.Momentum, o.Nesterov = 0.9, 0, false
	case 2:
		o.Centered = true
	}
}

// changeOptions draws other options for the same states.
func (s *script) changeOptions(o *RMSProp) {
	before := *o
	*o = s.options()
	if o.Centered = before.Centered; before.FirstMoment != 0 {
		o.FirstMoment, o.Momentum, o.Nesterov = []float64{0.9, 0.5}[s.choose(2)], 0, false
	}
}

func (s *script) add() {
	n := []int{0, 1, 15, 100, 2000, smallestUnit + 7, share + 33}[s.choose(7)]
	param := Param{Theta: s.fill(make([]float32, n)), Grad: s.fill(make([]float32, n))}
	if s.choose(3) == 0 {
		o := s.options()
		s.withMeanGrad(&o)
		param.Options = &o
		s.own = append(s.own, &o)
	}
	param.NoDecay = s.choose(4) == 0
	param.LRScale = []float64{0, 0, 0.5, 2}[s.choose(4)]
	if s.choose(3) == 0 {
		param.Width = []int{1, 7, 48}[s.choose(3)]
		param.Theta = param.Theta[:n-n%param.Width]
		s.rows(&param)
	}
	s.params = append(s.params, param)
}

// rows draws the rows of a table's gradient, some of them twice.
func (s *script) rows(p *Param) {
	n := len(p.Theta) / p.Width
	p.Rows = nil
	if n > 0 {
		p.Rows = make([]int, s.choose(2*n+1))
	}
	for i := range p.Rows {
		p.Rows[i] = s.random.intn(n)
	}
	if s.choose(2) == 0 {
		slices.Sort(p.Rows)
	}
	if s.choose(3) == 0 {
		p.Rows = slices.Compact(p.Rows)
	}
	p.Grad = s.fill(make([]float32, len(p.Rows)*p.Width))
}

// change draws one change.
func (s *script) change() {
	p := &s.p
	switch s.choose(24) {
	case 8:
		p.LossScale = []float64{0, 1, 1024, 3}[s.choose(4)]
	case 0:
		p.Options.LR /= 2
	case 1:
		s.changeOptions(&p.Options)
	case 2:
		if len(s.own) > 0 {
			s.changeOptions(s.own[s.choose(len(s.own))])
		}
	case 3:
		p.Workers = s.choose(5)
	case 4:
		p.ClipNorm = []float64{0, 0.5, 1e9, math.Inf(1)}[s.choose(4)]
	case 5:
		p.SkipNonFinite = !p.SkipNonFinite
	case 6:
		p.ZeroGrad = !p.ZeroGrad
	case 7:
		s.add()
	}
	if len(s.params) == 0 {
		return
	}
	i := s.choose(len(s.params))
	param := &s.params[i]
	n := len(param.Theta)
	st := param.State
	switch s.choose(14) {
	case 0:
		param.Theta = slices.Clone(param.Theta)
	case 1, 2:
		if param.Width != 0 {
			s.rows(param)
		} else {
			param.Grad = s.fill(make([]float32, n))
		}
	case 3, 4:
		param.Grad = nil
	case 5: // an infinity or a huge gradient
		if len(param.Grad) > 0 {
			param.Grad[s.choose(len(param.Grad))] = []float32{inf, nan, 0x1p64, 1e30}[s.choose(4)]
		}
	case 6: // another state with the same content
		if st != nil {
			c := *st
			c.MeanSquare, c.MeanGrad, c.MomentumBuffer = slices.Clone(st.MeanSquare), slices.Clone(st.MeanGrad), slices.Clone(st.MomentumBuffer)
			param.State = &c
		}
	case 7:
		param.State = nil
	case 13:
		if st != nil {
			param.options(p).Adapt(st)
		}
	case 8:
		j := s.choose(len(s.params))
		s.params[i], s.params[j] = s.params[j], s.params[i]
	case 9:
		s.params = slices.Delete(s.params, i, i+1)
	case 10: // gradients change places
		for j := range s.params {
			if other := &s.params[j]; len(other.Theta) == n && j != i && param.Width+other.Width == 0 {
				param.Grad, other.Grad = other.Grad, param.Grad
			}
		}
	case 11: // shared, which ZeroGrad forbids
		for j := range s.params {
			if other := &s.params[j]; !s.p.ZeroGrad && len(other.Theta) == n && j != i && param.Width+other.Width == 0 {
				param.Grad = other.Grad
			}
		}
	case 12: // shrinks
		if n > 1 && !st.isNew() && len(param.Grad) == n && param.Width == 0 {
			m := n - 1
			param.Theta, param.Grad, st.MeanSquare = param.Theta[:m], param.Grad[:m], st.MeanSquare[:m]
			st.MeanGrad, st.MomentumBuffer = st.MeanGrad[:min(m, len(st.MeanGrad))], st.MomentumBuffer[:min(m, len(st.MomentumBuffer))]
		}
	}
	for i := range s.params {
		param := &s.params[i]
		for j := range s.params[:i] {
			if s.p.ZeroGrad && address(param.Grad) != 0 && address(param.Grad) == address(s.params[j].Grad) {
				param.Grad = slices.Clone(param.Grad)
			}
		}
		// A buffer that the state was made without.
		if st := param.State; !st.isNew() && param.options(p).Momentum != 0 && len(st.MomentumBuffer) == 0 {
			st.MomentumBuffer = make([]float32, len(param.Theta))
		}
	}
}

// spoil makes one thing wrong and returns a function that repairs it. It changes no element.
func (s *script) spoil() (restore func()) {
	if len(s.params) == 0 {
		return nil
	}
	i, j := s.choose(len(s.params)), s.choose(len(s.params))
	param, other := &s.params[i], &s.params[j]
	before := *param
	restore = func() { *param = before }
	withState := func(change func(st *State)) {
		if before.State != nil {
			st := *before.State
			change(&st)
			param.State = &st
		}
	}
	n := len(param.Theta)
	if param.Width != 0 {
		if len(param.Grad) == 0 {
			return nil
		}
		param.Rows = slices.Clone(param.Rows)
		row := &param.Rows[s.choose(len(param.Rows))]
		switch s.choose(5) {
		case 0:
			*row = -1
		case 1:
			*row = n / param.Width
		case 2:
			param.Grad = append(slices.Clone(param.Grad), 0)
		case 3:
			param.Width = 0
		case 4:
			param.LRScale = -1
		}
		return restore
	}
	switch s.choose(10) {
	case 0:
		param.Grad = make([]float32, n+1)
	case 1:
		param.Theta = make([]float32, n+1)
		param.Grad = make([]float32, n)
	case 2:
		if n > 0 && i != j && len(other.Theta) >= n {
			param.Theta = other.Theta[len(other.Theta)-n:]
		}
	case 3:
		if st := other.State; st != nil && n > 0 && len(st.MeanSquare) >= n {
			param.Grad = st.MeanSquare[:n]
		}
	case 4:
		if n > 0 && len(other.Theta) >= n {
			param.Grad = other.Theta[:n]
		}
	case 5:
		withState(func(st *State) { st.MeanSquare = make([]float32, n+1) })
	case 6:
		withState(func(st *State) { st.MeanGrad = append(slices.Clone(st.MeanGrad), 0) })
	case 7:
		withState(func(st *State) { st.MomentumBuffer = make([]float32, n+1) })
	case 8:
		withState(func(st *State) { st.Step = -1 })
	case 9:
		o := *param.options(&s.p)
		o.LR = math.NaN()
		param.Options = &o
	}
	same := len(param.Theta) == n && len(param.Grad) == len(before.Grad) && address(param.Theta) == address(before.Theta) &&
		address(param.Grad) == address(before.Grad) && param.State == before.State && param.Options == before.Options
	if same {
		return nil
	}
	return restore
}

// step runs a step in both ways and compares them.
func (s *script) step(t testing.TB, where any) {
	t.Helper()
	if restore := s.spoil(); s.choose(3) == 0 && restore != nil {
		before := cloneParams(s.params)
		report, err := s.p.Step(s.params)
		if _, ok := errorAs[*ArgumentError](err); !ok || report != (Report{}) {
			t.Fatalf("%v: Step = %v, %v, want an *ArgumentError", where, report, err)
		}
		requireSameParams(t, fmt.Sprint(where, ": after an error"), s.params, before)
		restore()
	} else if restore != nil {
		restore()
	}
	// A state that is dropped right after it was allocated, twice, is missed.
	again := false
	for i := range s.params {
		p := &s.params[i]
		m := s.made[address(p.Theta)]
		again = again || m.times > 1 && m.n == len(p.Theta) && p.State.isNew() && !p.idle()
	}
	if again {
		before := cloneParams(s.params)
		if _, err := s.p.Step(s.params); err == nil || !strings.Contains(err.Error(), ".State = nil, want the State that the last step made") {
			t.Fatalf("%v: %v, though a state was thrown away", where, err)
		}
		requireSameParams(t, fmt.Sprint(where, ": after a state was thrown away"), s.params, before)
		for i := range s.params {
			if p := &s.params[i]; p.State.isNew() && !p.idle() {
				p.State = p.options(&s.p).NewState(len(p.Theta))
			}
		}
	}
	before := s.made
	s.made = map[uintptr]madeState{}
	for _, p := range s.params {
		if p.State.isNew() && !p.idle() && len(p.Theta) > 0 {
			m := madeState{len(p.Theta), 1}
			if b := before[address(p.Theta)]; b.n == m.n {
				m.times += b.times
			}
			s.made[address(p.Theta)] = m
		}
	}
	want := cloneParams(s.params) // copies shared gradients twice
	wantReport := plainStep(&s.p, want)
	report, err := s.p.Step(s.params)
	if err != nil {
		t.Fatalf("%v: %v", where, err)
	}
	if math.Float64bits(report.Norm) != math.Float64bits(wantReport.Norm) && report.Norm == report.Norm || report.Skipped != wantReport.Skipped || report.NonFinite != wantReport.NonFinite {
		t.Fatalf("%v: %+v, want %+v", where, report, wantReport)
	}
	if report.Skipped { // states are allocated nevertheless
		for i := range want {
			if s.params[i].State == nil && want[i].State != nil {
				t.Fatalf("%v: tensor %d: no state", where, i)
			}
		}
	}
	requireSameParams(t, where, s.params, want)
}

func TestOptimizerScripts(t *testing.T) {
	scripts, steps := 200, 30
	if testing.Short() {
		scripts = 30
	}
	forEachISA(t, func(t *testing.T) {
		all := random(t, 28)
		for script := range scripts {
			r := generator(all.next())
			s := newScript(r.intn)
			for step := range steps {
				for range r.intn(3) {
					s.change()
				}
				s.step(t, fmt.Sprintf("script %d, step %d", script, step))
			}
		}
	})
}

// FuzzStep lets the bytes choose what changes before each step. It compares Step with a loop over
// RMSProp.Update. Step must report whatever is wrong.
func FuzzStep(f *testing.F) {
	for seed := range 8 {
		r := generator(seed)
		choices := make([]byte, 300)
		for i := range choices {
			choices[i] = byte(r.next())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		s := newScript(func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0]) % n
			choices = choices[1:]
			return c
		})
		for step := 0; step < 20 && len(choices) > 0; step++ {
			s.change()
			s.step(t, fmt.Sprintf("step %d", step))
		}
	})
}

// ---- Errors ----

// requireStepError requires an *ArgumentError of these lines, and that nothing is written.
func requireStepError(t *testing.T, opt *Optimizer, params []Param, want ...string) {
	t.Helper()
	before := cloneParams(params)
	report, err := opt.Step(params)
	if report != (Report{}) {
		t.Errorf("Step = %+v, want nothing", report)
	}
	requireArgumentError(t, err, strings.Join(want, "\nkernel: "))
	requireSameParams(t, want, params, before)
}

func TestOptimizerErrors(t *testing.T) {
	memory := make([]float32, 100)
	for i := range memory {
		memory[i] = float32(i + 1)
	}
	at := func(i int) []float32 { return memory[i : i+10] }
	good := func() []Param {
		return []Param{
			{Theta: at(0), Grad: at(10), State: &State{MeanSquare: at(20), MomentumBuffer: at(30)}},
			{Theta: at(40), Grad: at(10)}, // a gradient may be shared
			{Theta: at(50), Grad: at(60), State: &State{MeanSquare: at(70), MomentumBuffer: at(80)}},
		}
	}
	overlap := func(a, b string, bytes int) string {
		return fmt.Sprintf("%s overlaps %s from byte %d on, want memory of its own", b, a, bytes)
	}
	decay := Keras()
	decay.WeightDecay = -1
	tests := []struct {
		change func(p *Optimizer, params []Param)
		want   []string
	}{
		{func(p *Optimizer, params []Param) { p.Options.LR, p.Options.Eps = -1, math.NaN() },
			[]string{"Options.LR = -1" + wantRate, "Options.Eps = NaN" + wantFinite}},
		{func(p *Optimizer, params []Param) {
			p.Options.LR, p.Options.WeightDecay, p.Options.DecoupledDecay = 1e18, 1e30, true
		},
			[]string{"Options.WeightDecay = 1e+30, want a number whose product with LR = 1e+18 is finite in float32"}},
		{func(p *Optimizer, params []Param) { p.Workers = -1 }, []string{"Workers = -1, want 0 or more"}},
		{func(p *Optimizer, params []Param) { p.ClipNorm = -1 }, []string{"ClipNorm = -1, want 0 or more"}},
		{func(p *Optimizer, params []Param) { p.ClipNorm = math.NaN() }, []string{"ClipNorm = NaN, want 0 or more"}},
		{func(p *Optimizer, params []Param) {
			params[1].Options, params[2].Options, p.ClipNorm = &decay, &decay, -2
		},
			[]string{"ClipNorm = -2, want 0 or more", "params[1].Options.WeightDecay = -1" + wantFinite,
				"len(params[2].State.MomentumBuffer) = 9, want 10 (len(Theta)) with Momentum = 0"}},
		{func(p *Optimizer, params []Param) { params[1].Grad = []float32{}; params[2].State.MomentumBuffer = nil },
			[]string{"len(params[1].Grad) = 0, want 10 (len(Theta))",
				"len(params[2].State.MomentumBuffer) = 0, want 10 (len(Theta)) with Momentum = 0.9; Adapt adds it"}},
		{func(p *Optimizer, params []Param) { params[1].Theta = nil },
			[]string{"len(params[1].Grad) = 10, want 0 (len(Theta))"}},
		{func(p *Optimizer, params []Param) { params[2].State.MeanGrad = at(90) },
			[]string{"len(params[2].State.MeanGrad) = 10, want 0 without Centered and FirstMoment"}},
		{func(p *Optimizer, params []Param) { params[2].State.MeanSquare = memory[70:79] },
			[]string{"len(params[2].State.MeanSquare) = 9, want 10 (len(Theta))"}},
		{func(p *Optimizer, params []Param) {
			p.ClipNorm, params[0].State.Step, params[0].Grad = -1, -3, memory[10:15]
			params[2].State.Step, params[2].Grad = -4, memory[60:66]
		}, []string{"ClipNorm = -1, want 0 or more", "params[0].State.Step = -3, want 0 or more", "len(params[0].Grad) = 5, want 10 (len(Theta))",
			"params[2].State.Step = -4, want 0 or more", "len(params[2].Grad) = 6, want 10 (len(Theta))"}},
		{func(p *Optimizer, params []Param) { params[0].State.Step = -3 }, []string{"params[0].State.Step = -3, want 0 or more"}},
		{func(p *Optimizer, params []Param) { params[2].Name, params[2].State.Step = "embedding", -3 },
			[]string{"embedding.State.Step = -3, want 0 or more"}},
		{func(p *Optimizer, params []Param) { params[2].Name, params[2].Theta = "tied", params[0].Theta },
			[]string{overlap("params[0].Theta", "tied.Theta", 0)}},
		// A tensor without a gradient is checked as well.
		{func(p *Optimizer, params []Param) { params[2].Grad, params[2].State.MeanSquare = nil, nil },
			[]string{"len(params[2].State.MeanSquare) = 0, want 10 (len(Theta))"}},
		{func(p *Optimizer, params []Param) { params[1].Grad, params[1].Theta = nil, at(85) },
			[]string{overlap("params[2].State.MomentumBuffer", "params[1].Theta", 20)}},
		{func(p *Optimizer, params []Param) { params[0].Grad = params[0].Theta },
			[]string{overlap("params[0].Theta", "params[0].Grad", 0)}},
		{func(p *Optimizer, params []Param) { params[1] = params[2] }, // listed twice
			[]string{overlap("params[1].Theta", "params[2].Theta", 0), overlap("params[1].State.MeanSquare", "params[2].State.MeanSquare", 0),
				overlap("params[1].State.MomentumBuffer", "params[2].State.MomentumBuffer", 0)}},
		{func(p *Optimizer, params []Param) { params[1].Theta = at(55) },
			[]string{overlap("params[2].Theta", "params[1].Theta", 20), overlap("params[1].Theta", "params[2].Grad", 20)}},
		{func(p *Optimizer, params []Param) { params[2].State = params[0].State },
			[]string{overlap("params[0].State.MeanSquare", "params[2].State.MeanSquare", 0),
				overlap("params[0].State.MomentumBuffer", "params[2].State.MomentumBuffer", 0)}},
		{func(p *Optimizer, params []Param) { params[2].Grad = memory[45:55] },
			[]string{overlap("params[1].Theta", "params[2].Grad", 20), overlap("params[2].Grad", "params[2].Theta", 20)}},
		{func(p *Optimizer, params []Param) { params[1].Theta, params[1].Grad = memory[5:7], memory[2:4] },
			[]string{overlap("params[0].Theta", "params[1].Grad", 8), overlap("params[0].Theta", "params[1].Theta", 20)}},
		{func(p *Optimizer, params []Param) { params[1].Grad = at(81) },
			[]string{overlap("params[2].State.MomentumBuffer", "params[1].Grad", 4)}},
		// After one that is longer than the distance between the two.
		{func(p *Optimizer, params []Param) {
			params[0] = Param{Theta: memory[:40], Grad: make([]float32, 40)}
			params[1].Theta, params[1].Grad, params[1].State = memory[1:2], memory[20:21], &State{MeanSquare: memory[2:3], MomentumBuffer: memory[39:40]}
		}, []string{overlap("params[0].Theta", "params[1].Theta", 4), overlap("params[0].Theta", "params[1].State.MeanSquare", 8),
			overlap("params[0].Theta", "params[1].Grad", 80), overlap("params[0].Theta", "params[1].State.MomentumBuffer", 156)}},
		{func(p *Optimizer, params []Param) { p.ZeroGrad = true },
			[]string{overlap("params[0].Grad", "params[1].Grad", 0)}},
		{func(p *Optimizer, params []Param) { p.ZeroGrad, params[1].Grad = true, at(61) },
			[]string{overlap("params[2].Grad", "params[1].Grad", 4), overlap("params[1].Grad", "params[2].State.MeanSquare", 36)}},
	}
	for i, test := range tests {
		// By a new Optimizer, and by one that knows the tensors.
		for _, known := range []bool{false, true} {
			opt, params := &Optimizer{Options: Keras(), Workers: 2}, good()
			opt.Options.Momentum = 0.9
			if known {
				mustStep(t, opt, params)
				mustStep(t, opt, params)
				params[1].State = nil
			}
			if i == 5 { // whose options have no momentum
				params[2].State.MomentumBuffer = params[2].State.MomentumBuffer[:9]
			}
			test.change(opt, params)
			requireStepError(t, opt, params, test.want...)

			// It goes on as if nothing happened.
			opt.Options, opt.Workers, opt.ClipNorm, opt.ZeroGrad = Keras(), 1, 0, false
			params = good()
			params[2].State = &State{MeanSquare: at(70)}
			want := cloneParams(params)
			plainStep(opt, want)
			mustStep(t, opt, params)
			requireSameParams(t, fmt.Sprint("after ", test.want), params, want)
		}
	}
}

func TestOptimizerEmpty(t *testing.T) {
	shared := new(State) // no overlap, because it has no elements
	for _, params := range [][]Param{nil, {{}}, {{}, {Theta: []float32{}}}, {{State: shared}, {State: shared}}} {
		for _, workers := range []int{0, 1, 4} {
			for _, everything := range []bool{false, true} {
				opt := &Optimizer{Options: PyTorch(), Workers: workers}
				if everything {
					opt.ClipNorm, opt.SkipNonFinite, opt.ZeroGrad = 1, true, true
				}
				for range 2 {
					if report := mustStep(t, opt, params); report != (Report{}) {
						t.Errorf("%+v", report)
					}
				}
				for _, param := range params {
					if param.State == nil || param.State.Step == 0 {
						t.Errorf("no step was counted: %+v", param)
					}
				}
			}
		}
	}
	// Also after a step with tensors.
	opt := &Optimizer{Options: PyTorch()}
	params := []Param{{Theta: make([]float32, 1), Grad: make([]float32, 1)}}
	mustStep(t, opt, params)
	opt.Options.LR = -1
	if _, err := opt.Step(nil); err == nil {
		t.Error("no error")
	}
	opt.Options.LR = 1
	mustStep(t, opt, nil)
}

// Step keeps no slice: one can be collected once its owner drops it.
func TestOptimizerKeepsNothing(t *testing.T) {
	opt := &Optimizer{Options: Keras(), ClipNorm: 1, ZeroGrad: true, Workers: 2}
	opt.Options.Momentum = 0.9
	const n = 3 * share
	lend := func() (lent []weak.Pointer[float32]) {
		own := Keras()
		params := []Param{{Theta: make([]float32, n), Grad: make([]float32, n)},
			{Theta: make([]float32, n), Grad: make([]float32, n), State: own.NewState(n), Options: &own}}
		mustStep(t, opt, params)
		for _, param := range params {
			for _, x := range [][]float32{param.Theta, param.Grad, param.State.MeanSquare} {
				lent = append(lent, weak.Make(&x[0]))
			}
		}
		return lent
	}
	lent := lend()
	for range 20 { // until the goroutines have also ended
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	for i, x := range lent {
		if x.Value() != nil {
			t.Errorf("slice %d is still there", i)
		}
	}
	runtime.KeepAlive(opt)
}

// ---- The norm ----

func TestOptimizerNorm(t *testing.T) {
	r := random(t, 25)
	tensors := newTensors(&r, &RMSProp{}, append(tensorSizes, 5*normBlock, normBlock, normBlock+1, 70*normBlock), true)
	for _, scale := range []float64{0, 2, 1.0 / 3} {
		for _, extreme := range []float32{1, 1e30, 1e-30, 0x1p-149} {
			params := paramsOf(tensors, always)
			params[3].Grad = nil
			params[4].Grad = slices.Clone(params[4].Grad)
			params[4].Grad[7] *= extreme
			reference := &Optimizer{Options: Keras(), ClipNorm: 1, LossScale: scale}
			want := plainNorm(reference, params)
			exact := 0.0
			for _, param := range params {
				for _, g := range param.Grad {
					exact += float64(g) * float64(g)
				}
			}
			if exact = math.Sqrt(exact) / cmp.Or(scale, 1); math.Abs(want-exact) > 1e-12*want {
				t.Fatalf("norm %v, want %v", want, exact)
			}
			for _, workers := range []int{1, 2, 3, 8} {
				opt := &Optimizer{Options: Keras(), Workers: workers, ClipNorm: 1, LossScale: scale}
				for range 3 {
					if got := mustStep(t, opt, params).Norm; got != want {
						t.Errorf("%d workers: norm %v, want %v", workers, got, want)
					}
				}
			}
		}
	}
	opt := &Optimizer{Options: Keras()}
	if report := mustStep(t, opt, paramsOf(tensors, always)); report.Norm != 0 {
		t.Errorf("norm %v without ClipNorm and SkipNonFinite, want 0", report.Norm)
	}
	// Of one element it is exact.
	opt.ClipNorm, opt.LossScale = math.Inf(1), 3
	one := []Param{{Theta: []float32{1}, Grad: []float32{-0.1}}}
	want := float64(float32(0.1)) / 3
	if got := mustStep(t, opt, one).Norm; got != want {
		t.Errorf("norm %v, want %v", got, want)
	}
}

// For any element of any tensor, with any number of workers.
func TestOptimizerSkips(t *testing.T) {
	const n = share + 10 // enough for two workers
	for _, test := range []struct {
		bad           float32
		scale         float64
		clip          float64
		skip, skipped bool
	}{
		{nan, 1, 0, true, true}, {inf, 1, 0, true, true}, {-inf, 1, 0, true, true}, {nan, 1, 1, false, true}, {inf, 1, 1, false, true},
		{nan, 1, 0, false, false}, {inf, 1, 0, false, false},
		{0x1p64, 1, 0, true, true}, {-0x1p64, 1, 5, true, true}, {0x1p64, 1, 5, false, false}, {0x1p64, 1, math.Inf(1), false, false},
		{math.Nextafter32(0x1p64, 0), 1, 0, true, false}, {math.MaxFloat32, 1, 0, true, true}, {math.MaxFloat32, 1, 1, false, false},
		{0x1p64, 2, 0, true, false}, {0x1p65, 2, 0, true, true}, {0x1p63, 0.5, 0, true, true},
		{1, 1, 0, true, false},
	} {
		for _, zero := range []bool{false, true} {
			for _, workers := range []int{1, 2, 3, 8} {
				for _, at := range []int{0, n - 1, n} {
					opt := &Optimizer{Options: Keras(), Workers: workers, ClipNorm: test.clip, SkipNonFinite: test.skip, ZeroGrad: zero}
					opt.LossScale = test.scale
					params := []Param{{Theta: []float32{1, 2}, Grad: make([]float32, 2)},
						{Theta: make([]float32, n), Grad: make([]float32, n)}, {Theta: []float32{3}, Grad: make([]float32, 1)}}
					mustStep(t, opt, params)
					if at == n {
						params[2].Grad[0] = test.bad
					} else {
						params[1].Grad[at] = test.bad
					}
					want := cloneParams(params)
					wantReport := plainStep(opt, want)
					report := mustStep(t, opt, params)
					if report.Skipped != test.skipped || wantReport.Skipped != test.skipped {
						t.Errorf("%+v at %d, %d workers: %+v", test, at, workers, report)
					}
					requireSameParams(t, fmt.Sprintf("%+v", test), params, want)
					for i, param := range params {
						if test.skipped && (param.State.Step != 1 || param.State.MeanSquare[0] != 0) {
							t.Errorf("%+v: tensor %d: its state was written", test, i)
						}
						if zero && slices.ContainsFunc(param.Grad, func(g float32) bool { return math.Float32bits(g) != 0 }) {
							t.Errorf("%+v: tensor %d: its gradient is not zero", test, i)
						}
					}
				}
			}
		}
	}
}

// The report names the first tensor that is not finite.
func TestOptimizerNonFinite(t *testing.T) {
	opt := &Optimizer{Options: Keras(), SkipNonFinite: true}
	params := []Param{{Theta: []float32{1}, Grad: []float32{nan}}, {Name: "frozen", Theta: []float32{1}},
		{Name: "huge", Theta: []float32{1}, Grad: []float32{math.MaxFloat32}}, {Name: "w", Theta: []float32{1, 2}, Grad: []float32{1, -inf}},
		{Theta: []float32{1}, Grad: []float32{inf}}}
	for _, want := range []string{"params[0]", "w", "params[4]", ""} {
		if report := mustStep(t, opt, params); report.NonFinite != want || !report.Skipped {
			t.Errorf("%+v, want NonFinite %q", report, want)
		}
		for i := range params {
			if params[i].name(i) == want {
				params[i].Grad = make([]float32, len(params[i].Theta))
			}
		}
	}
}

// Against torch.nn.utils.clip_grad_norm_ followed by each framework's formula, in float64.
func TestOptimizerClipNormParity(t *testing.T) {
	const steps, clip, bound = 50, 0.5, 2.0
	sizes := []int{7, 64, 1}
	for _, f := range frameworks {
		for _, scale := range []float64{1, 3} {
			r := random(t, 26)
			opt := &Optimizer{Options: f.preset, ClipNorm: clip, Workers: 2}
			opt.LossScale = scale
			var params []Param
			var refs [][]reference
			var largest [][]float64
			for _, n := range sizes {
				param := Param{Theta: make([]float32, n), Grad: make([]float32, n)}
				ref := make([]reference, n)
				for i := range ref {
					param.Theta[i] = r.symmetric()
					ref[i] = reference{theta: float64(param.Theta[i]), s: f.preset.InitialMeanSquare}
				}
				params, refs, largest = append(params, param), append(refs, ref), append(largest, make([]float64, n))
			}
			clipped := 0
			for step := 1; step <= steps; step++ {
				sum := 0.0
				for _, param := range params {
					for i := range param.Grad {
						param.Grad[i] = r.symmetric() * float32(scale) * float32(step%3) / 8
						g := float64(param.Grad[i]) / scale
						sum += g * g
					}
				}
				norm := math.Sqrt(sum)
				coefficient := min(1, clip/(norm+1e-6))
				if coefficient < 1 {
					clipped++
				}
				report := mustStep(t, opt, params)
				if math.Abs(report.Norm-norm) > 1e-14*norm {
					t.Fatalf("norm %v, want %v", report.Norm, norm)
				}
				for k, param := range params {
					for i := range param.Theta {
						x := &refs[k][i]
						before := math.Abs(x.theta)
						moved := math.Abs(f.step(x, float64(param.Grad[i])/scale*coefficient, &opt.Options))
						largest[k][i] = max(largest[k][i], before, moved)
						off := math.Abs(float64(param.Theta[i])-x.theta) / ulp(largest[k][i]) / float64(step+1)
						if !(off <= bound) {
							t.Fatalf("%s: step %d: theta[%d] = %v, want %v: %.1f units a step off", f.name, step, i, param.Theta[i], x.theta, off)
						}
					}
				}
			}
			if clipped == 0 || clipped == steps {
				t.Errorf("%d of %d steps were clipped", clipped, steps)
			}
		}
	}
}

// A factor of 0 makes the gradient 0 instead of leaving it as it is.
func TestOptimizerClipsToNothing(t *testing.T) {
	opt := &Optimizer{Options: Keras(), ClipNorm: 1e-300}
	params := []Param{{Theta: []float32{1}, Grad: []float32{5}}}
	mustStep(t, opt, params)
	if params[0].Theta[0] != 1 || params[0].State.MeanSquare[0] != 0 {
		t.Errorf("theta = %v, state %v", params[0].Theta, params[0].State)
	}
}

// ---- What differs between tensors ----

// A Param that is made again in each step loses its State. The first two times it may be on
// purpose.
func TestOptimizerParamInLoop(t *testing.T) {
	theta, other := []float32{1, 2}, []float32{3}
	opt := &Optimizer{Options: Keras()}
	for step := range 6 {
		params := []Param{{Name: "other", Theta: other, Grad: []float32{1}}, {Name: "w", Theta: theta, Grad: []float32{1, 1}}}
		if step%2 != 0 {
			params[0], params[1] = params[1], params[0]
		}
		if step < 2 {
			mustStep(t, opt, params)
			continue
		}
		requireStepError(t, opt, params, params[0].Name+".State = nil, want the State that the last step made for this Theta: keep the Param",
			params[1].Name+".State = nil, want the State that the last step made for this Theta: keep the Param")
	}
	params := []Param{{Theta: theta, Grad: []float32{1, 1}}, {Theta: other, Grad: []float32{1}}}
	for i := range params {
		params[i].State = opt.Options.NewState(len(params[i].Theta))
	}
	mustStep(t, opt, params)
	params[0].State = nil // a new start on purpose
	mustStep(t, opt, params)
	mustStep(t, opt, params)
	params[0].State = nil
	mustStep(t, opt, params)

	memory := make([]float32, 5) // a tensor uses more of it each time
	for n := range memory {
		mustStep(t, opt, []Param{{Theta: memory[:n+1], Grad: make([]float32, n+1)}})
	}
}

// A schedule and a loss scale reach all tensors.
func TestOptimizerRelativeOptions(t *testing.T) {
	own := PyTorch()
	opt := &Optimizer{Options: Keras(), ClipNorm: math.Inf(1)}
	opt.Options.WeightDecay = 0.25
	var params []Param
	for i := range 6 {
		p := Param{Theta: []float32{1, 2}, Grad: []float32{3, -4}, NoDecay: i%2 == 1, LRScale: []float64{0, 0.5, 3}[i%3]}
		if i > 3 {
			p.Options = &own
		}
		params = append(params, p)
	}
	want := cloneParams(params)
	for step := range 5 {
		mustStep(t, opt, params)
		plainStep(opt, want)
		requireSameParams(t, step, params, want)
		opt.Options.LR /= 2
		opt.LossScale = float64(step)
	}

	if got := mustStep(t, opt, params).Norm; got != math.Sqrt(6*25)/4 {
		t.Errorf("norm %v", got)
	}
	before := params
	for _, test := range []struct {
		change func()
		want   string
	}{
		{func() { opt.LossScale = -1 }, "LossScale = -1, want a number in [2^-126, 2^126], or 0 for none"},
		{func() { opt.Options.LossScale = 2 }, "Options.LossScale = 2, want 0, and the Optimizer's LossScale, which all tensors have"},
		{func() { own.LossScale = 3 }, "params[4].Options.LossScale = 3, want 0, and the Optimizer's LossScale, which all tensors have"},
		{func() { opt.Options.Rho, opt.Options.Eps = 0, 0 },
			"Options.Rho = 0, want a number such as 0.9, or else an Eps above 0: with neither, a step is LR in the direction of the gradient's sign"},
		{func() { opt.Options.LR = -1 }, "Options.LR = -1" + wantRate}, // and not LRScale
		{func() { params[1].LRScale = -0.5 }, "params[1].LRScale = -0.5, want a number above 0, or 0 for 1"},
		{func() { params[1].LRScale = math.NaN() }, "params[1].LRScale = NaN, want a number above 0, or 0 for 1"},
		{func() { opt.Options.LR, params[2].LRScale = 1e15, 1e15 },
			"params[2].LRScale = 1e+15, want a number whose product with LR = 1e+15 is in range"},
	} {
		options, ownOptions := opt.Options, own
		opt.LossScale, params = 0, slices.Clone(before)
		test.change()
		requireStepError(t, opt, params, test.want)
		opt.LossScale, opt.Options, own = 0, options, ownOptions
	}
}

// ---- Rows ----

// Rows in a step have the bits of CoalesceRows and UpdateRows, with any number of workers.
func TestOptimizerRows(t *testing.T) {
	const n, width = 3000, 40
	forEachISA(t, func(t *testing.T) {
		for _, workers := range []int{1, 2, 3, 8} {
			for _, zero := range []bool{false, true} {
				r := random(t, 29)
				o := everything
				opt := &Optimizer{Options: o, Workers: workers, ZeroGrad: zero}
				d, dense := o.allocate(n*width), o.allocate(share)
				r.training(d)
				r.training(dense)
				params := []Param{{Theta: dense.theta, Grad: dense.grad, State: dense.state()}, {Theta: d.theta, State: d.state(), Width: width}}
				want, wantState := d.clone(), d.clone().state()
				wantState.MeanSquare, wantState.MeanGrad, wantState.MomentumBuffer = want.s, want.m, want.b
				for step := range 4 {
					rows := make([]int, []int{2000, 0, 1, 2500}[step])
					for i := range rows {
						rows[i] = r.intn(n)
					}
					if step == 3 {
						slices.Sort(rows)
						rows = slices.Compact(rows)
					}
					grad := make([]float32, len(rows)*width)
					for i := range grad {
						grad[i] = r.symmetric()
					}
					sums, once := CoalesceRows(grad, rows, width)
					o.UpdateRows(want.theta, slices.Clone(sums), wantState, once, width)
					before := slices.Clone(rows)
					params[1].Grad, params[1].Rows = grad, rows
					mustStep(t, opt, params)
					tensorData{d.theta, nil, d.s, d.m, d.b}.requireSame(t, step, tensorData{want.theta, nil, want.s, want.m, want.b})
					if params[1].State.Step != step+1 || !slices.Equal(rows, before) {
						t.Errorf("Step = %d after %d steps, rows changed: %v", params[1].State.Step, step+1, !slices.Equal(rows, before))
					}
					if zero && slices.ContainsFunc(grad, func(g float32) bool { return g != 0 }) {
						t.Error("the gradient is not zero")
					}
				}
			}
		}
	})
}

func TestOptimizerRowsErrors(t *testing.T) {
	for _, test := range []struct {
		change func(p *Param)
		want   string
	}{
		{func(p *Param) { p.Rows = []int{1, 4} }, "Rows[1] = 4, want a row of Theta, in [0, 4)"},
		{func(p *Param) { p.Rows = []int{-1, 4} }, "Rows[0] = -1, want a row of Theta, in [0, 4)"},
		{func(p *Param) { p.Width = 0 }, "Width = 0, want 1 or more with Rows"},
		{func(p *Param) { p.Width = -2 }, "Width = -2, want 1 or more with Rows"},
		{func(p *Param) { p.Rows = nil }, "Grad) = 4, want 0 (len(Rows)*Width)"},
		{func(p *Param) { p.Grad = p.Grad[:3] }, "Grad) = 3, want 4 (len(Rows)*Width)"},
		{func(p *Param) { p.Theta = p.Theta[:7] }, "Theta) = 7, want a multiple of Width = 2"},
	} {
		opt := &Optimizer{Options: Keras()}
		params := []Param{{Theta: make([]float32, 8), Grad: make([]float32, 4), Width: 2, Rows: []int{3, 1}}}
		mustStep(t, opt, params)
		params[0].State = nil
		test.change(&params[0])
		before := cloneParams(params)
		_, err := opt.Step(params)
		if e, ok := errorAs[*ArgumentError](err); !ok || e.Tensor != "params[0]" || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %s", err, test.want)
		}
		requireSameParams(t, test.want, params, before)
	}
}

// ---- One step at a time ----

func TestOptimizerOneStepAtATime(t *testing.T) {
	opt := &Optimizer{Options: Keras()}
	params := []Param{{Theta: []float32{1}, Grad: []float32{1}}}
	mustStep(t, opt, params)
	run := opt.runUnit
	others := []Param{{Theta: []float32{1}, Grad: []float32{1}}}
	opt.runUnit = func(unit int) { // a step within a step, as from another goroutine
		requireStepError(t, opt, others, "Optimizer = in a step, want one step at a time")
		run(unit)
	}
	mustStep(t, opt, params)
	opt.runUnit = run
	mustStep(t, opt, params)
	if params[0].State.Step != 3 {
		t.Errorf("Step = %d after 3 steps", params[0].State.Step)
	}

	var moved Optimizer
	reflect.ValueOf(&moved).Elem().Set(reflect.ValueOf(opt).Elem())
	requireStepError(t, &moved, params, "Optimizer = a copy, want the Optimizer that took the first step: keep a pointer to it")
	mustStep(t, opt, params)
}

// Each of many concurrent steps is either run or refused without any effect.
func TestOptimizerConcurrentSteps(t *testing.T) {
	opt := &Optimizer{Options: Keras(), Workers: 2, ClipNorm: 1}
	params := []Param{{Theta: make([]float32, 2*share), Grad: make([]float32, 2*share)}}
	var taken, refused atomic.Int64
	var wg waitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if _, err := opt.Step(params); err == nil {
					taken.Add(1)
				} else if _, ok := errorAs[*ArgumentError](err); ok {
					refused.Add(1)
				} else {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := params[0].State.Step; got != int(taken.Load()) || taken.Load()+refused.Load() != 800 {
		t.Errorf("Step = %d after %d steps, %d were refused", got, taken.Load(), refused.Load())
	}
}
