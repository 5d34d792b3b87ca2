package kernel

import (
	"cmp"
	"math"
)

// RMSProp holds the options of an RMSProp or Adam step. [PyTorch], [Keras], [TensorFlow],
// [Optax], [Gorgonia] and [GoMLX] return the conventions and defaults of each framework's
// RMSProp; [Adam], [AdamW], [KerasAdam], [OptaxAdamW] and [GoMLXAdam] those of its Adam. The
// zero value of each option switches it off. Set LR, Rho and Eps, or start from a preset:
// with Rho and Eps both 0, a step is LR in the direction of the gradient's sign.
//
// In one pass over memory, a step computes these lines for each element. A line that names
// an option is left out if the option is off:
//
//	grad = grad/LossScale                           -grad/LossScale with Maximize
//	grad = min(max(grad, -ClipValue), ClipValue)    ClipValue
//	grad = grad + WeightDecay*theta                 unless DecoupledDecay
//	s    = Rho*s + (1-Rho)*grad²
//	m    = Rho*m + (1-Rho)*grad                     Centered
//	v    = s                                        max(s - m², 0) with Centered
//	d    = sqrt(v+Eps)                              sqrt(v) + Eps with EpsOutside
//	m    = FirstMoment*m + (1-FirstMoment)*grad     FirstMoment
//	u    = LR/d*grad                                LR/d*m with FirstMoment, 1/d with LROutside
//	b    = Momentum*b + u                           Momentum
//	u    = b                                        Momentum*b + u with Nesterov
//	u    = LR*u                                     LROutside
//	theta = theta - LR*WeightDecay*theta            DecoupledDecay
//	theta = theta - u
//
// Clipping comes before weight decay and does not limit it.
//
// The numbers are rounded to float32 once a call; 1-Rho, 1/LossScale and LR*WeightDecay are
// computed in float64 first. Every operation after that is one float32 operation, rounded
// to nearest even. None are fused, so every implementation gives the same bits. With only
// LR, Rho and Eps set, they are the bits of Update.
//
// # Subnormal numbers
//
// The rules of [Update] apply: T to the gradient that goes into s, S to s and m, and 2^-126
// to an eps inside the root. The options multiply by more factors, so there are more
// thresholds. Each is the smallest float32 from 2^-126 up whose product, rounded, reaches
// the bound. If the factor is 0, no number reaches it. What is smaller in magnitude counts
// as zero:
//
//	b             |Momentum*b| >= 2^-126
//	the update    |LR*u| >= 2^-126                 with LROutside and a momentum buffer
//	m             |FirstMoment*m| >= 2^-126        with FirstMoment; 2^-63 in u
//	the gradient  |1/LossScale*grad| >= 2^-102     before LossScale and WeightDecay
//	theta         |WeightDecay*theta| >= 2^-102    in the gradient
//	theta         |LR*WeightDecay*theta| >= 2^-126 with DecoupledDecay; below, theta does not decay
//	m             2^-63 in m², and v 2^-126        with Centered
//
// The bounds of 2^-102 change no bit of a gradient that counts, unless the factor is 2^26
// or more. If the gradient of an element counts as zero, it adds nothing to b, and only
// decay and the remaining momentum move theta.
//
// # Bias correction
//
// The means start at zero (or at InitialMeanSquare) and are biased towards it for about
// 1/(1-Rho) steps. Adam divides by 1-Rho^t to correct that. With BiasCorrection, step
// t = 1, 2, … of a [State] averages with
//
//	Rho_t = 1 - (1-Rho)/(1-Rho^t)
//
// instead of Rho, computed in float64. Then s and m themselves are the corrected means: s is
// what optax calls nu_hat. The first step forgets what s and m were. With Rho = 1 they are
// the plain means of all steps so far.
//
// # Adam
//
// With FirstMoment, a running mean m of the gradient replaces the gradient in u. With
// BiasCorrection, which corrects both means, this is Adam (Kingma and Ba, Adam: a method for
// stochastic optimization, 2015). With DecoupledDecay as well it is AdamW (Loshchilov and
// Hutter, Decoupled weight decay regularization, 2019). FirstMoment excludes Centered,
// Momentum and Nesterov.
//
// BiasCorrection averages m with FirstMoment_t, which follows from FirstMoment as Rho_t
// follows from Rho. So State.MeanGrad and State.MeanSquare hold the corrected means.
// Other frameworks save the means before the correction. After Step steps these are
//
//	exp_avg    = MeanGrad   * (1 - FirstMoment^Step)     PyTorch's names
//	exp_avg_sq = MeanSquare * (1 - Rho^Step)
//
// If the gradient stays zero, m decays, and so do the steps. An m below 2^-63 no longer
// moves theta, and an m for which FirstMoment*m would be subnormal counts as zero. A NaN
// stays in m, unlike in s: it was in the gradient, so theta is NaN as well.
//
// EpsHat adds Eps to the means before their correction. This is the epsilon hat of Kingma
// and Ba's section 2, which TensorFlow and Keras use. It has the same effect as an eps of
// Eps/(1-Rho^t), or of Eps/sqrt(1-Rho^t) with EpsOutside: a larger one during the first
// 1/(1-Rho) steps.
//
// # Momentum schedules
//
// Momentum may change from step to step. If it is 0 and the State has a buffer, b
// holds the last step, as with any other Momentum, so that momentum can come back.
// NewState allocates a buffer if Momentum is not 0; [RMSProp.Adapt] adds one later,
// or removes it.
//
// # What a huge gradient does
//
// A finite gradient of 2^64 (1.8e19) or more has an infinite square. It makes s infinite,
// and every step after that zero: the parameter never moves again, and no NaN shows it.
// The published formula does the same. Clip by ClipValue or [Optimizer.ClipNorm], or skip
// such a step with [Optimizer.SkipNonFinite].
//
// # Centered
//
// Centered divides by the standard deviation of the gradients, which can be far smaller
// than the gradients. If all gradients are equal, it tends to zero and the steps tend to
// LR/sqrt(Eps)*grad: with LR = 0.001 and Eps = 1e-7, a single step reaches 1.7. So use a
// larger Eps. The centered variant of the paper on DQN (Mnih and others, Human-level
// control through deep reinforcement learning, Nature 518, 2015) is
//
//	RMSProp{LR: 0.00025, Rho: 0.95, Eps: 0.01, Centered: true}
//
// Its "gradient momentum" and "squared gradient momentum" are both Rho. It has no momentum
// in the sense of Momentum.
//
// # What differs from the frameworks
//
// Each framework rounds in its own order. A preset follows the formula to a few units in
// the last place per step, not to the bit. Other differences:
//
//   - PyTorch with centered computes the root of s - m² even if rounding made it negative,
//     as after many equal gradients. Then theta becomes NaN. Here s - m² is 0 then.
//   - Keras's exponential moving average of theta (use_ema) is left to the caller. Its
//     clipnorm clips each tensor by its own norm; its global_clipnorm clips all tensors
//     together, as [Optimizer.ClipNorm] does.
//   - TensorFlow's sparse update is [RMSProp.UpdateRows]. That of its AdamOptimizer is not: it
//     decays the means of all rows and moves all of them.
//   - Gorgonia's RMSProp subtracts l2*theta from theta, not scaled by the learning rate: set
//     WeightDecay to l2/LR. Its clip applies after the square of the gradient went into s.
//     That is another algorithm, which this package does not have.
//   - Gorgonia's AdamSolver adds l2*theta to the gradient, as WeightDecay does, and then
//     clips the sum. ClipValue clips the gradient alone.
//   - Gorgonia's AdamW (v0.9.18) averages with shares of 1-beta^t and adds its steps to
//     copies of the weights. This package does not have it.
//   - GoMLX's "adamw", chosen by name, has the decay of the hyperparameter
//     adam_weight_decay, which is 0 unless it is set.
//   - spago's RMSProp is RMSProp{LR: 0.001, Rho: 0.95, Eps: 1e-8, EpsOutside: true}. Its Adam is
//     KerasAdam with an Eps of 1e-8.
//   - This package has no AMSGrad, no Adam with Nesterov momentum (NAdam), and no eps both
//     inside and outside the root (optax's eps_root).
type RMSProp struct {
	LR  float64 // learning rate: the step in units of theta, in [0, 2^64]
	Rho float64 // decay rate: the share of the old means that is kept, in [0, 1]; PyTorch's alpha
	Eps float64 // in units of grad², or of grad with EpsOutside

	FirstMoment    float64 // share of the old mean of the gradient that is kept, in [0, 1); PyTorch's beta1
	Momentum       float64 // share of the last step that is kept, in [0, 1); PyTorch's momentum
	Nesterov       bool    // Nesterov momentum: use b after one more decay
	Centered       bool    // divide by an estimate of the standard deviation: subtract the mean
	WeightDecay    float64 // decay of theta: added to the gradient (L2), or,
	DecoupledDecay bool    // with DecoupledDecay, subtracted from theta itself
	LossScale      float64 // the gradient is divided by it; 0 means 1; an Optimizer has its own and needs 0 here
	ClipValue      float64 // limits each element of the gradient to [-ClipValue, ClipValue]; 0: no limit
	Maximize       bool    // move along the gradient instead of against it
	EpsOutside     bool    // sqrt(s) + Eps instead of sqrt(s + Eps)
	EpsHat         bool    // add Eps before BiasCorrection: Adam's epsilon hat
	LROutside      bool    // the momentum buffer does not include the learning rate
	BiasCorrection bool    // correct the means for their start at zero, by State.Step

	InitialMeanSquare float64 // initial value of a new state's mean square; optax's initial_scale
}

// Keras returns the conventions and defaults of keras.optimizers.RMSprop in
// Keras 3.
func Keras() RMSProp { return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-7, DecoupledDecay: true} }

// PyTorch returns the conventions and defaults of torch.optim.RMSprop.
func PyTorch() RMSProp {
	return RMSProp{LR: 0.01, Rho: 0.99, Eps: 1e-8, EpsOutside: true, LROutside: true}
}

// TensorFlow returns the conventions and defaults of TensorFlow 1's
// tf.train.RMSPropOptimizer, whose mean square starts at 1. It has no default
// learning rate; 0.001 is Keras's.
func TensorFlow() RMSProp {
	return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-10, InitialMeanSquare: 1}
}

// Optax returns the conventions and defaults of optax.rmsprop, with its
// eps_in_sqrt. It has no default learning rate; 0.001 is Keras's.
func Optax() RMSProp { return RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-8} }

// Gorgonia returns the conventions and defaults of gorgonia.NewRMSPropSolver.
func Gorgonia() RMSProp { return RMSProp{LR: 0.001, Rho: 0.999, Eps: 1e-8, DecoupledDecay: true} }

// GoMLX returns the conventions and defaults of GoMLX's optimizers.RMSProp,
// which always corrects the bias. They are Adam without the first moment.
func GoMLX() RMSProp {
	return RMSProp{LR: 0.001, Rho: 0.999, Eps: 1e-7, EpsOutside: true, DecoupledDecay: true, BiasCorrection: true}
}

// Adam returns the conventions and defaults of torch.optim.Adam. Those of optax.adam, which
// has no default learning rate, and of gorgonia.NewAdamSolver are the same.
func Adam() RMSProp {
	return RMSProp{LR: 0.001, FirstMoment: 0.9, Rho: 0.999, Eps: 1e-8, EpsOutside: true, BiasCorrection: true}
}

// AdamW returns the conventions and defaults of torch.optim.AdamW.
func AdamW() RMSProp {
	r := Adam()
	r.WeightDecay, r.DecoupledDecay = 0.01, true
	return r
}

// KerasAdam returns the conventions and defaults of keras.optimizers.Adam in Keras 3. With a
// WeightDecay of 0.004 they are those of Keras's AdamW, and with an Eps of 1e-8 those of
// TensorFlow 1's tf.train.AdamOptimizer.
func KerasAdam() RMSProp {
	r := GoMLXAdam()
	r.EpsHat = true
	return r
}

// OptaxAdamW returns the conventions and defaults of optax.adamw. It has no default
// learning rate; 0.001 is PyTorch's.
func OptaxAdamW() RMSProp {
	r := AdamW()
	r.WeightDecay = 1e-4
	return r
}

// GoMLXAdam returns the conventions and defaults of GoMLX's optimizers.Adam. Its WeightDecay
// is WeightDecay.
func GoMLXAdam() RMSProp {
	r := Adam()
	r.Eps, r.DecoupledDecay = 1e-7, true
	return r
}

// Validate returns nil, or an [*ArgumentError] that names every field that is out
// of range. Options that change nothing are fine: Nesterov without Momentum (but not with
// FirstMoment), DecoupledDecay without WeightDecay.
func (r *RMSProp) Validate() error {
	return r.check(nil).error()
}

// Update applies one step: it moves theta against grad, and updates the state st. theta,
// grad and each slice of st have one element for each parameter. Update writes theta and
// st and only reads grad.
//
// A gradient of zero is not the same as no gradient: the means and the momentum decay, and
// momentum and weight decay move theta. If a tensor has no gradient, do not call Update;
// for [Optimizer.Step], set Grad to nil.
//
// Update panics with an [*ArgumentError], before it writes anything, if r is not valid, if
// st lacks a slice that r needs or has one that r excludes, if the lengths differ, or if
// two of the slices overlap in memory.
//
// Like the function [Update], it does not allocate, keeps no reference and starts no
// goroutine. Concurrent calls are safe on tensors that do not overlap; they may share grad.
func (r *RMSProp) Update(theta, grad []float32, st *State) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { r.Update(theta, grad, st) })
		return
	}
	wrong := r.check(nil)
	if len(grad) != len(theta) {
		wrong = wrong.addLength(&argumentNames, 1, len(grad), len(theta))
	}
	if wrong = r.checkState(wrong, st, len(theta), &argumentNames); !tensorApart(theta, grad, st) {
		wrong = wrong.tensorOverlaps(theta, grad, st)
	}
	wrong.panic()
	var k coeffs
	k.round(r, 1, st.Step+1)
	c := k.call(theta, grad, st)
	c.run(c.n)
	st.Step++
}

// epsAt returns the eps of step t = 1, 2, … of a state.
func (r *RMSProp) epsAt(t int) float64 {
	if !r.EpsHat || !r.BiasCorrection {
		return r.Eps
	}
	sum, _ := powers(r.Rho, t)
	correction := (1 - r.Rho) * sum // 1 - Rho^t
	if r.EpsOutside {
		correction = math.Sqrt(correction)
	}
	return r.Eps / correction
}

// lossScale returns the number that the gradient is divided by.
func (r *RMSProp) lossScale() float64 { return cmp.Or(r.LossScale, 1) }

// shareAt returns the share of an old mean, Rho or FirstMoment, that step t = 1, 2, … of a
// state keeps.
//
// 1 - x^t is (1-x)*(1 + x + … + x^(t-1)). Computed by that sum, the share keeps all the
// digits that 1 - x^t would lose, and x = 1 is no exception. The last bits of math.Pow
// differ from machine to machine. Here each product is rounded, and none is fused with a
// sum.
func (r *RMSProp) shareAt(x float64, t int) float64 {
	if !r.BiasCorrection {
		return x
	}
	sum, _ := powers(x, t)
	return 1 - 1/sum
}

// powers returns 1 + x + … + x^(n-1) and x^n.
func powers(x float64, n int) (sum, power float64) {
	if n == 0 {
		return 0, 1
	}
	sum, power = powers(x, n/2)
	sum, power = sum+float64(power*sum), power*power
	if n%2 != 0 {
		sum, power = 1+float64(x*sum), power*x
	}
	return sum, power
}
