// Command example trains a network to read the digits twice, with GoMLX's
// RMSProp and with the kernel's, side by side. With -adam it is Adam.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/context"
	"github.com/gomlx/gomlx/pkg/ml/train"
	"github.com/gomlx/gomlx/pkg/ml/train/losses"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"

	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
	"github.com/seed57504d97/kernel/internal/digits"
)

const (
	epochs = 15
	batch  = 32
)

func main() {
	adam := flag.Bool("adam", false, "train with Adam instead of RMSProp")
	flag.Parse()
	if err := run(*adam); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// choose returns GoMLX's optimizer and the kernel's.
func choose(adam bool) (theirs, ours optimizers.Interface) {
	if adam {
		return optimizers.Adam().Done(), gomlxkernel.New(kernel.GoMLXAdam())
	}
	return optimizers.RMSProp().Done(), gomlxkernel.New(kernel.GoMLX())
}

func run(adam bool) error {
	images, held := digits.Load()
	backend, err := simplego.New("")
	if err != nil {
		return err
	}
	gomlxs, kernels := choose(adam)
	theirs := newTraining(backend, images, "GoMLX", gomlxs)
	ours := newTraining(backend, images, "gomlxkernel", kernels)

	// By turns, so that other load on the machine slows both.
	for range epochs {
		for _, t := range []*training{theirs, ours} {
			if err := t.epoch(); err != nil {
				return err
			}
		}
	}
	for _, t := range []*training{theirs, ours} {
		if t.Accuracy, err = t.accuracy(held); err != nil {
			return err
		}
		t.Time = t.time()
	}
	digits.Print(os.Stdout, &theirs.Training, &ours.Training)
	fmt.Printf("\nTimes are the median step's, times %d.\n", len(ours.steps))
	return nil
}

// training trains a new network.
type training struct {
	digits.Training
	backend backends.Backend
	ctx     *context.Context
	loop    *train.Loop
	data    *batches
	steps   []time.Duration // that each has taken
}

func newTraining(backend backends.Backend, images *digits.Set, name string, opt optimizers.Interface) *training {
	ctx := context.New()
	trainer := train.NewTrainer(backend, ctx, network, losses.SparseCategoricalCrossEntropyLogits, opt, nil, nil)
	t := &training{digits.Training{Name: name}, backend, ctx, train.NewLoop(trainer), &batches{set: images}, nil}
	gomlxkernel.Attach(opt, t.loop)
	t.loop.OnStep("loss", 0, func(_ *train.Loop, metrics []*tensors.Tensor) error {
		t.Losses[len(t.Losses)-1] += float64(tensors.ToScalar[float32](metrics[0]))
		return nil
	})
	return t
}

// epoch trains for one.
func (t *training) epoch() error {
	t.Losses = append(t.Losses, 0)
	if _, err := t.loop.RunEpochs(t.data, 1); err != nil {
		return err
	}
	t.Losses[len(t.Losses)-1] /= float64(len(t.loop.TrainStepDurations))
	t.steps = append(t.steps, t.loop.TrainStepDurations...)
	return nil
}

func (t *training) time() time.Duration {
	sorted := slices.Sorted(slices.Values(t.steps))
	return sorted[len(sorted)/2] * time.Duration(len(sorted))
}

// accuracy is the share of images whose digit gets the highest score.
func (t *training) accuracy(set *digits.Set) (float64, error) {
	all := set.All()
	images, _ := batchTensors(all)
	scores, err := context.ExecOnce(t.backend, t.ctx.Reuse(), scores, images)
	if err != nil {
		return 0, err
	}
	return all.Accuracy(tensors.MustCopyFlatData[float32](scores)), nil
}
