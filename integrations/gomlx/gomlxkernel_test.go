package gomlxkernel_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/distributed"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/shapes"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers/cosineschedule"
	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
)

// apart is the largest distance between two elements, or NaN.
func apart(a, b []float32) (largest float64) {
	for i := range a {
		largest = max(largest, math.Abs(float64(a[i])-float64(b[i])))
	}
	return largest
}

// decayed returns GoMLX's defaults with weight decay.
func decayed(decay float64) kernel.RMSProp {
	o := kernel.GoMLX()
	o.WeightDecay = decay
	return o
}

// TestSameAsGoMLX trains with the same gradients with both optimizers, in the
// ways that GoMLX has.
func TestSameAsGoMLX(t *testing.T) {
	param := func(key string, value any) func(*training) {
		return func(tr *training) { tr.ctx.SetParam(key, value) }
	}
	for _, test := range []struct {
		name      string
		ours      kernel.RMSProp
		theirs    *optimizers.AdamConfig
		configure func(*training)
		steps     int     // of the loop to a step of the optimizer
		limit     float64 // after 600 steps
	}{
		{"defaults", kernel.GoMLX(), optimizers.RMSProp(), nil, 1, 1e-6},
		// The kernel takes the decay and the step from a weight one after the other, GoMLX
		// takes their sum. So each step may round by half a unit more, 1.2e-7 for a weight
		// of 2 to 4, and mostly the same way while the weight hardly changes.
		{"decay", decayed(0.01), optimizers.RMSProp().WeightDecay(0.01), nil, 1, 600 * 1.2e-7},
		{"learning rate", kernel.GoMLX(), optimizers.RMSProp(), param(optimizers.ParamLearningRate, 0.0003), 1, 1e-6},
		{"schedule", kernel.GoMLX(), optimizers.RMSProp(), func(tr *training) {
			tr.ctx.SetParam(optimizers.ParamLearningRate, 0.003)
			tr.ctx.SetParam(cosineschedule.ParamPeriodSteps, 70)
			tr.ctx.SetParam(cosineschedule.ParamWarmUpSteps, 20)
		}, 1, 1e-6},
		{"accumulated gradients", kernel.GoMLX(), optimizers.RMSProp(), func(tr *training) { tr.accumulate = 3 }, 3, 1e-6},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours := newTraining(t, gomlxkernel.New(test.ours), test.configure)
			theirs := newTraining(t, test.theirs.Done(), test.configure)
			a, b := newInputs(), newInputs()
			train := func(steps int) (distance float64) {
				ours.run(a, steps*test.steps)
				theirs.run(b, steps*test.steps)
				return apart(ours.weights(), theirs.weights())
			}
			if d := train(1); !(d <= max(3e-8, test.limit/300)) {
				t.Errorf("%v apart after a step", d)
			}
			d := train(599)
			t.Logf("%.1e apart after 600 steps", d)
			if !(d <= test.limit) {
				t.Errorf("%v apart after 600 steps", d)
			}
			if moved := apart(ours.weights(), ours.initial()); moved < 0.01 {
				t.Errorf("moved by %v", moved)
			}
			if a, b := ours.globalStep(), theirs.globalStep(); a != 600 || b != 600 {
				t.Errorf("global steps %d and %d", a, b)
			}
		})
	}
}

// TestSameAsKernel compares with kernel.RMSProp.Update, bit for bit, also the
// options that GoMLX has not.
func TestSameAsKernel(t *testing.T) {
	centered := kernel.PyTorch()
	centered.Centered, centered.Momentum, centered.WeightDecay, centered.Eps = true, 0.9, 0.01, 0.01
	for name, options := range map[string]kernel.RMSProp{
		"GoMLX": kernel.GoMLX(), "decay": decayed(0.01), "TensorFlow": kernel.TensorFlow(), "centered with momentum": centered,
	} {
		for _, isa := range kernel.ISAs() {
			t.Run(name+"/"+isa, func(t *testing.T) {
				defer setISA(t, isa)()
				tr := newTraining(t, gomlxkernel.New(options))
				want := tr.initial()
				tr.run(newInputs(), 100)

				defer setISA(t, kernel.ISAs()[len(kernel.ISAs())-1])()
				options.LR = float64(float32(options.LR)) // as the variable has it
				st := options.NewState(len(want))
				for gradients := newInputs(); st.Step < 100; {
					options.Update(want, gradients.flat(), st)
				}
				if !slices.Equal(tr.weights(), want) {
					t.Errorf("%v apart", apart(tr.weights(), want))
				}
			})
		}
	}
}

func setISA(t *testing.T, isa string) (restore func()) {
	t.Helper()
	before := kernel.ISA()
	if err := kernel.SetISA(isa); err != nil {
		t.Fatal(err)
	}
	return func() { kernel.SetISA(before) }
}

// TestLearningRateVariable sets it by hand between two runs of the loop.
func TestLearningRateVariable(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt)
	in := newInputs()
	tr.run(in, 5)
	rate := tr.ctx.GetVariableByScopeAndName("/"+optimizers.Scope, optimizers.ParamLearningRate)
	if got := tensors.ToScalar[float32](rate.MustValue()); got != 0.001 {
		t.Errorf("learning rate %v", got)
	}
	if err := rate.SetValue(tensors.FromScalar(float32(0))); err != nil {
		t.Fatal(err)
	}
	before := tr.weights()
	tr.run(in, 5)
	if !slices.Equal(tr.weights(), before) {
		t.Errorf("moved by %v", apart(tr.weights(), before))
	}
	if opt.Options.LR != 0.001 {
		t.Errorf("Options.LR = %v", opt.Options.LR)
	}
}

// TestAnotherGraph trains with a graph that lacks the last of the weights, first and
// in between: it keeps its value and its state, and counts its own steps.
func TestAnotherGraph(t *testing.T) {
	tr := newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	options := kernel.GoMLX()
	options.LR = float64(float32(options.LR))
	want := tr.initial()
	last := len(want) - 5
	most, rest := options.NewState(last), options.NewState(5)
	in := newInputs()
	gradients := newInputs()
	for i, variables := range []int{2, 3, 2, 3, 3} {
		in.variables = variables
		tr.run(in, 10)
		for range 10 {
			grad := gradients.flat()
			options.Update(want[:last], grad[:last], most)
			if variables == 3 {
				options.Update(want[last:], grad[last:], rest)
			}
		}
		// After the first turn the last variable is not there yet.
		if i > 0 && !slices.Equal(tr.weights(), want) {
			t.Fatalf("%v apart after turn %d", apart(tr.weights(), want), i)
		}
	}
}

// TestNonFinite trains through a batch whose gradients are not finite.
func TestNonFinite(t *testing.T) {
	t.Run("clip_nan", func(t *testing.T) {
		clip := func(tr *training) { tr.ctx.SetParam(optimizers.ParamClipNaN, true) }
		ours := newTraining(t, gomlxkernel.New(kernel.GoMLX()), clip)
		theirs := newTraining(t, optimizers.RMSProp().Done(), clip)
		for _, tr := range []*training{ours, theirs} {
			in := newInputs()
			tr.run(in, 10)
			in.scale = float32(math.Inf(1))
			tr.runOne(in)
			in.scale = 1
			tr.run(in, 10)
		}
		if d := apart(ours.weights(), theirs.weights()); !(d <= 1e-6) {
			t.Errorf("%v apart", d)
		}
	})
	t.Run("SkipNonFinite", func(t *testing.T) {
		opt := gomlxkernel.New(kernel.GoMLX())
		opt.SkipNonFinite = true
		skipped, straight := newTraining(t, opt), newTraining(t, gomlxkernel.New(kernel.GoMLX()))
		a, b, broken := newInputs(), newInputs(), newInputs()
		broken.scale = float32(math.Inf(1))
		skipped.run(a, 10)
		skipped.runOne(broken)
		if !opt.Report.Skipped {
			t.Error("not skipped")
		}
		skipped.run(a, 10)
		if opt.Report.Skipped || opt.Report.Norm == 0 {
			t.Errorf("report %v", opt.Report)
		}
		straight.run(b, 20)
		if !slices.Equal(skipped.weights(), straight.weights()) {
			t.Errorf("%v apart", apart(skipped.weights(), straight.weights()))
		}
	})
}

// TestTwoOptimizers trains the weights of a Context by turns.
func TestTwoOptimizers(t *testing.T) {
	first, second := gomlxkernel.New(kernel.GoMLX()), gomlxkernel.New(decayed(0.01))
	second.Scope = "Second"
	a := newTraining(t, first)
	b := newTraining(t, second, func(tr *training) { tr.ctx = a.ctx })
	in := newInputs()
	for range 3 {
		a.run(in, 1)
		b.run(in, 1)
	}
	for _, scope := range []string{"/KernelOptimizer/layer", "/Second/layer"} {
		if got := tensors.ToScalar[int64](a.ctx.GetVariableByScopeAndName(scope, "w_step").MustValue()); got != 3 {
			t.Errorf("step %d in %s", got, scope)
		}
	}
}

func TestByHand(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	opt.ByHand = true
	byHand, attached := newTraining(t, opt, func(tr *training) { tr.byHand = true }), newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	if err := opt.Step(); err != nil { // there is nothing yet
		t.Error(err)
	}
	in := newInputs()
	for range 5 {
		_, ins, labels, _ := in.Yield()
		if _, err := byHand.trainer.TrainStep(in.variables, ins, labels); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second finds nothing
			if err := opt.Step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	attached.run(newInputs(), 5)
	if !slices.Equal(byHand.weights(), attached.weights()) {
		t.Errorf("%v apart", apart(byHand.weights(), attached.weights()))
	}
}

// TestClear deletes all that the optimizer has made, and trains anew.
func TestClear(t *testing.T) {
	options := kernel.GoMLX()
	options.Centered, options.Momentum = true, 0.5
	opt := gomlxkernel.New(options)
	first := newTraining(t, opt)
	first.run(newInputs(), 10)
	made := 0
	for v := range first.ctx.IterVariables() {
		if strings.HasPrefix(v.Scope(), "/KernelOptimizer") {
			made++
			if v.Trainable {
				t.Errorf("%s is trainable", v.ScopeAndName())
			}
		}
	}
	if made != 5*len(weights)+1 { // gradient, step, mean square, mean gradient, momentum; and what waits
		t.Errorf("%d variables", made)
	}
	if err := opt.Clear(first.ctx); err != nil {
		t.Fatal(err)
	}
	for v := range first.ctx.IterVariables() {
		if strings.HasPrefix(v.Scope(), "/KernelOptimizer") {
			t.Errorf("%s is still there", v.ScopeAndName())
		}
	}
	second := newTraining(t, opt)
	second.run(newInputs(), 10)
	if !slices.Equal(second.weights(), first.weights()) {
		t.Errorf("%v apart", apart(second.weights(), first.weights()))
	}
}

// TestErrors wants messages, and weights that stand still.
func TestErrors(t *testing.T) {
	for _, test := range []struct {
		name      string
		configure func(*training, *gomlxkernel.Optimizer)
		message   string
	}{
		{"not attached", func(tr *training, _ *gomlxkernel.Optimizer) { tr.byHand = true },
			"nothing would take the steps: call AttachTo"},
		{"another Context", func(tr *training, opt *gomlxkernel.Optimizer) { newTraining(tr.t, opt).run(newInputs(), 1) },
			"one Optimizer trains one Context"},
		{"clip_step_by_value", func(tr *training, _ *gomlxkernel.Optimizer) {
			tr.ctx.SetParam(optimizers.ParamClipStepByValue, 0.1)
		}, `"clip_step_by_value" is not supported`},
		{"function after the step", func(tr *training, _ *gomlxkernel.Optimizer) { tr.afterwards = true },
			"a function of train.AddPerStepUpdateGraphFn in /constraint would run before the step"},
		{"nothing to train", func(tr *training, _ *gomlxkernel.Optimizer) { tr.frozen = true },
			"there are no trainable variables"},
		{"float64", func(tr *training, _ *gomlxkernel.Optimizer) { tr.float64 = true },
			"variable /layer/w is Float64: must be Float32"},
		{"one tensor in two variables", func(tr *training, _ *gomlxkernel.Optimizer) { tr.shared = true },
			"has its tensor in common with another"},
		{"learning rate", func(_ *training, opt *gomlxkernel.Optimizer) { opt.Options.LR = -1 }, "LR = -1"},
		{"options", func(_ *training, opt *gomlxkernel.Optimizer) { opt.ClipNorm = math.NaN() }, "ClipNorm = NaN"},
	} {
		t.Run(test.name, func(t *testing.T) {
			opt := gomlxkernel.New(kernel.GoMLX())
			tr := newTraining(t, opt, func(tr *training) { test.configure(tr, opt) })
			_, err := tr.loop.RunSteps(newInputs(), 2)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("error %v, want %s", err, test.message)
			}
			if tr.float64 || tr.shared {
				return
			}
			if got := tr.weights(); !slices.Equal(got, tr.initial()) {
				t.Errorf("moved by %v", apart(got, tr.initial()))
			}
		})
	}
}

// TestErrorThenStep goes on with the same gradients once the options are right.
func TestErrorThenStep(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr, straight := newTraining(t, opt), newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	opt.Workers = -1
	if _, err := tr.loop.RunSteps(newInputs(), 1); err == nil {
		t.Fatal("no error")
	}
	opt.Workers = 1
	if err := opt.Step(); err != nil {
		t.Fatal(err)
	}
	straight.run(newInputs(), 1)
	if !slices.Equal(tr.weights(), straight.weights()) {
		t.Errorf("%v apart", apart(tr.weights(), straight.weights()))
	}
}

// TestMomentumLater wants the error to name the weights that have no buffer for it.
func TestMomentumLater(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt)
	tr.run(newInputs(), 1)
	before := tr.weights()
	opt.Options.Momentum = 0.9
	_, err := tr.loop.RunSteps(newInputs(), 1)
	for _, name := range []string{"/layer/w", "/scale", "/layer/deeper/b"} {
		if err == nil || !strings.Contains(err.Error(), name+".State.MomentumBuffer") {
			t.Errorf("error %v, want one about %s", err, name)
		}
	}
	if !slices.Equal(tr.weights(), before) {
		t.Errorf("moved by %v", apart(tr.weights(), before))
	}
}

// TestLostState takes a variable's value away.
func TestLostState(t *testing.T) {
	for name, lose := range map[string]func(*context.Variable) error{
		"no value":  (*context.Variable).Reset,
		"finalized": func(v *context.Variable) error { return v.MustValue().FinalizeAll() },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTraining(t, gomlxkernel.New(kernel.GoMLX()))
			in := newInputs()
			tr.run(in, 1)
			before := tr.weights()
			if err := lose(tr.ctx.GetVariableByScopeAndName("/KernelOptimizer/layer", "w_mean_square")); err != nil {
				t.Fatal(err)
			}
			if _, err := tr.loop.RunSteps(in, 1); err == nil {
				t.Error("no error")
			}
			if !slices.Equal(tr.weights(), before) {
				t.Errorf("moved by %v", apart(tr.weights(), before))
			}
		})
	}
}

// TestFirstHook wants the step to be taken before other hooks see the weights.
func TestFirstHook(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt, func(tr *training) { tr.byHand = true })
	last := tr.initial()
	tr.loop.OnStep("look", -1000, func(*train.Loop, []*tensors.Tensor) error {
		if slices.Equal(tr.weights(), last) {
			return fmt.Errorf("the weights have not moved")
		}
		last = tr.weights()
		return nil
	})
	opt.AttachTo(tr.loop)
	tr.run(newInputs(), 3)
}

// tracer is a nanlogger.
type tracer struct{ traced []string }

func (t *tracer) Trace(node *graph.Node, scopes ...string) {
	t.traced = append(t.traced, strings.Join(scopes, ": ")+" "+node.Shape().String())
}

func TestNanLogger(t *testing.T) {
	var log tracer
	tr := newTraining(t, gomlxkernel.New(kernel.GoMLX()), func(tr *training) { tr.ctx.SetParam(optimizers.ParamNanLogger, &log) })
	tr.run(newInputs(), 1)
	if want := []string{"Gradients: /layer/w (Float32)[37 3]", "Gradients: /scale (Float32)", "Gradients: /layer/deeper/b (Float32)[5]"}; !slices.Equal(log.traced, want) {
		t.Errorf("traced %q, want %q", log.traced, want)
	}
}

// distributing lets a graph be built for many devices, though there is no running it.
type distributing struct{ backends.Backend }

type distributingBuilder struct{ backends.Builder }

func (d distributing) Builder(name string) backends.Builder {
	return distributingBuilder{d.Backend.Builder(name)}
}

func (distributingBuilder) DistributedSPMD(int) error { return nil }

func (d distributingBuilder) Parameter(name string, shape shapes.Shape, _ *backends.ShardingSpec) (backends.Op, error) {
	return d.Builder.Parameter(name, shape, nil)
}

func TestDistributed(t *testing.T) {
	mesh, err := distributed.NewDeviceMesh([]int{1}, []string{"replica"})
	if err != nil {
		t.Fatal(err)
	}
	opt := gomlxkernel.New(kernel.GoMLX())
	opt.ByHand = true
	exec := context.MustNewExec(distributing{pureGo}, context.New(), func(ctx *context.Context, x *graph.Node) *graph.Node {
		ctx.VariableWithValue("w", float32(1)).ValueGraph(x.Graph())
		opt.UpdateGraphWithGradients(ctx, []*graph.Node{x}, dtypes.Float32)
		return x
	}).SPMD(mesh)
	if _, err := exec.Exec(float32(1)); err == nil || !strings.Contains(err.Error(), "distributed training (SPMD) is not supported") {
		t.Errorf("error %v", err)
	}
}
