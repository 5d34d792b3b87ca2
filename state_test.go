package kernel

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
)

func TestRMSPropNewState(t *testing.T) {
	for _, o := range optionSets {
		st := o.NewState(3)
		if len(st.MeanSquare) != 3 || (st.MeanGrad != nil) != (o.Centered || o.FirstMoment != 0) || (st.MomentumBuffer != nil) != (o.Momentum != 0) {
			t.Errorf("%+v: %+v", o, st)
		}
		if st.MeanSquare[2] != float32(o.InitialMeanSquare) {
			t.Errorf("%+v: MeanSquare = %g", o, st.MeanSquare)
		}
	}
}

// ---- Saving ----

func TestRMSPropStateSurvives(t *testing.T) {
	const n = 301
	codecs := map[string]func(in, out *State) error{
		"gob": func(in, out *State) error {
			var file bytes.Buffer
			return errors.Join(gob.NewEncoder(&file).Encode(in), gob.NewDecoder(&file).Decode(out))
		},
		"json": func(in, out *State) error {
			file, err := json.Marshal(in)
			return errors.Join(err, json.Unmarshal(file, out))
		},
	}
	for name, codec := range codecs {
		r := random(t, 18)
		for _, o := range optionSets {
			d := o.allocate(n)
			r.training(d)
			d.s[0], d.s[1] = 1e-40, float32(math.Copysign(0, -1))
			st := d.state()
			st.Step = 7
			read := new(State)
			if err := codec(st, read); err != nil {
				t.Fatal(name, err)
			}
			if !reflect.DeepEqual(st, read) {
				t.Fatalf("%s: %+v: read back as %v", name, o, read)
			}
			tensorData{d.theta, d.grad, read.MeanSquare, read.MeanGrad, read.MomentumBuffer}.requireSame(t, name, d) // -0 too
			theta := slices.Clone(d.theta)
			for range 3 {
				o.Update(d.theta, d.grad, st)
				o.Update(theta, d.grad, read)
			}
			tensorData{theta, d.grad, read.MeanSquare, read.MeanGrad, read.MomentumBuffer}.requireSame(t, name, d)
		}
	}
}

// Large states begin at different places in a page than each other and than slices that Go allocates:
// memory is slower if all begin at the same place.
func TestNewStateStaggers(t *testing.T) {
	o := PyTorch()
	o.Centered, o.Momentum = true, 0.9
	for _, n := range []int{0, 1, long - 1, long, 16 * long} {
		st := o.NewState(n)
		begins := map[uintptr]bool{0: true}
		for _, x := range [][]float32{st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
			if len(x) != n || cap(x) != n && n >= long {
				t.Fatalf("%d elements, capacity %d, want %d", len(x), cap(x), n)
			}
			start, _ := extent(x)
			begins[start%pageSize/stagger] = true
		}
		if n >= long && len(begins) != 4 {
			t.Errorf("%d elements begin in the quarters %v of a page", n, begins)
		}
	}
}

// The states of a model with a frozen layer can be saved in a slice, and the layer can be trained
// later.
func TestStatesOfFrozenLayers(t *testing.T) {
	codecs := map[string]func(in, out *[]*State) error{
		"gob": func(in, out *[]*State) error {
			var file bytes.Buffer
			return errors.Join(gob.NewEncoder(&file).Encode(*in), gob.NewDecoder(&file).Decode(out))
		},
		"json": func(in, out *[]*State) error {
			file, err := json.Marshal(*in)
			return errors.Join(err, json.Unmarshal(file, out))
		},
	}
	for name, codec := range codecs {
		newParams := func() []Param {
			return []Param{{Theta: []float32{1, 2}}, {Theta: []float32{3}, Grad: []float32{1}}}
		}
		params, opt := newParams(), &Optimizer{Options: TensorFlow()}
		mustStep(t, opt, params)
		var states, read []*State
		for _, p := range params {
			states = append(states, p.State)
		}
		if err := codec(&states, &read); err != nil {
			t.Fatal(name, err)
		}
		resumed := cloneParams(params)
		for i := range resumed {
			resumed[i].State = read[i]
			params[i].Grad, resumed[i].Grad = make([]float32, len(params[i].Theta)), make([]float32, len(params[i].Theta))
		}
		mustStep(t, opt, params)
		mustStep(t, &Optimizer{Options: TensorFlow()}, resumed)
		requireSameParams(t, name, resumed, params)
		if params[0].State != states[0] || len(states[0].MeanSquare) != 2 || states[0].MeanSquare[0] != 0.9 {
			t.Errorf("%s: the state of the frozen layer became %+v", name, params[0].State)
		}
	}
}

func TestAdapt(t *testing.T) {
	const n = 3
	for _, before := range optionSets {
		for _, after := range []RMSProp{Keras(), {Momentum: 0.5}, {Centered: true}, Adam(), everything} {
			st := before.NewState(n)
			st.Step = 5
			fill := func(x []float32, value float32) {
				for i := range x {
					x[i] = value
				}
			}
			fill(st.MeanSquare, 1)
			fill(st.MeanGrad, 2)
			fill(st.MomentumBuffer, 3)
			want := State{Step: 5, MeanSquare: []float32{1, 1, 1}}
			if after.Centered || after.FirstMoment != 0 {
				want.MeanGrad = make([]float32, n)
				copy(want.MeanGrad, st.MeanGrad)
			}
			if after.Momentum != 0 {
				want.MomentumBuffer = make([]float32, n)
				copy(want.MomentumBuffer, st.MomentumBuffer)
			}
			after.Adapt(st)
			if !reflect.DeepEqual(*st, want) {
				t.Fatalf("%+v of %+v: %+v, want %+v", after, before, *st, want)
			}
			after.Update(make([]float32, n), make([]float32, n), st)
		}
	}
	o := Keras()
	requirePanic(t, "st = nil, want a State (NewState makes one)", func() { o.Adapt(nil) })
	o.LR = -1
	requirePanic(t, "LR = -1"+wantRate, func() { o.Adapt(new(State)) })
}

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
		if st := params[idle].State; st == nil || !reflect.DeepEqual(*st, State{}) {
			t.Error("the state of a tensor without gradient is not an empty one")
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

// Momentum may be switched off and on if the state has the buffer, which then continues from the last
// step. Without the buffer, switching it on is an error.
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
			// The result without momentum, and a buffer that holds that step.
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
	requireStepError(t, opt, params, "len(params[0].State.MomentumBuffer) = 0, want 1 (len(Theta)) with Momentum = 0.9; Adapt adds it")
	opt.Options.Adapt(params[0].State)
	mustStep(t, opt, params)
	opt.Options.Momentum = 0
	opt.Options.Adapt(params[0].State)
	if mustStep(t, opt, params); params[0].State.MomentumBuffer != nil {
		t.Error("Adapt left the momentum buffer")
	}
}
