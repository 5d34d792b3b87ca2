package main

import (
	"bytes"
	"encoding/gob"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/seed57504d97/kernel"
	gorgoniakernel "github.com/seed57504d97/kernel/integrations/gorgonia"
	"github.com/seed57504d97/kernel/internal/digits"
	"gorgonia.org/gorgonia"
)

func mustTrain(t testing.TB, w *weights, solver gorgonia.Solver, first, last int) *digits.Training {
	t.Helper()
	training, err := train(w, solver, first, last)
	if err != nil {
		t.Fatal(err)
	}
	return training
}

// elements are all parameters, one after the other.
func (w *weights) elements() (all []float32) {
	for _, v := range w.tensors() {
		all = append(all, v...)
	}
	return all
}

func (w *weights) tensors() [][]float32 {
	return [][]float32{w.w1.Float32s(), w.b1.Float32s(), w.w2.Float32s(), w.b2.Float32s()}
}

// equal reports whether two networks have the same bits, and no NaN.
func equal(a, b *weights) bool { return slices.Equal(a.elements(), b.elements()) }

func TestSideBySide(t *testing.T) {
	t.Run("RMSProp", func(t *testing.T) { testSideBySide(t, false, 0.00005, 1, 0.1) })
	// Gorgonia subtracts Adam's beta2 from 1 in float32, and so averages by a share that is off
	// by 1.3e-5 of itself.
	t.Run("Adam", func(t *testing.T) { testSideBySide(t, true, 0.0002, 2.2, 0.2) })
}

// testSideBySide wants losses within limit of each other, and at most first and last in
// the first and the last epoch.
func testSideBySide(t *testing.T, adam bool, limit, first, last float64) {
	gorgonias, kernels := solvers(adam)
	theirs := mustTrain(t, newWeights(), gorgonias, 0, epochs)
	ours := mustTrain(t, newWeights(), kernels, 0, epochs)
	most := 0.0
	for epoch := range epochs {
		d := math.Abs(theirs.Losses[epoch] - ours.Losses[epoch])
		if !(d < limit) {
			t.Errorf("epoch %d: losses %v and %v", epoch+1, theirs.Losses[epoch], ours.Losses[epoch])
		}
		most = max(most, d)
	}
	t.Logf("the losses differ by %.2g at most, accuracy %.2f%%", most, 100*ours.Accuracy)
	if theirs.Accuracy != ours.Accuracy {
		t.Errorf("accuracies %v and %v", theirs.Accuracy, ours.Accuracy)
	}
	// Guessing has a loss of log(10) = 2.3 and an accuracy of 10%.
	if ours.Losses[0] < 0.5 || ours.Losses[0] > first || ours.Losses[epochs-1] > last || ours.Accuracy < 0.95 {
		t.Errorf("not trained: %+v", ours)
	}
}

func TestRun(t *testing.T) {
	var stdout strings.Builder
	if err := run(&stdout, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" gorgonia ", " kernel, " + kernel.ISA() + "\n", "\nloss, epoch 15 ", "\nin optimizer "} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, stdout.String())
		}
	}
}

// Every implementation and number of workers ends in the same weights.
func TestImplementations(t *testing.T) {
	before := kernel.ISA()
	t.Cleanup(func() { kernel.SetISA(before) })
	want := newWeights()
	mustTrain(t, want, gorgoniakernel.FromGorgonia(gorgoniakernel.WithWorkers(1)).AsSolver(), 0, epochs)
	if equal(want, newWeights()) {
		t.Fatal("the weights have not moved, or are NaN")
	}
	for _, name := range kernel.ISAs() {
		t.Run(name, func(t *testing.T) {
			if err := kernel.SetISA(name); err != nil {
				t.Fatal(err)
			}
			w := newWeights()
			mustTrain(t, w, gorgoniakernel.FromGorgonia(gorgoniakernel.WithWorkers(2)).AsSolver(), 0, epochs)
			if !equal(w, want) {
				t.Error("other weights than with " + before)
			}
		})
	}
}

// A training that was saved and goes on in another program ends as one that was
// never interrupted.
func TestResume(t *testing.T) {
	rmsprop := kernel.RMSProp{LR: 0.001, Rho: 0.9, Eps: 1e-4, Momentum: 0.9, Centered: true, BiasCorrection: true}
	want := newWeights()
	mustTrain(t, want, gorgoniakernel.New(rmsprop).AsSolver(), 0, 6)

	w, solver := newWeights(), gorgoniakernel.New(rmsprop)
	mustTrain(t, w, solver.AsSolver(), 0, 3)
	var saved bytes.Buffer
	encoder := gob.NewEncoder(&saved)
	if err := encoder.Encode(w.tensors()); err != nil {
		t.Fatal(err)
	}
	if err := encoder.Encode(solver.States); err != nil {
		t.Fatal(err)
	}

	w, solver = newWeights(), gorgoniakernel.New(rmsprop)
	var tensors [][]float32
	decoder := gob.NewDecoder(&saved)
	if err := decoder.Decode(&tensors); err != nil {
		t.Fatal(err)
	}
	for i, v := range w.tensors() {
		copy(v, tensors[i])
	}
	if err := decoder.Decode(&solver.States); err != nil {
		t.Fatal(err)
	}
	mustTrain(t, w, solver.AsSolver(), 3, 6)
	if !equal(w, want) {
		t.Error("resumed, the training ends in other weights")
	}
	if names := slices.Sorted(maps.Keys(solver.States)); !slices.Equal(names, []string{"b1", "b2", "w1", "w2"}) {
		t.Errorf("states of %q", names)
	}
}

// What share of a training is spent in its optimizer.
func BenchmarkTraining(b *testing.B) {
	for _, bench := range []struct {
		name   string
		solver func() gorgonia.Solver
	}{
		{"gorgonia", func() gorgonia.Solver { return gorgonia.NewRMSPropSolver() }},
		{"kernel", func() gorgonia.Solver { return gorgoniakernel.FromGorgonia().AsSolver() }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var all digits.Training
			for b.Loop() {
				training := mustTrain(b, newWeights(), bench.solver(), 0, epochs)
				all.Time += training.Time
				all.Optimizer += training.Optimizer
			}
			b.ReportMetric(100*all.Optimizer.Seconds()/all.Time.Seconds(), "%optimizer")
		})
	}
}
