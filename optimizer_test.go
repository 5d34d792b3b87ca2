package kernel

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"weak"
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

// mustStep takes a step that must not be wrong.
func mustStep(t testing.TB, p *Optimizer, params []Param) Report {
	t.Helper()
	report, err := p.Step(params)
	if err != nil {
		t.Fatal(err)
	}
	return report
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
				r := random(t, 21)
				for i, o := range sets {
					tensors := newTensors(&r, &o, tensorSizes, i%2 == 0)
					if i%3 == 0 {
						slices.Reverse(tensors)
					}
					want := cloneAll(tensors)
					states := make([]*State, len(want))
					for j := range want {
						states[j] = want[j].state()
					}
					opt := &Optimizer{Options: o, Workers: []int{0, 1, 2, 3, 8, 1 << 20}[i%6]}
					params := paramsOf(tensors, always)
					for step := range 2 {
						opt.Options.LR = o.LR / float64(1+step)
						mustStep(t, opt, params)
						one := opt.Options
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

// ---- A step, the plain way ----

// plainNorm is the norm of all gradients by the words of its contract.
func plainNorm(p *Optimizer, params []Param) float64 {
	scaleOf := func(param Param) float64 {
		if s := param.options(p).LossScale; s != 0 {
			return s
		}
		return 1
	}
	var scales []float64
	for _, param := range params {
		if len(param.Grad) > 0 {
			scales = append(scales, scaleOf(param))
		}
	}
	same := len(scales) > 0 && slices.Min(scales) == slices.Max(scales)
	total := 0.0
	for _, param := range params {
		sum := 0.0
		for block := range slices.Chunk(param.Grad, 4096) {
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
		if !same {
			sum /= scaleOf(param) * scaleOf(param)
		}
		total += sum
	}
	if same {
		return math.Sqrt(total) / scales[0]
	}
	return math.Sqrt(total)
}

// plainStep is what Step does, as a loop over RMSProp.Update, without any check.
func plainStep(p *Optimizer, params []Param) (report Report) {
	factor := 1.0
	if p.ClipNorm != 0 || p.SkipNonFinite {
		report.Norm = plainNorm(p, params)
		report.Skipped = math.IsNaN(report.Norm) || math.IsInf(report.Norm, 0) || p.SkipNonFinite && report.Norm >= 0x1p64
		if p.ClipNorm != 0 {
			factor = min(1, p.ClipNorm/(report.Norm+1e-6))
		}
	}
	for i := range params {
		param := &params[i]
		if param.Grad == nil && len(param.Theta) > 0 {
			continue
		}
		o := param.options(p)
		if param.State == nil {
			param.State = o.NewState(len(param.Theta))
		}
		st := param.State
		switch {
		case report.Skipped:
		case factor == 1:
			o.Update(param.Theta, param.Grad, st)
		default:
			st.Step++
			k := o.rounded(factor, st.Step)
			c := k.call(param.Theta, param.Grad, st)
			c.run(c.n)
		}
		if p.ZeroGrad {
			clear(param.Grad)
		}
	}
	return report
}

// cloneParams copies all that a step reads and writes, and keeps which of it is nil.
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

// requireSameParams compares all bits, and where there is a state or a gradient.
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
}

// newScript begins with a few tensors.
func newScript(choose func(n int) int) *script {
	s := &script{choose: choose, random: 77}
	s.p.Options = s.options()
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

// options draws any options but Centered, which the states of a tensor are made for.
func (s *script) options() RMSProp {
	o := []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax(), Gorgonia(), GoMLX()}[s.choose(6)]
	o.Momentum = []float64{0, 0.9, 0.5}[s.choose(3)]
	o.Nesterov = s.choose(2) == 0
	o.WeightDecay = []float64{0, 0.01}[s.choose(2)]
	o.LossScale = []float64{0, 1, 1024, 3}[s.choose(4)]
	o.ClipValue = []float64{0, 0.25}[s.choose(2)]
	o.Maximize = s.choose(4) == 0
	o.BiasCorrection = s.choose(2) == 0
	return o
}

func (s *script) add() {
	n := []int{0, 1, 15, 100, 2000, smallestUnit + 7, share + 33}[s.choose(7)]
	param := Param{Theta: s.fill(make([]float32, n)), Grad: s.fill(make([]float32, n))}
	if s.choose(3) == 0 {
		o := s.options()
		o.Centered = s.choose(2) == 0
		param.Options = &o
		s.own = append(s.own, &o)
	}
	s.params = append(s.params, param)
}

// change draws one change.
func (s *script) change() {
	p := &s.p
	switch s.choose(20) {
	case 0:
		p.Options.LR /= 2
	case 1:
		centered := p.Options.Centered
		p.Options = s.options()
		p.Options.Centered = centered
	case 2:
		if len(s.own) > 0 {
			o := s.own[s.choose(len(s.own))]
			centered := o.Centered
			*o = s.options()
			o.Centered = centered
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
		param.Grad = s.fill(make([]float32, n))
	case 3, 4:
		param.Grad = nil
	case 5: // an infinity or a huge gradient
		if len(param.Grad) > 0 {
			param.Grad[s.choose(n)] = []float32{inf, nan, 0x1p64, 1e30}[s.choose(4)]
		}
	case 6: // another state with the same content
		if st != nil {
			c := *st
			c.MeanSquare, c.MeanGrad, c.MomentumBuffer = slices.Clone(st.MeanSquare), slices.Clone(st.MeanGrad), slices.Clone(st.MomentumBuffer)
			param.State = &c
		}
	case 7:
		param.State = nil
	case 8:
		j := s.choose(len(s.params))
		s.params[i], s.params[j] = s.params[j], s.params[i]
	case 9:
		s.params = slices.Delete(s.params, i, i+1)
	case 10: // gradients change places
		for j := range s.params {
			if other := &s.params[j]; len(other.Theta) == n && j != i {
				param.Grad, other.Grad = other.Grad, param.Grad
			}
		}
	case 11: // shared, which ZeroGrad forbids
		for j := range s.params {
			if other := &s.params[j]; !s.p.ZeroGrad && len(other.Theta) == n && j != i {
				param.Grad = other.Grad
			}
		}
	case 12: // shrinks
		if n > 1 && st != nil && len(param.Grad) == n {
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
		if st := param.State; st != nil && param.options(p).Momentum != 0 && len(st.MomentumBuffer) == 0 {
			st.MomentumBuffer = make([]float32, len(param.Theta))
		}
	}
}

// spoil makes one thing wrong and returns what puts it right. It does not
// touch an element.
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
		withState(func(st *State) { st.MeanSquare = append(slices.Clone(st.MeanSquare), 0) })
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

// step takes a step both ways and compares.
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
	want := cloneParams(s.params)
	// Shared gradients are shared in the copy, too.
	wantReport := plainStep(&s.p, want)
	report, err := s.p.Step(s.params)
	if err != nil {
		t.Fatalf("%v: %v", where, err)
	}
	if math.Float64bits(report.Norm) != math.Float64bits(wantReport.Norm) && report.Norm == report.Norm || report.Skipped != wantReport.Skipped {
		t.Fatalf("%v: %+v, want %+v", where, report, wantReport)
	}
	if report.Skipped { // states are made all the same
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

// FuzzStep has the bytes choose what changes before each step. Step is compared with a loop
// over RMSProp.Update, and must report whatever is wrong.
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

// ---- States ----

func TestOptimizerMakesStates(t *testing.T) {
	o := TensorFlow()
	o.Centered, o.Momentum = true, 0.5
	plain := Keras()
	for _, together := range []bool{false, true} {
		r := random(t, 22)
		tensors := newTensors(&r, &o, append(tensorSizes, long, 3*share), together)
		params := paramsOf(tensors, func(i int) bool { return i%5 == 2 })
		params[4].Options = &plain
		idle := len(params) - 1
		params[idle].Grad = nil
		want := cloneParams(params)
		opt := &Optimizer{Options: o, Workers: 3}
		for range 3 {
			mustStep(t, opt, params)
			plainStep(opt, want)
		}
		requireSameParams(t, "made", params, want)
		if params[idle].State != nil {
			t.Error("a state was made for a tensor without gradient")
		}
		var all []span
		for i, param := range params[:idle] {
			st := param.State
			if n := len(param.Theta); n >= long && i%5 != 2 {
				places := map[uintptr]bool{}
				slices := 0
				for _, x := range [][]float32{param.Theta, st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
					if len(x) > 0 {
						slices++
						places[address(x)%pageSize] = true
					}
				}
				if len(places) != slices {
					t.Errorf("tensor %d of %d elements: its slices lie at %v in their pages", i, n, places)
				}
			}
			if i%5 == 2 {
				if st.Step != 3 || address(st.MeanSquare) != address(tensors[i].s) {
					t.Errorf("tensor %d: its state was not used", i)
				}
				continue
			}
			for kind, x := range [][]float32{st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
				if cap(x) != len(x) {
					t.Errorf("tensor %d: append to the state would write to another", i)
				}
				if len(x) > 0 && address(x)%lineSize != address(param.Theta)%lineSize {
					t.Errorf("tensor %d: slice %d of its state lies %d bytes into a cache line, theta %d",
						i, kind, address(x)%lineSize, address(param.Theta)%lineSize)
				}
				all = appendSpan(all, x, i, true)
			}
		}
		sortSpans(all)
		for i := 1; i < len(all); i++ {
			if (all[i-1].end-1)/lineSize >= all[i].start/lineSize {
				t.Errorf("states of tensors %d and %d share a cache line", all[i-1].slice, all[i].slice)
			}
		}
	}
}

// Momentum may be switched off and on where the state has the buffer, which
// then goes on from the last step; where it has none, that is an error.
func TestOptimizerMomentumSchedule(t *testing.T) {
	for _, preset := range []RMSProp{Keras(), PyTorch()} {
		for _, nesterov := range []bool{false, true} {
			o := preset
			o.Momentum, o.Nesterov = 0.9, nesterov
			opt := &Optimizer{Options: o, Workers: 1}
			params := []Param{{Theta: []float32{1, 2}, Grad: []float32{3, -4}}}
			mustStep(t, opt, params)

			opt.Options.Momentum = 0
			before := cloneParams(params)
			mustStep(t, opt, params)
			// What momentum off gives by itself, and a buffer that holds that step.
			plain := o
			plain.Momentum = 0
			st := before[0].State
			plain.Update(before[0].Theta, before[0].Grad, &State{MeanSquare: st.MeanSquare})
			requireSame(t, "theta without momentum", params[0].Theta, before[0].Theta)
			requireSame(t, "s without momentum", params[0].State.MeanSquare, st.MeanSquare)
			unit := RMSProp{LR: o.LR, Rho: o.Rho, Eps: o.Eps, EpsOutside: o.EpsOutside, LROutside: o.LROutside, Momentum: 0.9}
			zero := &State{MeanSquare: []float32{9 * float32(1-o.Rho), 16 * float32(1-o.Rho)}, MomentumBuffer: make([]float32, 2)}
			unit.Update(make([]float32, 2), before[0].Grad, zero)
			requireSame(t, "buffer without momentum", params[0].State.MomentumBuffer, zero.MomentumBuffer)

			opt.Options.Momentum = 0.5
			want := cloneParams(params)
			half := opt.Options
			half.Update(want[0].Theta, want[0].Grad, want[0].State)
			mustStep(t, opt, params)
			requireSameParams(t, "momentum again", params, want)
		}
	}

	opt := &Optimizer{Options: Keras()}
	params := []Param{{Theta: []float32{1}, Grad: []float32{1}}}
	mustStep(t, opt, params)
	opt.Options.Momentum = 0.9
	requireStepError(t, opt, params, "len(params[0].State.MomentumBuffer) = 0, want 1 (len(Theta)) with Momentum = 0.9")
}

// ---- Work ----

// No cache line of the thetas and of the states that Step makes is
// written by two units of work, wherever the thetas lie.
func TestOptimizerCacheLines(t *testing.T) {
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
			for unit, from := range opt.cuts[:len(opt.cuts)-1] {
				to := opt.cuts[unit+1]
				for place := from.tensor; place <= min(to.tensor, len(opt.order)-1); place++ {
					param := params[opt.order[place]]
					start, end := 0, len(param.Theta)
					if place == from.tensor {
						start = from.at
					}
					if place == to.tensor {
						end = to.at
					}
					elements += end - start
					if len(param.Theta) == 0 {
						if unit != len(opt.cuts)-2 {
							t.Fatal("a tensor without elements is not in the last unit")
						}
						empty++
					}
					for _, x := range [][]float32{param.Theta, param.State.MeanSquare, param.State.MeanGrad, param.State.MomentumBuffer} {
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
			for _, param := range params {
				elements -= len(param.Theta)
				if len(param.Theta) == 0 {
					empty--
				}
			}
			if elements != 0 || empty != 0 {
				t.Fatalf("%d elements and %d empty tensors too many in %d units", elements, empty, len(opt.cuts)-1)
			}
			opt.cutTensors(params, 1+r.intn(500)) // and once more in smaller units
		}
	}
}

// The last unit of work is short against all the others, and there are units
// for all, of one large tensor as of many small ones.
func TestOptimizerUnits(t *testing.T) {
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
			if units := len(opt.cuts) - 1; units < test.least || units > test.most {
				t.Errorf("%+v: %d units", test, units)
			}
			opt.Workers = 3 - 2*min(1, test.workers-1) // 3 for one worker, else 1
			mustStep(t, opt, params)
			if units := len(opt.cuts) - 1; opt.Workers == 1 && units != 1 || opt.Workers == 3 && units == 1 {
				t.Errorf("%+v: %d units for %d workers from then on", test, units, opt.Workers)
			}
			opt.Workers = test.workers
		}
	}
}

// A step starts as many goroutines as it has use for: one less than there are
// workers, and none for one worker or little work.
func TestOptimizerGoroutines(t *testing.T) {
	for _, test := range []struct{ tensors, size, idle, workers, want, norm int }{
		{1, 1 << 20, 0, 1, 0, 0}, {1, 1 << 20, 0, 2, 1, 1}, {1, 1 << 20, 0, 3, 2, 2}, {1, 1 << 20, 0, 8, 7, 7},
		{1, share - 1, 0, 8, 0, 0}, {1, 2*share - 1, 0, 8, 1, 0}, {1000, 1, 0, 8, 0, 0}, {1000, 100, 0, 4, 3, 3},
		{1000, 100, 999, 4, 0, 0}, // one has a gradient
		{0, 0, 0, 4, 0, 0},
	} {
		var params []Param
		for i := range test.tensors {
			param := Param{Theta: make([]float32, test.size), Grad: make([]float32, test.size)}
			if i < test.idle {
				param.Grad = nil
			}
			params = append(params, param)
		}
		opt := &Optimizer{Options: Keras(), Workers: test.workers}
		mustStep(t, opt, params) // makes help
		help := opt.crew.help
		var started atomic.Int64
		opt.crew.help = func() {
			started.Add(1)
			help()
		}
		mustStep(t, opt, params)
		if n := int(started.Load()); n != test.want {
			t.Errorf("%+v: %d goroutines started", test, n)
		}
		opt.ClipNorm = 1 // another round of work, for the norm
		started.Store(0)
		mustStep(t, opt, params)
		if n := int(started.Load()); n != test.want+test.norm {
			t.Errorf("%+v: with ClipNorm %d goroutines started", test, n)
		}
	}
}

func TestOptimizerWorkersDefault(t *testing.T) {
	for _, procs := range []int{1, 3} {
		withGOMAXPROCS(t, procs)
		opt := &Optimizer{Options: Keras()}
		mustStep(t, opt, []Param{{Theta: make([]float32, 100_000), Grad: make([]float32, 100_000)}})
		if opt.workers != procs {
			t.Errorf("%d workers with GOMAXPROCS = %d", opt.workers, procs)
		}
	}
}

// ---- Errors ----

// requireStepError wants an *ArgumentError of these lines, and nothing written.
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
				"len(params[2].State.MomentumBuffer) = 0, want 10 (len(Theta)) with Momentum = 0.9"}},
		{func(p *Optimizer, params []Param) { params[1].Theta = nil },
			[]string{"len(params[1].Grad) = 10, want 0 (len(Theta))"}},
		{func(p *Optimizer, params []Param) { params[2].State.MeanGrad = at(90) },
			[]string{"len(params[2].State.MeanGrad) = 10, want 0 without Centered"}},
		{func(p *Optimizer, params []Param) { params[2].State.MeanSquare = memory[70:79] },
			[]string{"len(params[2].State.MeanSquare) = 9, want 10 (len(Theta))"}},
		{func(p *Optimizer, params []Param) { params[0].State.Step = -3 }, []string{"params[0].State.Step = -3, want 0 or more"}},
		{func(p *Optimizer, params []Param) { params[2].Name, params[2].State.Step = "embedding", -3 },
			[]string{"embedding.State.Step = -3, want 0 or more"}},
		{func(p *Optimizer, params []Param) { params[2].Name, params[2].Theta = "tied", params[0].Theta },
			[]string{overlap("params[0].Theta", "tied.Theta", 0)}},
		// What has no gradient is checked, too.
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
		// Behind one that is longer than what lies between.
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
		// By an Optimizer that has seen nothing, and by one that knows the tensors.
		for _, known := range []bool{false, true} {
			opt, params := &Optimizer{Options: Keras(), Workers: 2}, good()
			opt.Options.Momentum = 0.9
			if known {
				mustStep(t, opt, params)
				params[1].State = nil
			}
			if i == 5 { // whose options have no momentum
				params[2].State.MomentumBuffer = params[2].State.MomentumBuffer[:9]
			}
			test.change(opt, params)
			requireStepError(t, opt, params, test.want...)

			// It goes on as if nothing had been.
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

// What a step has found out does not hold for tensors that lie elsewhere, even
// where only one has moved into what belongs to another.
func TestOptimizerMovedIntoAnother(t *testing.T) {
	newParams := func() []Param {
		memory := make([]float32, 80)
		take := func() (x []float32) { x, memory = memory[:4:4], memory[4:]; return x }
		o := RMSProp{Centered: true, Momentum: 0.5}
		var params []Param
		for range 4 {
			params = append(params, Param{Theta: take(), Grad: take(),
				State: &State{MeanSquare: take(), MeanGrad: take(), MomentumBuffer: take()}, Options: &o})
		}
		return params
	}
	place := func(params []Param, slice int) *[]float32 {
		q := &params[slice/slicesPerTensor]
		return [...]*[]float32{&q.Theta, &q.Grad, &q.State.MeanSquare, &q.State.MeanGrad, &q.State.MomentumBuffer}[slice%slicesPerTensor]
	}
	for i := range 4 * slicesPerTensor {
		for j := range 4 * slicesPerTensor {
			if i == j || i%slicesPerTensor == 1 && j%slicesPerTensor == 1 {
				continue
			}
			opt, params := &Optimizer{}, newParams()
			mustStep(t, opt, params)
			own := *place(params, i)
			*place(params, i) = *place(params, j)
			if _, err := opt.Step(params); err == nil {
				t.Errorf("slice %d lies where slice %d does, and no error", i, j)
			}
			*place(params, i) = own
			mustStep(t, opt, params)
		}
	}
}

// With ZeroGrad: a gradient that was away returns to where another is now.
func TestOptimizerGradientReturns(t *testing.T) {
	a, b := []float32{1}, []float32{2}
	params := []Param{{Theta: []float32{1}, Grad: a}, {Theta: []float32{1}, Grad: b}}
	opt := &Optimizer{Options: Keras(), ZeroGrad: true}
	mustStep(t, opt, params)
	params[0].Grad, params[1].Grad = nil, a
	mustStep(t, opt, params)
	params[0].Grad = a
	requireStepError(t, opt, params, "params[1].Grad overlaps params[0].Grad from byte 0 on, want memory of its own")
	opt.ZeroGrad = false
	mustStep(t, opt, params)
	opt.ZeroGrad = true
	if _, err := opt.Step(params); err == nil {
		t.Error("no error for a shared gradient once ZeroGrad is on")
	}
	params[0].Grad = b
	mustStep(t, opt, params)
	params[0].Theta, params[0].Grad = []float32{1}, a // the theta moves, too
	if _, err := opt.Step(params); err == nil {
		t.Error("no error for a shared gradient where a theta has moved")
	}
}

// Tensors that grow where they lie may reach into another.
func TestOptimizerGrowsIntoAnother(t *testing.T) {
	memory := make([]float32, 40)
	params := func(n int) []Param {
		return []Param{{Theta: memory[:n], Grad: memory[10:][:n], State: &State{MeanSquare: memory[20:][:n]}},
			{Theta: memory[4:6], Grad: make([]float32, 2), State: &State{MeanSquare: memory[30:32]}}}
	}
	opt := &Optimizer{Options: Keras()}
	mustStep(t, opt, params(3))
	mustStep(t, opt, params(4))
	requireStepError(t, opt, params(5), "params[1].Theta overlaps params[0].Theta from byte 16 on, want memory of its own")
	mustStep(t, opt, params(4))
}

// Memory that a state has left may be a gradient's.
func TestOptimizerStateLeaves(t *testing.T) {
	s := make([]float32, 4)
	params := []Param{{Theta: make([]float32, 4), Grad: make([]float32, 4), State: &State{MeanSquare: s}},
		{Theta: make([]float32, 4), Grad: make([]float32, 4)}}
	opt := &Optimizer{Options: Keras()}
	mustStep(t, opt, params)
	params[0].State, params[0].Grad = nil, nil
	params[1].Grad = s
	mustStep(t, opt, params)
	if params[1].State.Step != 2 {
		t.Errorf("Step = %d, want 2", params[1].State.Step)
	}
}

// Gradients that come and go, or move, do not have all the rest checked again.
func TestOptimizerRemembers(t *testing.T) {
	opt := &Optimizer{Options: Keras()}
	params := []Param{{Theta: []float32{1}, Grad: []float32{1}}, {Theta: []float32{1}, Grad: []float32{1}}}
	mustStep(t, opt, params)
	opt.written[0].slice += 1000 // a mark, that to learn anew would remove
	params[0].Grad = nil
	mustStep(t, opt, params)
	params[0].Grad = []float32{3}
	mustStep(t, opt, params)
	opt.ZeroGrad = true
	mustStep(t, opt, params)
	opt.grads[0].slice += 1000
	mustStep(t, opt, params)
	if len(opt.moved) > 0 || opt.grads[0].slice < 1000 {
		t.Error("gradients that have not moved were learnt anew")
	}
	opt.Options.LR, opt.Workers, opt.ClipNorm = 1, 2, 1
	mustStep(t, opt, params)
	if opt.written[0].slice < 1000 {
		t.Error("all was learnt anew")
	}
	params[0].Theta = []float32{1}
	mustStep(t, opt, params)
	if opt.written[0].slice >= 1000 {
		t.Error("a theta that has moved was not learnt")
	}
}

func TestOptimizerEmpty(t *testing.T) {
	shared := new(State) // which is no overlap: it has no elements
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
	// After one with tensors, too.
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

// A slice that Step was lent can be collected once its owner lets go of it.
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
	for range 20 { // until the goroutines are gone, too
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
	double, third := Keras(), Keras()
	double.LossScale, third.LossScale = 2, 1.0/3
	for _, options := range [][]*RMSProp{{nil}, {&double}, {nil, &double, &third}} {
		for _, extreme := range []float32{1, 1e30, 1e-30, 0x1p-149} {
			params := paramsOf(tensors, always)
			for i := range params {
				params[i].Options = options[i%len(options)]
				if i == 3 {
					params[i].Grad = nil
				} else if i == 4 {
					params[i].Grad = slices.Clone(params[i].Grad)
					params[i].Grad[7] *= extreme
				}
			}
			reference := &Optimizer{Options: Keras(), ClipNorm: 1}
			want := plainNorm(reference, params)
			exact := 0.0
			for _, param := range params {
				scale := param.options(reference).lossScale()
				for _, g := range param.Grad {
					exact += float64(g) / scale * float64(g) / scale
				}
			}
			if math.Abs(want-math.Sqrt(exact)) > 1e-12*want {
				t.Fatalf("norm %v, want %v", want, math.Sqrt(exact))
			}
			for _, workers := range []int{1, 2, 3, 8} {
				opt := &Optimizer{Options: Keras(), Workers: workers, ClipNorm: 1}
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
		t.Errorf("norm %v, which nobody has asked for", report.Norm)
	}
	// Of one element it is exact.
	opt.ClipNorm, opt.Options.LossScale = math.Inf(1), 3
	one := []Param{{Theta: []float32{1}, Grad: []float32{-0.1}}}
	want := float64(float32(0.1)) / 3
	if got := mustStep(t, opt, one).Norm; got != want {
		t.Errorf("norm %v, want %v", got, want)
	}
}

// Whichever element of whichever tensor it is, with any number of workers.
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
					opt.Options.LossScale = test.scale
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

// Against torch.nn.utils.clip_grad_norm_ and then each framework's formula, in float64.
func TestOptimizerClipNormParity(t *testing.T) {
	const steps, clip, bound = 50, 0.5, 2.0
	sizes := []int{7, 64, 1}
	for _, f := range frameworks {
		for _, scale := range []float64{1, 3} {
			r := random(t, 26)
			opt := &Optimizer{Options: f.preset, ClipNorm: clip, Workers: 2}
			opt.Options.LossScale = scale
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

// A factor of 0 leaves nothing of the gradient, rather than all of it.
func TestOptimizerClipsToNothing(t *testing.T) {
	opt := &Optimizer{Options: Keras(), ClipNorm: 1e-300}
	params := []Param{{Theta: []float32{1}, Grad: []float32{5}}}
	mustStep(t, opt, params)
	if params[0].Theta[0] != 1 || params[0].State.MeanSquare[0] != 0 {
		t.Errorf("theta = %v, state %v", params[0].Theta, params[0].State)
	}
}
