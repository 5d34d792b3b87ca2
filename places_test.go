package kernel

import "testing"

// What a step learned does not hold for tensors that moved, even if only one moved into the
// memory of another.
func TestPlacesMovedIntoAnother(t *testing.T) {
	newParams := func() []Param {
		memory := make([]float32, 80)
		take := func() (x []float32) { x, memory = memory[:4:4], memory[4:]; return x }
		o := RMSProp{Rho: 0.9, Centered: true, Momentum: 0.5}
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
			opt, params := &Optimizer{Options: Keras()}, newParams()
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

// With ZeroGrad, a gradient returns to a place that another one uses now.
func TestPlacesGradientReturns(t *testing.T) {
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
	params[0].Theta, params[0].Grad = []float32{1}, a // the theta also moves
	if _, err := opt.Step(params); err == nil {
		t.Error("no error for a shared gradient after a theta moved")
	}
}

// Tensors that grow in place may reach into another.
func TestPlacesGrowIntoAnother(t *testing.T) {
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

// Memory that a state no longer uses may become a gradient's, with or without a gradient for the
// state's tensor.
func TestPlacesStateLeaves(t *testing.T) {
	for _, idle := range []bool{false, true} {
		s := make([]float32, 4)
		params := []Param{{Theta: make([]float32, 4), Grad: make([]float32, 4), State: &State{MeanSquare: s}},
			{Theta: make([]float32, 4), Grad: make([]float32, 4)}}
		opt := &Optimizer{Options: Keras()}
		mustStep(t, opt, params)
		params[0].State = nil
		if idle {
			params[0].Grad = nil
		}
		params[1].Grad = s
		mustStep(t, opt, params)
		if params[1].State.Step != 2 || params[0].State.isNew() != idle {
			t.Errorf("idle: %v: states %+v, %+v", idle, params[0].State, params[1].State)
		}
	}
}

// A gradient that keeps its address and changes its length, as one of rows, may reach into
// another slice.
func TestPlacesGradientGrows(t *testing.T) {
	memory := make([]float32, 20)
	params := []Param{{Theta: memory[:4], Grad: memory[4:6], Width: 2, Rows: []int{1}}, {Theta: memory[8:10], Grad: make([]float32, 2)}}
	opt := &Optimizer{Options: Keras()}
	mustStep(t, opt, params)
	params[0].Grad, params[0].Rows = memory[4:8], []int{0, 1}
	mustStep(t, opt, params)
	params[0].Grad, params[0].Rows = memory[4:10], []int{0, 1, 0}
	requireStepError(t, opt, params, "params[1].Theta overlaps params[0].Grad from byte 16 on, want memory of its own")
}

// If gradients come, go or move, everything else is not checked again.
func TestPlacesAreRemembered(t *testing.T) {
	opt := &Optimizer{Options: Keras()}
	params := []Param{{Theta: []float32{1}, Grad: []float32{1}}, {Theta: []float32{1}, Grad: []float32{1}}}
	mustStep(t, opt, params)
	opt.places.written[0].slice += 1000 // a mark, which learning the places again would remove
	params[0].Grad = nil
	mustStep(t, opt, params)
	params[0].Grad = []float32{3}
	mustStep(t, opt, params)
	opt.ZeroGrad = true
	mustStep(t, opt, params)
	opt.places.grads[0].slice += 1000
	mustStep(t, opt, params)
	if len(opt.places.moved) > 0 || opt.places.grads[0].slice < 1000 {
		t.Error("gradients that did not move were learned again")
	}
	opt.Options.LR, opt.Workers, opt.ClipNorm = 1, 2, 1
	mustStep(t, opt, params)
	if opt.places.written[0].slice < 1000 {
		t.Error("everything was learned again")
	}
	params[0].Theta = []float32{1}
	mustStep(t, opt, params)
	if opt.places.written[0].slice >= 1000 {
		t.Error("a theta that has moved was not learnt")
	}
}

// The gradient of a tensor may be whole in one step, have some rows in the next, and be whole
// again.
func TestPlacesWidthChanges(t *testing.T) {
	const n = 2 * share
	opt := &Optimizer{Options: Keras(), ClipNorm: 1, Workers: 2}
	params := []Param{{Theta: make([]float32, n), Grad: make([]float32, n)}, {Theta: make([]float32, 3), Grad: make([]float32, 3)}}
	for step := range 6 {
		p := &params[0]
		p.Width, p.Rows = 0, nil
		if step%2 != 0 {
			p.Width, p.Rows = 2, []int{7, 7, n/2 - 1}
			p.Grad = make([]float32, 6)
		} else {
			p.Grad = make([]float32, n)
		}
		for i := range p.Grad {
			p.Grad[i] = float32(i%5 - 2)
		}
		want := cloneParams(params)
		wantReport := plainStep(opt, want)
		if report := mustStep(t, opt, params); report != wantReport {
			t.Errorf("step %d: %+v, want %+v", step, report, wantReport)
		}
		requireSameParams(t, step, params, want)
	}
}
