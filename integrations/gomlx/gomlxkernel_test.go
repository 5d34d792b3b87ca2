package gomlxkernel_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/pkg/core/distributed"
	"github.com/gomlx/gomlx/pkg/core/dtypes"
	"github.com/gomlx/gomlx/pkg/core/graph"
	"github.com/gomlx/gomlx/pkg/core/graph/nanlogger"
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

func adamW(decay float64) kernel.RMSProp {
	o := kernel.GoMLXAdam()
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
		{"Adam", kernel.GoMLXAdam(), optimizers.Adam(), nil, 1, 1e-6},
		{"AdamW", adamW(0.004), optimizers.Adam().WeightDecay(0.004), nil, 1, 600 * 1.2e-7},
		// The first steps are as large as the learning rate, 0.001, and some later ones are larger.
		{"clipped steps", kernel.GoMLX(), optimizers.RMSProp(), param(optimizers.ParamClipStepByValue, 0.0007), 1, 1e-6},
		{"clipped steps with decay", decayed(0.01), optimizers.RMSProp().WeightDecay(0.01), param(optimizers.ParamClipStepByValue, 0.0007), 1, 600 * 1.2e-7},
		{"L1", kernel.GoMLX(), optimizers.RMSProp(), func(tr *training) { tr.l1 = 0.02 }, 1, 1e-6},
		{"L1, accumulated gradients", kernel.GoMLX(), optimizers.RMSProp(), func(tr *training) { tr.l1, tr.accumulate = 0.02, 3 }, 3, 1e-6},
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
			if zeros := slices.Contains(ours.weights(), 0); zeros != (ours.l1 != 0) {
				t.Errorf("weights of zero: %v", zeros)
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
		"AdamW": kernel.AdamW(), "Keras's Adam": kernel.KerasAdam(),
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
	if opt.Kernel.Options.LR != 0 {
		t.Errorf("Options.LR = %v", opt.Kernel.Options.LR)
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

// TestConfigure trains one weight without decay, and another one half as fast.
func TestConfigure(t *testing.T) {
	opt := gomlxkernel.New(decayed(0.1))
	opt.Configure = func(v *context.Variable, p *kernel.Param) {
		p.NoDecay = v.Name() == "b"
		if v.Name() == "scale" {
			p.LRScale = 0.5
		}
	}
	tr := newTraining(t, opt)
	tr.run(newInputs(), 10)

	want := tr.initial()
	in := newInputs()
	parts := []struct{ first, end int }{{0, 111}, {111, 112}, {112, 117}}
	options := []kernel.RMSProp{decayed(0.1), decayed(0.1), decayed(0)}
	options[1].LR /= 2
	states := make([]*kernel.State, len(parts))
	for range 10 {
		grad := in.flat()
		for i, part := range parts {
			o := options[i]
			o.LR = float64(float32(o.LR)) // as the variable has it
			if states[i] == nil {
				states[i] = o.NewState(part.end - part.first)
			}
			o.Update(want[part.first:part.end], grad[part.first:part.end], states[i])
		}
	}
	if !slices.Equal(tr.weights(), want) {
		t.Errorf("%v apart", apart(tr.weights(), want))
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
		opt.Kernel.SkipNonFinite = true
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

// trainStep takes a step without a loop.
func (tr *training) trainStep(in *inputs) {
	tr.t.Helper()
	_, ins, labels, _ := in.Yield()
	if _, err := tr.trainer.TrainStep(in.variables, ins, labels); err != nil {
		tr.t.Fatal(err)
	}
}

func TestAttachToTrainer(t *testing.T) {
	unattached := func(tr *training) { tr.unattached = true }
	opt := gomlxkernel.New(kernel.GoMLX())
	byHand, attached := newTraining(t, opt, unattached), newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	for range 2 { // twice is once
		opt.AttachToTrainer(byHand.trainer)
	}
	in := newInputs()
	for range 5 {
		byHand.trainStep(in)
		if err := opt.Err(); err != nil {
			t.Fatal(err)
		}
	}
	attached.run(newInputs(), 5)
	if !slices.Equal(byHand.weights(), attached.weights()) {
		t.Errorf("%v apart", apart(byHand.weights(), attached.weights()))
	}

	// An error is returned once, and training continues.
	before := byHand.weights()
	opt.Kernel.Workers = -1
	byHand.trainStep(in)
	if err := opt.Err(); err == nil || !strings.Contains(err.Error(), "Workers = -1") {
		t.Errorf("error %v", err)
	}
	if err := opt.Err(); err != nil {
		t.Errorf("error %v again", err)
	}
	if !slices.Equal(byHand.weights(), before) {
		t.Errorf("moved by %v", apart(byHand.weights(), before))
	}
	opt.Kernel.Workers = 1
	byHand.trainStep(in)
	if err := opt.Err(); err != nil || slices.Equal(byHand.weights(), before) {
		t.Errorf("error %v, or the weights stand still", err)
	}

	// One that nobody asks for makes the next step panic.
	opt.Kernel.Workers = -1
	byHand.trainStep(in)
	defer func() {
		if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), "Workers = -1") {
			t.Errorf("panic %v", err)
		}
	}()
	byHand.trainStep(in)
	t.Error("no panic")
}

// TestSecondLoop trains one Trainer in two loops, of which the second is not
// attached.
func TestSecondLoop(t *testing.T) {
	tr, straight := newTraining(t, gomlxkernel.New(kernel.GoMLX())), newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	in := newInputs()
	tr.run(in, 3)
	tr.loop = train.NewLoop(tr.trainer)
	tr.run(in, 3)
	straight.run(newInputs(), 6)
	if !slices.Equal(tr.weights(), straight.weights()) {
		t.Errorf("%v apart", apart(tr.weights(), straight.weights()))
	}
}

// TestSecondTrainer trains with another Trainer that nobody attached the optimizer
// to: its loop stops, and GoMLX prints why.
func TestSecondTrainer(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt)
	in := newInputs()
	tr.run(in, 3)
	before := tr.weights()
	second := newTraining(t, opt, func(second *training) { second.ctx, second.unattached = tr.ctx, true })
	printed, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	defer printed.Close()
	stdout := os.Stdout
	os.Stdout = printed
	_, err = second.loop.RunSteps(in, 10)
	os.Stdout = stdout
	if err == nil || second.loop.LoopStep > 5 {
		t.Errorf("error %v after %d steps", err, second.loop.LoopStep)
	}
	if text, err := os.ReadFile(printed.Name()); err != nil || !strings.Contains(string(text), "NO STEP IS TAKEN: call AttachTo(loop)") {
		t.Errorf("printed %q, %v", text, err)
	}
	if !slices.Equal(tr.weights(), before) {
		t.Errorf("moved by %v", apart(tr.weights(), before))
	}
}

// TestAttachToExec takes steps without a Trainer, in a graph where the gradients of
// two weights are one node.
func TestAttachToExec(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	ctx := context.New()
	exec := context.MustNewExec(pureGo, ctx, func(ctx *context.Context, x *graph.Node) *graph.Node {
		v := ctx.VariableWithValue("v", []float32{1, 2, 3}).ValueGraph(x.Graph())
		w := ctx.VariableWithValue("w", []float32{4, 5, 6}).ValueGraph(x.Graph())
		gradient := graph.Mul(x, x)
		opt.UpdateGraphWithGradients(ctx, []*graph.Node{gradient, gradient}, dtypes.Float32)
		return graph.Add(v, w)
	})
	for range 2 { // twice is once
		opt.AttachToExec(exec)
	}
	options := kernel.GoMLX()
	want := []float32{1, 2, 3, 4, 5, 6}
	st := options.NewState(len(want))
	for range 10 {
		exec.MustExec([]float32{1, -2, 3})
		if err := opt.Err(); err != nil {
			t.Fatal(err)
		}
		options.LR = float64(float32(0.001)) // as the variable has it
		options.Update(want, []float32{1, 4, 9, 1, 4, 9}, st)
	}
	var got []float32
	for _, name := range []string{"v", "w"} {
		got = append(got, tensors.MustCopyFlatData[float32](ctx.GetVariableByScopeAndName("/", name).MustValue())...)
	}
	if !slices.Equal(got, want) {
		t.Errorf("weights %v, want %v", got, want)
	}
}

// TestNanLoggers attaches a nanlogger before or after the optimizer: it changes the
// order of the messages that loggers after it see.
func TestNanLoggers(t *testing.T) {
	want := newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	want.run(newInputs(), 5)
	for _, before := range []bool{true, false} {
		for _, traced := range []bool{true, false} {
			opt, log := gomlxkernel.New(kernel.GoMLX()), nanlogger.New()
			tr := newTraining(t, opt, func(tr *training) {
				tr.unattached = true
				if traced {
					tr.ctx.SetParam(optimizers.ParamNanLogger, log)
				}
			})
			if before {
				log.AttachToTrainer(tr.trainer)
			}
			opt.AttachTo(tr.loop)
			if !before {
				log.AttachToTrainer(tr.trainer)
			}
			tr.run(newInputs(), 5)
			if !slices.Equal(tr.weights(), want.weights()) {
				t.Errorf("attached before: %v, traced: %v: %v apart", before, traced, apart(tr.weights(), want.weights()))
			}
		}
	}
}

// TestOneScope trains with two optimizers that have one scope: the second continues
// with the state, and the first may not come back.
func TestOneScope(t *testing.T) {
	straight := newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	straight.run(newInputs(), 6)
	in := newInputs()
	first := newTraining(t, gomlxkernel.New(kernel.GoMLX()))
	second := newTraining(t, gomlxkernel.New(kernel.GoMLX()), func(tr *training) { tr.ctx = first.ctx })
	first.run(in, 3)
	second.run(in, 3)
	if !slices.Equal(second.weights(), straight.weights()) {
		t.Errorf("%v apart", apart(second.weights(), straight.weights()))
	}
	_, err := first.loop.RunSteps(in, 1)
	if err == nil || !strings.Contains(err.Error(), `another Optimizer has taken over the scope "KernelOptimizer"`) {
		t.Errorf("error %v", err)
	}
	if !slices.Equal(second.weights(), straight.weights()) {
		t.Error("the weights have moved")
	}
}

// TestRates wants one learning rate to count, or an error.
func TestRates(t *testing.T) {
	type rates struct{ options, context, want float64 } // context 0: no parameter
	for _, test := range []rates{{0.001, 0, 0.001}, {0.01, 0, 0.01}, {0.001, 0.0003, 0.0003}, {0.01, 0.01, 0.01}, {0.01, 0.001, 0}, {0, 0, 0}} {
		options := kernel.GoMLX()
		options.LR = test.options
		opt := gomlxkernel.New(options)
		tr := newTraining(t, opt, func(tr *training) {
			if test.context != 0 {
				tr.ctx.SetParam(optimizers.ParamLearningRate, test.context)
			}
		})
		_, err := tr.loop.RunSteps(newInputs(), 1)
		if (err == nil) != (test.want != 0) {
			t.Errorf("%v: error %v", test, err)
		}
		if err == nil && float32(opt.Kernel.Options.LR) != float32(test.want) {
			t.Errorf("%v: Options.LR = %v", test, opt.Kernel.Options.LR)
		}
	}

	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt)
	tr.run(newInputs(), 1)
	before := tr.weights()
	opt.Kernel.Options.LR = 0.1
	if _, err := tr.loop.RunSteps(newInputs(), 1); err == nil || !strings.Contains(err.Error(), "Options.LR was changed from 0.001") {
		t.Errorf("error %v", err)
	}
	if !slices.Equal(tr.weights(), before) {
		t.Errorf("moved by %v", apart(tr.weights(), before))
	}
}

// TestFromContext makes the optimizer by its name, with GoMLX's hyperparameters.
func TestFromContext(t *testing.T) {
	params := map[string]any{
		optimizers.ParamOptimizer: gomlxkernel.Name, optimizers.ParamLearningRate: 0.003, optimizers.ParamAdamEpsilon: 1e-4,
		optimizers.ParamAdamBeta2: 0.99, optimizers.ParamAdamWeightDecay: 0.01, optimizers.ParamAdamDType: "float32",
		optimizers.ParamAdamBeta1: 0.8,
	}
	run := func(name string) *training {
		ctx := context.New()
		ctx.SetParams(params)
		ctx.SetParam(optimizers.ParamOptimizer, name)
		opt := optimizers.FromContext(ctx)
		tr := newTraining(t, opt, func(tr *training) { tr.ctx, tr.unattached = ctx, true })
		gomlxkernel.Attach(opt, tr.loop)
		tr.run(newInputs(), 50)
		return tr
	}
	for ours, theirs := range map[string]string{gomlxkernel.Name: "rmsprop", gomlxkernel.AdamName: "adam"} {
		a, b := run(ours), run(theirs)
		if d := apart(a.weights(), b.weights()); !(d <= 50*1.2e-7) { // as TestSameAsGoMLX has it with decay
			t.Errorf("%s: %v apart", ours, d)
		}
		if moved := apart(a.weights(), a.initial()); moved < 0.01 {
			t.Errorf("%s: moved by %v", ours, moved)
		}
		if other := run(gomlxkernel.Name); ours != gomlxkernel.Name && apart(a.weights(), other.weights()) < 0.001 {
			t.Errorf("%s is RMSProp", ours)
		}
	}

	// By name, "adamw" is "adam": it has the decay of the hyperparameter, here none.
	delete(params, optimizers.ParamAdamWeightDecay)
	if a, b := run("adamw"), run("adam"); !slices.Equal(a.weights(), b.weights()) {
		t.Error("GoMLX's adamw has a decay of its own: change AdamFromContext and kernel.RMSProp's documentation")
	}

	defer func() {
		if err, ok := recover().(error); !ok || !strings.Contains(err.Error(), `"adam_dtype" = "float64": must be float32`) {
			t.Errorf("panic %v", err)
		}
	}()
	ctx := context.New()
	ctx.SetParam(optimizers.ParamAdamDType, "float64")
	gomlxkernel.FromContext(ctx)
}

// TestClear deletes all variables of the optimizer, and trains again.
func TestClear(t *testing.T) {
	options := kernel.GoMLX()
	options.Centered, options.Momentum = true, 0.5
	opt := gomlxkernel.New(options)
	rate := func(tr *training) { tr.ctx.SetParam(optimizers.ParamLearningRate, 0.003) }
	first := newTraining(t, opt, rate)
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
	if made != 4*len(weights)+3 { // step, mean square, mean gradient, momentum; owner, graphs, taken
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
	second := newTraining(t, opt, rate)
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
		{"not attached", func(tr *training, _ *gomlxkernel.Optimizer) { tr.unattached = true },
			"nothing would take the steps: call AttachTo"},
		{"another Context", func(tr *training, opt *gomlxkernel.Optimizer) { newTraining(tr.t, opt).run(newInputs(), 1) },
			"one Optimizer trains one Context"},
		{"nothing to train", func(tr *training, _ *gomlxkernel.Optimizer) { tr.frozen = true },
			"there are no trainable variables"},
		{"float64", func(tr *training, _ *gomlxkernel.Optimizer) { tr.float64 = true },
			"variable /layer/w is Float64: must be Float32"},
		{"one tensor in two variables", func(tr *training, _ *gomlxkernel.Optimizer) { tr.shared = true },
			"has its tensor in common with another"},
		{"learning rate", func(_ *training, opt *gomlxkernel.Optimizer) { opt.Kernel.Options.LR = -1 }, "LR = -1"},
		{"options", func(_ *training, opt *gomlxkernel.Optimizer) { opt.Kernel.ClipNorm = math.NaN() }, "ClipNorm = NaN"},
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

// TestMomentumLater wants the error to name the weights that have no buffer for it.
func TestMomentumLater(t *testing.T) {
	opt := gomlxkernel.New(kernel.GoMLX())
	tr := newTraining(t, opt)
	tr.run(newInputs(), 1)
	before := tr.weights()
	opt.Kernel.Options.Momentum = 0.9
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
	tr := newTraining(t, opt, func(tr *training) { tr.unattached = true })
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
	exec := context.MustNewExec(distributing{pureGo}, context.New(), func(ctx *context.Context, x *graph.Node) *graph.Node {
		ctx.VariableWithValue("w", float32(1)).ValueGraph(x.Graph())
		opt.UpdateGraphWithGradients(ctx, []*graph.Node{x}, dtypes.Float32)
		return x
	}).SPMD(mesh)
	opt.AttachToExec(exec)
	if _, err := exec.Exec(float32(1)); err == nil || !strings.Contains(err.Error(), "distributed training (SPMD) is not supported") {
		t.Errorf("error %v", err)
	}
}
