package gomlxkernel_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/context/checkpoints"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers/cosineschedule"
	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
)

// TestResume stops a training in the middle and goes on from GoMLX's checkpoint
// with everything new: the weights end as without the interruption, bit for bit.
func TestResume(t *testing.T) {
	all := kernel.GoMLX()
	all.Centered, all.Momentum, all.WeightDecay, all.InitialMeanSquare = true, 0.9, 0.01, 0.5
	for _, test := range []struct {
		name       string
		options    kernel.RMSProp
		accumulate int
		immediate  bool
	}{{"defaults", kernel.GoMLX(), 0, false}, {"AdamW", adamW(0.004), 0, false}, {"all state", all, 0, false}, {"accumulated gradients", kernel.GoMLX(), 4, false}, {"immediate", all, 0, true}} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			schedule := func(tr *training) {
				tr.accumulate = test.accumulate
				tr.ctx.SetParam(optimizers.ParamLearningRate, 0.003)
				tr.ctx.SetParam(cosineschedule.ParamPeriodSteps, 15)
			}
			saved := func(tr *training) {
				schedule(tr)
				config := checkpoints.Build(tr.ctx).Dir(dir)
				if test.immediate {
					config.Immediate()
				}
				tr.handler = config.MustDone()
			}
			straight := newTraining(t, gomlxkernel.New(test.options), schedule)
			straight.run(newInputs(), 40)

			in := newInputs()
			first := newTraining(t, gomlxkernel.New(test.options), saved)
			// The hook of a checkpoint runs after the step, however early it is.
			first.loop.OnStep("save", -1<<62, func(loop *train.Loop, m []*tensors.Tensor) error {
				if loop.LoopStep != 19 {
					return nil
				}
				return first.handler.OnStepFn(loop, m)
			})
			first.run(in, 20)
			second := newTraining(t, gomlxkernel.New(test.options), saved)
			second.run(in, 20)

			if second.loop.LoopStep != 40 {
				t.Errorf("at step %d", second.loop.LoopStep)
			}
			if !slices.Equal(second.weights(), straight.weights()) {
				t.Errorf("%v apart", apart(second.weights(), straight.weights()))
			}
		})
	}
}

// TestCheckpointVariables checks what is saved.
func TestCheckpointVariables(t *testing.T) {
	for _, options := range []kernel.RMSProp{kernel.GoMLX(), kernel.GoMLXAdam()} {
		testCheckpointVariables(t, options)
	}
}

func testCheckpointVariables(t *testing.T, options kernel.RMSProp) {
	dir := t.TempDir()
	tr := newTraining(t, gomlxkernel.New(options), func(tr *training) {
		tr.handler = checkpoints.Build(tr.ctx).Dir(dir).MustDone()
	})
	tr.run(newInputs(), 3)
	if err := tr.handler.Save(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range checkpoints.Build(context.New()).Dir(dir).MustDone().LoadedVariables() {
		if strings.Contains(name, "KernelOptimizer") {
			names = append(names, strings.TrimPrefix(name, "var:/KernelOptimizer/"))
		}
	}
	slices.Sort(names)
	want := []string{"graphs", "layer/deeper/b_mean_square", "layer/deeper/b_step", "layer/w_mean_square", "layer/w_step",
		"scale_mean_square", "scale_step", "taken"}
	if options.FirstMoment != 0 {
		want = append(want, "layer/deeper/b_mean_gradient", "layer/w_mean_gradient", "scale_mean_gradient")
		slices.Sort(want)
	}
	if !slices.Equal(names, want) {
		t.Errorf("saved %q, want %q", names, want)
	}
}
