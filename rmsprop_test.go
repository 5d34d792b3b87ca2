package kernel

import (
	"fmt"
	"math"
	"math/big"
	"testing"
)

func TestRMSPropValidate(t *testing.T) {
	const (
		momentum = ", want a number in [0, 1), also in float32"
		scale    = ", want a number in [2^-126, 2^126], or 0 for none"
		clip     = ", want a number from 2^-126 up that is finite in float32, or 0 for no limit"
		excluded = ", want 0 with Centered, Momentum or Nesterov, which it excludes"
	)
	hat := func(rho float64) string {
		return fmt.Sprintf(", want a number whose quotient with 1-Rho, Rho = %v, is finite in float32 with EpsHat", rho)
	}
	nan, inf := math.NaN(), math.Inf(1)
	tests := []struct {
		change func(o *RMSProp)
		want   string // "" if that is fine
	}{
		{func(o *RMSProp) { o.LR = nan }, "LR = NaN" + wantRate},
		{func(o *RMSProp) { o.LR = -1 }, "LR = -1" + wantRate},
		{func(o *RMSProp) { o.LR = math.Nextafter(0, -1) }, "LR = -5e-324" + wantRate},
		{func(o *RMSProp) { o.LR = 0x1p64 * (1 + 0x1p-23) }, "LR = 1.8446746272732807e+19" + wantRate},
		{func(o *RMSProp) { o.LR = 0x1p64 * (1 + 0x1p-25) }, ""}, // rounds to 2^64
		{func(o *RMSProp) { o.LR = 0 }, ""},
		{func(o *RMSProp) { o.Rho = nan }, "Rho = NaN" + wantShare},
		{func(o *RMSProp) { o.Rho = -0.5 }, "Rho = -0.5" + wantShare},
		{func(o *RMSProp) { o.Rho = 1.5 }, "Rho = 1.5" + wantShare},
		{func(o *RMSProp) { o.Rho = math.Nextafter(1, 2) }, "Rho = 1.0000000000000002" + wantShare},
		{func(o *RMSProp) { o.Rho = 1 }, ""},
		{func(o *RMSProp) { o.Rho = 0 }, ""},
		{func(o *RMSProp) { o.Eps = nan }, "Eps = NaN" + wantFinite},
		{func(o *RMSProp) { o.Eps = -1e-7 }, "Eps = -1e-07" + wantFinite},
		{func(o *RMSProp) { o.Eps = inf }, "Eps = +Inf" + wantFinite},
		{func(o *RMSProp) { o.Eps = math.Nextafter(0x1p128-0x1p103, 0) }, ""}, // rounds to the largest float32
		{func(o *RMSProp) { o.Eps = 0x1p128 - 0x1p103 }, "Eps = 3.4028235677973366e+38" + wantFinite},
		{func(o *RMSProp) { o.Momentum = nan }, "Momentum = NaN" + momentum},
		{func(o *RMSProp) { o.Momentum = -0.1 }, "Momentum = -0.1" + momentum},
		{func(o *RMSProp) { o.Momentum = 1 }, "Momentum = 1" + momentum},
		{func(o *RMSProp) { o.Momentum = 1 - 1e-9 }, "Momentum = 0.999999999" + momentum},
		{func(o *RMSProp) { o.Nesterov = true }, ""},
		{func(o *RMSProp) { o.FirstMoment = nan }, "FirstMoment = NaN" + momentum},
		{func(o *RMSProp) { o.FirstMoment = -0.1 }, "FirstMoment = -0.1" + momentum},
		{func(o *RMSProp) { o.FirstMoment = 1 - 1e-9 }, "FirstMoment = 0.999999999" + momentum},
		{func(o *RMSProp) { o.FirstMoment, o.Centered = 0.9, true }, "FirstMoment = 0.9" + excluded},
		{func(o *RMSProp) { o.FirstMoment, o.Momentum = 0.9, 0.9 }, "FirstMoment = 0.9" + excluded},
		{func(o *RMSProp) { o.FirstMoment, o.Nesterov = 0.9, true }, "FirstMoment = 0.9" + excluded},
		{func(o *RMSProp) { o.EpsHat = true }, ""},
		{func(o *RMSProp) { o.Rho, o.EpsHat = 1, true }, "Eps = 1e-07" + hat(1)},
		{func(o *RMSProp) { o.Rho, o.Eps, o.EpsHat = 1, 0, true }, "Eps = 0" + hat(1)},
		{func(o *RMSProp) { o.Rho, o.Eps, o.EpsHat = 0.5, 2e38, true }, "Eps = 2e+38" + hat(0.5)},
		{func(o *RMSProp) { o.WeightDecay = nan }, "WeightDecay = NaN" + wantFinite},
		{func(o *RMSProp) { o.WeightDecay = -0.1 }, "WeightDecay = -0.1" + wantFinite},
		{func(o *RMSProp) { o.WeightDecay = inf }, "WeightDecay = +Inf" + wantFinite},
		{func(o *RMSProp) { o.DecoupledDecay = true }, ""},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 1e18, 1e30, true },
			"WeightDecay = 1e+30, want a number whose product with LR = 1e+18 is finite in float32"},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 1e18, 1e30, false }, ""},
		{func(o *RMSProp) { o.LR, o.WeightDecay, o.DecoupledDecay = 2, math.MaxFloat32/2, true }, ""},
		{func(o *RMSProp) { o.LossScale = nan }, "LossScale = NaN" + scale},
		{func(o *RMSProp) { o.LossScale = -1 }, "LossScale = -1" + scale},
		{func(o *RMSProp) { o.LossScale = inf }, "LossScale = +Inf" + scale},
		{func(o *RMSProp) { o.LossScale = 1e-38 }, "LossScale = 1e-38" + scale},
		{func(o *RMSProp) { o.LossScale = 1e38 }, "LossScale = 1e+38" + scale},
		{func(o *RMSProp) { o.LossScale = 0x1p-126 }, ""},
		{func(o *RMSProp) { o.LossScale = 0x1p126 }, ""},
		{func(o *RMSProp) { o.ClipValue = nan }, "ClipValue = NaN" + clip},
		{func(o *RMSProp) { o.ClipValue = -1 }, "ClipValue = -1" + clip},
		{func(o *RMSProp) { o.ClipValue = inf }, "ClipValue = +Inf" + clip},
		{func(o *RMSProp) { o.ClipValue = 1e-38 }, "ClipValue = 1e-38" + clip},
		{func(o *RMSProp) { o.ClipValue = 0x1p-126 }, ""},
		{func(o *RMSProp) { o.ClipValue = math.MaxFloat32 }, ""},
		{func(o *RMSProp) { o.InitialMeanSquare = nan }, "InitialMeanSquare = NaN" + wantFinite},
		{func(o *RMSProp) { o.InitialMeanSquare = -1 }, "InitialMeanSquare = -1" + wantFinite},
		{func(o *RMSProp) { o.LR, o.Rho, o.Momentum = -1, 2, 1 },
			"LR = -1" + wantRate + "\nkernel: Rho = 2" + wantShare + "\nkernel: Momentum = 1" + momentum},
	}
	for _, test := range tests {
		o := Keras()
		test.change(&o)
		err := o.Validate()
		if test.want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		requireArgumentError(t, err, test.want)
		theta, grad, s := []float32{1}, []float32{2}, []float32{3}
		st := &State{MeanSquare: s, MomentumBuffer: []float32{4}}
		if o.FirstMoment != 0 {
			st = &State{MeanSquare: s, MeanGrad: []float32{4}}
		}
		requirePanic(t, test.want, func() { o.Update(theta, grad, st) })
		requirePanic(t, test.want, func() { o.UpdateRows(theta, grad, st, []int{0}, 1) })
		requirePanic(t, test.want, func() { o.NewState(1) })
		if theta[0] != 1 || s[0] != 3 {
			t.Errorf("something was written before the panic: %s", test.want)
		}
	}
}

// ---- Bias correction ----

func TestRMSPropRhoAt(t *testing.T) {
	for _, rho := range []float64{0, 1e-300, 0.5, 0.9, 0.95, 0.99, 0.999, 1 - 1e-6, math.Nextafter(1, 0)} {
		o := RMSProp{Rho: rho, BiasCorrection: true}
		if got := o.shareAt(o.Rho, 1); got != 0 {
			t.Errorf("Rho = %v: %v at step 1, want 0", rho, got)
		}
		// The means of Adam, corrected: s_t/(1-rho^t) is a mean of s_(t-1)/(1-rho^(t-1)) and g².
		power := new(big.Float).SetPrec(200).SetInt64(1)
		one := new(big.Float).SetPrec(200).SetInt64(1)
		exact := new(big.Float).SetPrec(200).SetFloat64(rho)
		for step := 1; step <= 2000; step++ {
			before := new(big.Float).Sub(one, power)
			power.Mul(power, exact)
			want := new(big.Float).Mul(exact, before)
			want.Quo(want, new(big.Float).Sub(one, power))
			w, _ := want.Float64()
			if got := o.shareAt(o.Rho, step); math.Abs(got-w) > 1e-15 {
				t.Fatalf("Rho = %v: %v at step %d, want %v", rho, got, step, w)
			}
		}
		if got := o.shareAt(o.Rho, math.MaxInt); math.Abs(got-rho) > 1e-12 && rho < 1-1e-9 {
			t.Errorf("Rho = %v: %v in the end", rho, got)
		}
		o.BiasCorrection = false
		if got := o.shareAt(o.Rho, 1); got != rho {
			t.Errorf("Rho = %v: %v without BiasCorrection", rho, got)
		}
	}
	o := RMSProp{Rho: 1, BiasCorrection: true} // the mean of all steps
	for step := 1; step < 100; step++ {
		if got, want := o.shareAt(o.Rho, step), float64(step-1)/float64(step); math.Abs(got-want) > 1e-15 {
			t.Errorf("Rho = 1: %v at step %d, want %v", got, step, want)
		}
	}
}

// The first step forgets the old means, NaN included. A state with a later Step does not. Steps are
// counted with and without BiasCorrection.
func TestRMSPropBiasCorrectionStart(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		o := Optax()
		o.LR, o.Eps, o.BiasCorrection, o.Centered = 0.5, 0, true, true
		o.Eps = 1
		theta, grad := []float32{0, 0}, []float32{2, 2}
		st := &State{MeanSquare: []float32{7, 1e30}, MeanGrad: []float32{3, -3}}
		o.Update(theta, grad, st)
		requireSame(t, "s", st.MeanSquare, []float32{4, 4})
		requireSame(t, "m", st.MeanGrad, []float32{2, 2})
		requireSame(t, "theta", theta, []float32{-1, -1})
		if st.Step != 1 {
			t.Errorf("Step = %d", st.Step)
		}
		grad[0] = 0
		o.Update(theta, grad, st) // rho_2 = 1 - 0.1/0.19 = 9/19
		requireSame(t, "s", st.MeanSquare[:1], []float32{float32(float32(9.0/19)*4) + 0})
		o.BiasCorrection = false
		o.Update(theta, grad, st)
		if st.Step != 3 {
			t.Errorf("Step = %d", st.Step)
		}
	})
}

// With EpsHat, eps is divided by 1 - Rho^t inside the root, or by its root outside, to 12 digits at
// any step.
func TestRMSPropEpsHat(t *testing.T) {
	for _, rho := range []float64{0, 0.5, 0.9, 0.999, 1 - 1e-6} {
		power := big.NewFloat(1).SetPrec(200)
		for step := 1; step <= 2000; step++ {
			power.Mul(power, new(big.Float).SetFloat64(rho))
			correction, _ := new(big.Float).Sub(big.NewFloat(1), power).Float64()
			for _, o := range []RMSProp{
				{Rho: rho, Eps: 1e-7, BiasCorrection: true, EpsHat: true},
				{Rho: rho, Eps: 1e-7, BiasCorrection: true, EpsHat: true, EpsOutside: true},
				{Rho: rho, Eps: 1e-7, BiasCorrection: true},
				{Rho: rho, Eps: 1e-7, EpsHat: true},
			} {
				want := o.Eps
				switch {
				case !o.BiasCorrection || !o.EpsHat:
				case o.EpsOutside:
					want /= math.Sqrt(correction)
				default:
					want /= correction
				}
				if got := o.epsAt(step); math.Abs(got-want) > 1e-12*want {
					t.Fatalf("%+v: step %d: eps = %v, want %v", o, step, got, want)
				}
				if k := o.rounded(1, step); max(k.eps, k.epsOutside) != float32(o.epsAt(step)) {
					t.Fatalf("%+v: step %d: eps = %v and %v outside", o, step, k.eps, k.epsOutside)
				}
			}
		}
	}
}

// The quotient of the clip factor and the loss scale is computed in float64 and
// rounded once.
func TestRMSPropLossScaleIsRoundedOnce(t *testing.T) {
	for _, test := range []struct{ scale, factor float64 }{{1.1, 1}, {3, 1.0 / 3}, {0, 0.1}, {1000.1, 0.7}} {
		o := RMSProp{Rho: 0.9, Eps: 1e-7, LossScale: test.scale}
		k := o.rounded(test.factor, 1)
		if want := float32(test.factor / o.lossScale()); k.scale != want {
			t.Errorf("%+v: %v, want %v", test, k.scale, want)
		}
	}
	if a, b := float32(1/1.1), 1/float32(1.1); a == b {
		t.Error("1.1 shows nothing")
	}
}
