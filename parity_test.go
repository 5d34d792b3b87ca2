package kernel

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
)

// ---- Numbers that the frameworks publish ----

// A published is a case of testdata/published.json. Either grad is the same multiple of theta in each
// step, or grads has one for each step, the last of which stays.
type published struct {
	Name, Preset string
	Centered     bool
	LR, Rho, Eps float64
	FirstMoment  *float64 `json:"first_moment"`
	Momentum     float64
	WeightDecay  float64 `json:"weight_decay"`
	EpsOutside   bool    `json:"eps_outside"`
	S0           *float64
	M0           float64
	From         int // step, after which the means are m0 and s0

	Theta []float32
	Grad  string
	Grads [][]float32

	Steps  [][]float64 // theta after each step,
	Each   []float64   `json:"each_step_all_elements"` // or the value of all elements,
	After  int         // or only after that many steps:
	Want   []float64
	WantS  []float64 `json:"want_s"`
	WantM  []float64 `json:"want_m"`
	ATol   float64
	Source string
}

func (c *published) options() RMSProp {
	var o RMSProp
	switch c.Preset {
	case "keras":
		o = Keras()
	case "adam":
		o = Adam()
	case "keras adam":
		o = KerasAdam()
	case "tensorflow":
		o = TensorFlow()
	}
	o.LR, o.Rho, o.Eps = c.LR, c.Rho, c.Eps
	o.Momentum, o.Centered, o.EpsOutside = c.Momentum, c.Centered, c.EpsOutside || o.EpsOutside
	o.WeightDecay = c.WeightDecay
	if c.FirstMoment != nil {
		o.FirstMoment = *c.FirstMoment
	}
	if c.S0 != nil && c.From == 0 {
		o.InitialMeanSquare = *c.S0
	}
	return o
}

// state returns the initial state of the case.
func (c *published) state(o *RMSProp) *State {
	st := o.NewState(len(c.Theta))
	if st.Step = c.From; c.From > 0 {
		for i := range c.Theta {
			st.MeanSquare[i] = float32(*c.S0 / correction(o, o.Rho, c.From))
			st.MeanGrad[i] = float32(c.M0 / correction(o, o.FirstMoment, c.From))
		}
	}
	return st
}

// correction returns the number that a mean is divided by after that many steps.
func correction(o *RMSProp, rho float64, steps int) float64 {
	if !o.BiasCorrection {
		return 1
	}
	return 1 - math.Pow(rho, float64(steps))
}

// want returns theta, s and m after a step, or nil for what is unknown.
func (c *published) want(step int) (theta, s, m []float64) {
	if step == c.After {
		theta, s, m = c.Want, c.WantS, c.WantM
	}
	if step <= len(c.Steps) {
		theta = c.Steps[step-1]
	}
	if step <= len(c.Each) {
		for range c.Theta {
			theta = append(theta, c.Each[step-1])
		}
	}
	return theta, s, m
}

func TestPublished(t *testing.T) {
	file, err := os.ReadFile("testdata/published.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Cases []published }
	if err := json.Unmarshal(file, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Cases) != 16 {
		t.Errorf("%d cases, want 16", len(all.Cases))
	}
	forEachISA(t, func(t *testing.T) {
		for _, c := range all.Cases {
			o := c.options()
			st := c.state(&o)
			theta := append([]float32(nil), c.Theta...)
			compared := 0
			for step := 1; step <= max(c.After, len(c.Steps), len(c.Each)); step++ {
				grad := make([]float32, len(theta))
				switch {
				case c.Grads != nil:
					copy(grad, c.Grads[min(step, len(c.Grads))-1])
				default:
					var factor float32
					if _, err := fmt.Sscanf(c.Grad, "theta*%g", &factor); err != nil {
						t.Fatal(c.Name, err)
					}
					for i, x := range theta {
						grad[i] = factor * x
					}
				}
				o.Update(theta, grad, st)
				wantTheta, wantS, wantM := c.want(step)
				for i, want := range wantTheta {
					compared++
					if got := float64(theta[i]); !(math.Abs(got-want) <= c.ATol) {
						t.Errorf("%s: step %d: theta[%d] = %v, want %v within %g (%s)", c.Name, step, i, got, want, c.ATol, c.Source)
					}
				}
				for i, want := range wantM {
					if got := float64(st.MeanGrad[i]) * correction(&o, o.FirstMoment, st.Step); !(math.Abs(got-want) <= c.ATol) {
						t.Errorf("%s: step %d: m[%d] = %v, want %v within %g (%s)", c.Name, step, i, got, want, c.ATol, c.Source)
					}
				}
				for i, want := range wantS {
					if got := float64(st.MeanSquare[i]) * correction(&o, o.Rho, st.Step); !(math.Abs(got-want) <= c.ATol) {
						t.Errorf("%s: step %d: s[%d] = %v, want %v within %g (%s)", c.Name, step, i, got, want, c.ATol, c.Source)
					}
				}
			}
			if compared == 0 {
				t.Errorf("%s: nothing was compared", c.Name)
			}
		}
	})
}

// ---- The frameworks' formulas, in float64 ----

// A reference is one element of a framework's optimizer in float64. If the framework corrects the
// bias, s and m are the corrected means, and nu and mu the means before the correction.
type reference struct {
	theta, s, m, b float64
	nu, mu         float64
	step           int
}

// A framework's step, in its own order, without the rules for tiny inputs, which ordinary data never
// needs. Each returns how far it moved theta.
var frameworks = []struct {
	name   string
	preset RMSProp
	step   func(x *reference, g float64, o *RMSProp) float64
	// Options that the framework lacks are left out.
	decoupled, l2, nesterov, eitherEps, maximize, uncentered, unbuffered bool
}{
	{
		name: "Keras", preset: Keras(), decoupled: true,
		// keras/src/optimizers/rmsprop.py, update_step; optimizer.py, _apply_weight_decay
		step: func(x *reference, g float64, o *RMSProp) float64 {
			before := x.theta
			x.theta -= x.theta * o.WeightDecay * o.LR
			x.s = o.Rho*x.s + (1-o.Rho)*g*g
			denominator := x.s + o.Eps
			if o.Centered {
				x.m = o.Rho*x.m + (1-o.Rho)*g
				denominator = x.s - x.m*x.m + o.Eps
			}
			increment := o.LR * g / math.Sqrt(denominator)
			if o.Momentum > 0 {
				x.b = o.Momentum*x.b + increment
				increment = x.b
			}
			x.theta -= increment
			return x.theta - before
		},
	},
	{
		name: "PyTorch", preset: PyTorch(), l2: true, maximize: true,
		// torch/optim/rmsprop.py, _single_tensor_rmsprop
		step: func(x *reference, g float64, o *RMSProp) float64 {
			if o.Maximize {
				g = -g
			}
			if o.WeightDecay != 0 {
				g += o.WeightDecay * x.theta
			}
			x.s = o.Rho*x.s + (1-o.Rho)*g*g
			avg := math.Sqrt(x.s)
			if o.Centered {
				x.m += (1 - o.Rho) * (g - x.m)
				avg = math.Sqrt(x.s - x.m*x.m)
			}
			avg += o.Eps
			step := g / avg
			if o.Momentum > 0 {
				x.b = o.Momentum*x.b + step
				step = x.b
			}
			x.theta -= o.LR * step
			return o.LR * step
		},
	},
	{
		name: "PyTorch's Adam", preset: Adam(), l2: true, maximize: true, uncentered: true, unbuffered: true,
		// torch/optim/adam.py, _single_tensor_adam
		step: func(x *reference, g float64, o *RMSProp) float64 {
			if o.Maximize {
				g = -g
			}
			return adamStep(x, g+o.WeightDecay*x.theta, o)
		},
	},
	{
		name: "PyTorch's AdamW", preset: AdamW(), decoupled: true, maximize: true, uncentered: true, unbuffered: true,
		// torch/optim/adam.py, with decoupled_weight_decay
		step: func(x *reference, g float64, o *RMSProp) float64 {
			before := x.theta
			if o.Maximize {
				g = -g
			}
			x.theta *= 1 - o.LR*o.WeightDecay
			adamStep(x, g, o)
			return x.theta - before
		},
	},
	{
		name: "Keras's Adam", preset: KerasAdam(), decoupled: true, uncentered: true, unbuffered: true,
		// keras/src/optimizers/adam.py, update_step; base_optimizer.py, _apply_weight_decay
		step: func(x *reference, g float64, o *RMSProp) float64 {
			before := x.theta
			x.theta -= x.theta * o.WeightDecay * o.LR
			x.average(g, o)
			t := float64(x.step)
			alpha := o.LR * math.Sqrt(1-math.Pow(o.Rho, t)) / (1 - math.Pow(o.FirstMoment, t))
			x.theta -= x.mu * alpha / (math.Sqrt(x.nu) + o.Eps)
			return x.theta - before
		},
	},
	{
		name: "optax's AdamW", preset: OptaxAdamW(), decoupled: true, eitherEps: true, uncentered: true, unbuffered: true,
		// optax/_src/alias.py, adamw: scale_by_adam, add_decayed_weights, scale_by_learning_rate.
		// The eps inside is its eps_root.
		step: func(x *reference, g float64, o *RMSProp) float64 {
			x.average(g, o)
			update := x.m / math.Sqrt(x.s+o.Eps)
			if o.EpsOutside {
				update = x.m / (math.Sqrt(x.s) + o.Eps)
			}
			update = -o.LR * (update + o.WeightDecay*x.theta)
			x.theta += update
			return update
		},
	},
	{
		name: "Gorgonia's Adam", preset: Adam(), l2: true, uncentered: true, unbuffered: true,
		// solvers.go, AdamSolver.Step; l2reg is WeightDecay
		step: func(x *reference, g float64, o *RMSProp) float64 {
			x.average(g+o.WeightDecay*x.theta, o)
			update := -o.LR * x.m / (math.Sqrt(x.s) + o.Eps)
			x.theta += update
			return update
		},
	},
	{
		name: "GoMLX's Adam", preset: GoMLXAdam(), decoupled: true, uncentered: true, unbuffered: true,
		// pkg/ml/train/optimizers, adam.go
		step: func(x *reference, g float64, o *RMSProp) float64 {
			x.average(g, o)
			step := o.LR*x.m/(math.Sqrt(x.s)+o.Eps) + o.LR*o.WeightDecay*x.theta
			x.theta -= step
			return step
		},
	},
	{
		name: "TensorFlow", preset: TensorFlow(),
		// tensorflow/core/kernels/training_ops.cc, ApplyRMSProp and ApplyCenteredRMSProp
		step: func(x *reference, g float64, o *RMSProp) float64 {
			x.s += (g*g - x.s) * (1 - o.Rho)
			denominator := x.s + o.Eps
			if o.Centered {
				x.m += (g - x.m) * (1 - o.Rho)
				denominator = x.s - x.m*x.m + o.Eps
			}
			x.b = x.b*o.Momentum + g*o.LR/math.Sqrt(denominator)
			x.theta -= x.b
			return x.b
		},
	},
	{
		name: "Gorgonia", preset: Gorgonia(), decoupled: true, uncentered: true, unbuffered: true,
		// solvers.go, RMSPropSolver.Step; l2reg is LR*WeightDecay
		step: func(x *reference, g float64, o *RMSProp) float64 {
			before := x.theta
			x.theta -= o.LR * o.WeightDecay * x.theta
			x.s = o.Rho*x.s + (1-o.Rho)*g*g
			x.theta += -o.LR * g / math.Sqrt(x.s+o.Eps)
			return x.theta - before
		},
	},
	{
		name: "GoMLX", preset: GoMLX(), decoupled: true, uncentered: true, unbuffered: true,
		// pkg/ml/train/optimizers, adam.go, without the first moment
		step: func(x *reference, g float64, o *RMSProp) float64 {
			before := x.theta
			x.average(g, o)
			x.theta -= o.LR * (g/(math.Sqrt(x.s)+o.Eps) + o.WeightDecay*x.theta)
			return x.theta - before
		},
	},
	{
		name: "optax, bias_correction", preset: RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-8, BiasCorrection: true}, nesterov: true, eitherEps: true,
		step: optaxStep,
	},
	{
		name: "optax", preset: Optax(), nesterov: true, eitherEps: true,
		step: optaxStep,
	},
}

// average adds g to the means, as optax and GoMLX do.
func (x *reference) average(g float64, o *RMSProp) {
	x.step++
	first := o.Rho
	if o.FirstMoment != 0 {
		first = o.FirstMoment
	}
	x.nu = (1-o.Rho)*g*g + o.Rho*x.nu
	x.mu = (1-first)*g + first*x.mu
	x.s, x.m = x.nu, x.mu
	if o.BiasCorrection {
		x.s /= 1 - math.Pow(o.Rho, float64(x.step))
		x.m /= 1 - math.Pow(first, float64(x.step))
	}
}

// adamStep computes PyTorch's Adam after the decay.
func adamStep(x *reference, g float64, o *RMSProp) float64 {
	x.average(g, o)
	step := o.LR * x.m / (math.Sqrt(x.s) + o.Eps)
	x.theta -= step
	return step
}

// optaxStep is optax/_src/alias.py, rmsprop: scale_by_rms or scale_by_stddev, then
// the learning rate, then trace.
func optaxStep(x *reference, g float64, o *RMSProp) float64 {
	x.average(g, o)
	variance := x.s
	if o.Centered {
		variance -= x.m * x.m
	}
	update := g / math.Sqrt(variance+o.Eps)
	if o.EpsOutside {
		update = g / (math.Sqrt(variance) + o.Eps)
	}
	update *= -o.LR
	if o.Momentum > 0 {
		trace := update + o.Momentum*-x.b
		x.b = -trace
		if o.Nesterov {
			trace = update + o.Momentum*trace
		}
		update = trace
	}
	x.theta += update
	return update
}

// ulp returns a unit in the last place of a float32 of x's magnitude.
func ulp(x float64) float64 {
	_, exponent := math.Frexp(x)
	return math.Ldexp(1, exponent-24)
}

// allOptions yields every set of options, without the numbers.
func allOptions(yield func(o RMSProp) bool) {
	options := factors[1:]
	total := 1
	for _, levels := range options {
		total *= len(levels)
	}
	for i := range total {
		var o RMSProp
		for _, levels := range options {
			levels[i%len(levels)](&o)
			i /= len(levels)
		}
		if !yield(o) {
			return
		}
	}
}

// Over 100 steps on random gradients, no number drifts from the framework's formula by more than 2
// units in the last place per step. The two are not set equal after each step, so after step n they
// may differ by 2*(n+1) units. The additional step is for the first steps: they may be as large as
// theta, so each of some ten roundings in them counts in full.
//
// The unit belongs to the largest magnitude so far of the number and of the terms of its sum: if theta
// passes zero, or a gradient and its decay cancel, their rounding errors remain.
func TestParityWithFormulas(t *testing.T) {
	const n, steps, bound = 64, 100, 2.0
	forEachISA(t, func(t *testing.T) {
		for _, f := range frameworks {
			worst, seen := [5]float64{}, map[RMSProp]bool{}
			for o := range allOptions {
				if o.DecoupledDecay && !f.decoupled || o.WeightDecay != 0 && !o.DecoupledDecay && !f.l2 ||
					o.Nesterov && !f.nesterov || o.Maximize && !f.maximize || o.Centered && f.uncentered || o.Momentum != 0 && f.unbuffered || o.FirstMoment != 0 != (f.preset.FirstMoment != 0) {
					continue
				}
				lr, rho, eps := f.preset.LR, f.preset.Rho, f.preset.Eps
				scale := o.LossScale
				o.LR, o.Rho, o.Eps, o.LROutside = lr, rho, eps, f.preset.LROutside
				o.InitialMeanSquare, o.BiasCorrection, o.EpsHat = f.preset.InitialMeanSquare, f.preset.BiasCorrection, f.preset.EpsHat
				if !f.eitherEps {
					o.EpsOutside = f.preset.EpsOutside
				}
				if seen[o] {
					continue
				}
				seen[o] = true

				r := generator(31)
				d := o.allocate(n)
				st := d.state()
				refs, largest := [n]reference{}, [n][5]float64{}
				for i := range refs {
					d.theta[i] = r.symmetric()
					refs[i] = reference{theta: float64(d.theta[i]), s: o.InitialMeanSquare, nu: o.InitialMeanSquare}
				}
				for step := 1; step <= steps; step++ {
					for i := range refs {
						d.grad[i] = r.symmetric()
					}
					o.Update(d.theta, d.grad, st)
					for i := range refs {
						x := &refs[i]
						g := float64(d.grad[i])
						if scale != 0 { // the caller of a framework does that, in float32
							g = float64(float32(g * float64(float32(1/scale))))
						}
						if o.ClipValue != 0 {
							limit := float64(float32(o.ClipValue))
							g = min(max(g, -limit), limit)
						}
						before := x.theta
						moved := f.step(x, g, &o)
						terms := [5]float64{max(math.Abs(before), math.Abs(moved))}
						if f.l2 && o.WeightDecay != 0 { // as if they did not cancel
							sum := math.Abs(g) + math.Abs(o.WeightDecay*before)
							c, cm := 1-o.shareAt(o.Rho, step), 1-o.shareAt(o.Rho, step)
							v, numerator := x.s, sum
							switch {
							case o.Centered:
								v -= x.m * x.m
							case o.FirstMoment != 0:
								cm = 1 - o.shareAt(o.FirstMoment, step)
								numerator = math.Abs(x.m) + cm*sum
							}
							moved := numerator / (math.Sqrt(v) + o.Eps)
							terms = [5]float64{max(terms[0], o.LR*moved), 0, c * sum * sum, cm * sum, moved}
						}
						for j, want := range [...]float64{x.theta, 0, x.s, x.m, x.b} {
							// The corrected means of few steps cancel in s - m², and mostly
							// rounding errors remain: compare only the means.
							cancels := o.Centered && o.BiasCorrection && (j == 0 || j == 4)
							if *d.at(j) == nil || j == 1 || cancels {
								continue
							}
							largest[i][j] = max(largest[i][j], math.Abs(want), terms[j])
							off := math.Abs(float64((*d.at(j))[i])-want) / ulp(largest[i][j]) / float64(step+1)
							worst[j] = max(worst[j], off)
							if !(off <= bound) {
								t.Fatalf("%s, %+v: step %d: %s[%d] = %v, want %v: %.1f units a step off",
									f.name, o, step, sliceNames[j], i, (*d.at(j))[i], want, off)
							}
						}
					}
				}
			}
			t.Logf("%s: %d option sets, units a step at most: theta %.2f, s %.2f, m %.2f, b %.2f",
				f.name, len(seen), worst[0], worst[2], worst[3], worst[4])
		}
	})
}
