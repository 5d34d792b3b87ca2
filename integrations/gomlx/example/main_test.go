package main

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/tensors"
	"github.com/gomlx/gomlx/pkg/ml/train/optimizers"

	"github.com/seed57504d97/kernel"
	gomlxkernel "github.com/seed57504d97/kernel/integrations/gomlx"
	"github.com/seed57504d97/kernel/internal/digits"
)

func load(t *testing.T) (backend backends.Backend, images, held *digits.Set) {
	t.Helper()
	backend, err := simplego.New("ops_sequential") // as in the tests of the package
	if err != nil {
		t.Fatal(err)
	}
	images, held = digits.Load()
	return backend, images, held
}

// TestSideBySide trains as the program does, and wants the same to four digits:
// the loss of each epoch, and in the end as many digits read.
func TestSideBySide(t *testing.T) {
	backend, images, held := load(t)
	theirs := newTraining(backend, images, "theirs", optimizers.RMSProp().Done())
	ours := newTraining(backend, images, "ours", gomlxkernel.New(kernel.GoMLX()))
	for _, tr := range []*training{theirs, ours} {
		for range epochs {
			if err := tr.epoch(); err != nil {
				t.Fatal(err)
			}
		}
		var err error
		if tr.Accuracy, err = tr.accuracy(held); err != nil {
			t.Fatal(err)
		}
	}
	for i := range epochs {
		if a, b := fmt.Sprintf("%.4f", ours.Losses[i]), fmt.Sprintf("%.4f", theirs.Losses[i]); a != b {
			t.Errorf("epoch %d: loss %s, GoMLX's %s", i+1, a, b)
		}
	}
	if ours.Accuracy != theirs.Accuracy || ours.Accuracy < 0.95 {
		t.Errorf("accuracy %v, GoMLX's %v", ours.Accuracy, theirs.Accuracy)
	}
	if first, last := ours.Losses[0], ours.Losses[epochs-1]; last > first/10 {
		t.Errorf("loss from %v to %v", first, last)
	}
}

// TestImplementations trains with each one that this machine has. The weights end as
// the same bits.
func TestImplementations(t *testing.T) {
	backend, images, _ := load(t)
	before := kernel.ISA()
	defer kernel.SetISA(before)
	var want []float32
	for _, isa := range kernel.ISAs() {
		if err := kernel.SetISA(isa); err != nil {
			t.Fatal(err)
		}
		tr := newTraining(backend, images, isa, gomlxkernel.New(kernel.GoMLX()))
		for range 3 {
			if err := tr.epoch(); err != nil {
				t.Fatal(err)
			}
		}
		var got []float32
		for v := range tr.ctx.IterVariables() {
			if v.Trainable {
				got = append(got, tensors.MustCopyFlatData[float32](v.MustValue())...)
			}
		}
		if want == nil {
			want = got
		}
		if len(got) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s: other weights than %s's", isa, kernel.ISAs()[0])
		}
	}
}
