package main

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/backends"
	"github.com/gomlx/gomlx/backends/simplego"
	"github.com/gomlx/gomlx/pkg/core/tensors"

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

// TestSideBySide trains as the program does, and wants nearly the same loss in each
// epoch, and in the end as many digits read.
func TestSideBySide(t *testing.T) {
	t.Run("RMSProp", func(t *testing.T) { testSideBySide(t, false, 0.00005) })
	// In the third step a hidden unit's sum is so near to 0 that the rounding decides whether
	// it lights up. That unit's weights then differ by LR at once.
	t.Run("Adam", func(t *testing.T) { testSideBySide(t, true, 0.003) })
}

func testSideBySide(t *testing.T, adam bool, limit float64) {
	backend, images, held := load(t)
	gomlxs, kernels := choose(adam)
	theirs := newTraining(backend, images, "theirs", gomlxs)
	ours := newTraining(backend, images, "ours", kernels)
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
		if a, b := ours.Losses[i], theirs.Losses[i]; !(math.Abs(a-b) <= limit) {
			t.Errorf("epoch %d: loss %v, GoMLX's %v", i+1, a, b)
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
