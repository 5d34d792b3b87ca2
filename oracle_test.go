//go:build oracle

package kernel

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The frameworks themselves, in a Python that has them:
//
//	PYTHON=python3 go test -tags oracle -run OracleFrameworks .
//
// A framework that this Python lacks is skipped.

// oracles lists the frameworks, their presets and their options; every combination of these is
// compared. A coarse framework computes Rho and 1-Rho^t in float32, so it divides by a number that is
// off by up to 2^-24/(1-Rho) of itself.
var oracles = []struct {
	name    string
	preset  RMSProp
	options []func(o *RMSProp)
	coarse  bool
}{
	{name: "NumPy", preset: Keras()},
	{"PyTorch", PyTorch(), []func(o *RMSProp){
		func(o *RMSProp) { o.Momentum = 0.9 },
		func(o *RMSProp) { o.Centered = true },
		func(o *RMSProp) { o.WeightDecay = 0.01 },
		func(o *RMSProp) { o.Maximize = true },
	}, false},
	{"PyTorch", Adam(), []func(o *RMSProp){
		func(o *RMSProp) { o.WeightDecay = 0.01 },
		func(o *RMSProp) { o.Maximize = true },
	}, false},
	{"PyTorch", AdamW(), []func(o *RMSProp){
		func(o *RMSProp) { o.Maximize = true },
	}, false},
	{"TensorFlow", TensorFlow(), []func(o *RMSProp){
		func(o *RMSProp) { o.Momentum = 0.9 },
		func(o *RMSProp) { o.Centered = true },
	}, false},
	{"TensorFlow", KerasAdam(), []func(o *RMSProp){
		func(o *RMSProp) { o.Eps = 1e-8 },
		func(o *RMSProp) { o.Eps = 1 },
	}, true},
	{"Keras", Keras(), []func(o *RMSProp){
		func(o *RMSProp) { o.Momentum = 0.9 },
		func(o *RMSProp) { o.Centered = true },
		func(o *RMSProp) { o.WeightDecay = 0.01 },
	}, false},
	{"Keras", KerasAdam(), []func(o *RMSProp){
		func(o *RMSProp) { o.WeightDecay = 0.004 },
		func(o *RMSProp) { o.Eps = 1 },
	}, true},
	{"Optax", OptaxAdamW(), []func(o *RMSProp){
		func(o *RMSProp) { o.WeightDecay = 0 },
		func(o *RMSProp) { o.EpsOutside = false },
	}, true},
	{"Optax", Optax(), []func(o *RMSProp){
		func(o *RMSProp) { o.Momentum = 0.9 },
		func(o *RMSProp) { o.Momentum, o.Nesterov = 0.9, true },
		func(o *RMSProp) { o.Centered = true },
		func(o *RMSProp) { o.InitialMeanSquare = 0.5 },
		func(o *RMSProp) { o.EpsOutside = true },
	}, false},
	// Not centered: the corrected means of few steps cancel, and mostly rounding errors
	// remain.
	{"Optax", RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-8, BiasCorrection: true}, []func(o *RMSProp){
		func(o *RMSProp) { o.Momentum = 0.9 },
		func(o *RMSProp) { o.Momentum, o.Nesterov = 0.9, true },
		func(o *RMSProp) { o.EpsOutside = true },
	}, false},
}

// An answer is the output of testdata/oracle.py.
type answer struct {
	Missing string
	Version string
	Cases   []struct {
		Thetas [][]float64          // after each step
		State  map[string][]float64 // s, m and b at the end, if the framework shows them
	}
}

// TestOracleFrameworks runs 100 steps with each framework and the same steps with an RMSProp. After
// step n no number may differ from the framework's by more than maxUnits*(n+1) units in the last
// place of its largest magnitude so far, besides the error of a coarse framework. Both round, each in
// its own order, and PyTorch's first step is large compared with theta. NumPy's must have the bits
// of Update.
func TestOracleFrameworks(t *testing.T) {
	const n, steps, maxUnits = 64, 100, 3.0
	python := cmp.Or(os.Getenv("PYTHON"), "python3")
	if _, err := exec.LookPath(python); err != nil {
		t.Skipf("no Python to ask: %v; PYTHON names another", err)
	}

	r := generator(64)
	// JSON carries a float64 exactly, and every float32 is one.
	random := func() (x []float32, exact []float64) {
		for range n {
			x = append(x, r.symmetric())
			exact = append(exact, float64(x[len(x)-1]))
		}
		return
	}
	var question struct {
		Theta []float64   `json:"theta"`
		Grads [][]float64 `json:"grads"`
		Cases []RMSProp   `json:"cases"`
	}
	var theta []float32
	theta, question.Theta = random()
	var grads [][]float32
	for range steps {
		grad, exact := random()
		grads, question.Grads = append(grads, grad), append(question.Grads, exact)
	}

	for _, f := range oracles {
		t.Run(f.name, func(t *testing.T) {
			cases := oracleCases(f.preset, f.options)
			question.Cases = cases
			a := ask(t, python, f.name, question)
			if a.Missing != "" {
				t.Skipf("%s is not there: %s", f.name, a.Missing)
			}
			if len(a.Cases) != len(cases) {
				t.Fatalf("answers to %d cases, want %d", len(a.Cases), len(cases))
			}
			exact := f.name == "NumPy" // the published code has Update's operations in Update's order
			worst := map[string]units{}
			for i, o := range cases {
				got, st := append([]float32(nil), theta...), o.NewState(n)
				if len(a.Cases[i].Thetas) != steps {
					t.Fatalf("%+v: %d steps, want %d", o, len(a.Cases[i].Thetas), steps)
				}
				var coarse [n]float64 // the error of theta because the framework is coarse
				requireNear := func(step int, name string, got []float32, want, largest []float64) {
					if len(want) != n {
						t.Fatalf("%+v: step %d: %d elements of %s, want %d", o, step, len(want), name, n)
					}
					for j, w := range want {
						off := 0.0
						if float64(got[j]) != w {
							off = math.Abs(float64(got[j]) - w)
							if name == "theta" {
								off = max(0, off-coarse[j])
							}
							off = off / ulp(largest[j]) / float64(step+1)
						}
						worst[name] = max(worst[name], units(off))
						if !(off <= maxUnits) || exact && off != 0 {
							t.Fatalf("%+v: step %d: %s[%d] = %v, want %v: %.2f units a step off", o, step, name, j, got[j], w, off)
						}
					}
				}
				var largest [4][n]float64 // of theta, s, m and b so far
				for step := 1; step <= steps; step++ {
					before := append([]float32(nil), got...)
					if exact {
						Update(got, grads[step-1], st.MeanSquare, o.LR, o.Rho, o.Eps)
					} else {
						o.Update(got, grads[step-1], st)
					}
					for j := range got {
						moved := math.Abs(float64(got[j]) - float64(before[j]))
						largest[0][j] = max(largest[0][j], math.Abs(float64(before[j])), moved)
						if f.coarse { // the root halves the error
							coarse[j] += moved * 0x1p-25 / (1 - o.Rho)
						}
						for k, x := range [][]float32{st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
							if x != nil {
								largest[k+1][j] = max(largest[k+1][j], math.Abs(float64(x[j])))
							}
						}
					}
					requireNear(step, "theta", got, a.Cases[i].Thetas[step-1], largest[0][:])
				}
				for k, x := range [][]float32{st.MeanSquare, st.MeanGrad, st.MomentumBuffer} {
					name := [...]string{"s", "m", "b"}[k]
					if want, shown := a.Cases[i].State[name]; shown && x != nil {
						requireNear(steps, name, x, want, largest[k+1][:])
					}
				}
			}
			t.Logf("%s %s, %d sets of options, largest difference in units per step: %v", f.name, a.Version, len(cases), worst)
		})
	}
}

// units in the last place are worth two digits after the point.
type units float64

func (u units) String() string { return fmt.Sprintf("%.2f", float64(u)) }

// oracleCases returns the preset with none, some and all of the options.
func oracleCases(preset RMSProp, options []func(o *RMSProp)) []RMSProp {
	var all []RMSProp
	for set := range 1 << len(options) {
		o := preset
		for i, option := range options {
			if set>>i&1 != 0 {
				option(&o)
			}
		}
		all = append(all, o)
	}
	return all
}

// ask runs the script with a question for a framework.
func ask(t *testing.T, python, framework string, question any) answer {
	t.Helper()
	input, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "testdata/oracle.py", framework)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", python, err, &stderr)
	}
	var a answer
	if err := json.Unmarshal(output, &a); err != nil {
		t.Fatalf("%s: %v in %s", python, err, fmt.Sprintf("%.200q", output))
	}
	return a
}
