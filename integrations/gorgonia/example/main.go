// Command example trains a network to read the digits twice, with Gorgonia's own
// RMSProp solver and with the kernel's, and prints side by side how that goes. With
// -adam it is the Adam solvers.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/seed57504d97/kernel"
	gorgoniakernel "github.com/seed57504d97/kernel/integrations/gorgonia"
	"github.com/seed57504d97/kernel/internal/digits"
	"gorgonia.org/gorgonia"
)

const (
	epochs = 15
	batch  = 32
)

func main() {
	adam := flag.Bool("adam", false, "train with Adam instead of RMSProp")
	flag.Parse()
	if err := run(os.Stdout, *adam); err != nil {
		fmt.Fprintln(os.Stderr, "example:", err)
		os.Exit(1)
	}
}

// solvers returns Gorgonia's solver and the kernel's.
func solvers(adam bool) (theirs, ours gorgonia.Solver) {
	if adam {
		return gorgonia.NewAdamSolver(), gorgoniakernel.AdamFromGorgonia().AsSolver()
	}
	return gorgonia.NewRMSPropSolver(), gorgoniakernel.FromGorgonia().AsSolver()
}

func run(stdout io.Writer, adam bool) error {
	gorgonias, kernels := solvers(adam)
	theirs, err := train(newWeights(), gorgonias, 0, epochs)
	if err != nil {
		return err
	}
	ours, err := train(newWeights(), kernels, 0, epochs)
	if err != nil {
		return err
	}
	theirs.Name, ours.Name = "gorgonia", "kernel, "+kernel.ISA()
	digits.Print(stdout, theirs, ours)
	return nil
}

// train trains the network with the weights w, in epochs from first to before last.
func train(w *weights, solver gorgonia.Solver, first, last int) (*digits.Training, error) {
	images, held := digits.Load()
	n, err := newNetwork(w, batch, true)
	if err != nil {
		return nil, err
	}
	defer n.vm.Close()
	start, t := time.Now(), &digits.Training{}
	for epoch := first; epoch < last; epoch++ {
		sum, batches := 0.0, 0
		for set := range images.Batches(epoch, batch) {
			if err := n.run(set); err != nil {
				return nil, err
			}
			sum += float64(n.loss.Data().(float32))
			batches++
			before := time.Now()
			if err := solver.Step(gorgonia.NodesToValueGrads(n.learnables)); err != nil {
				return nil, err
			}
			t.Optimizer += time.Since(before)
		}
		t.Losses = append(t.Losses, sum/float64(batches))
	}
	t.Time = time.Since(start)

	test, err := newNetwork(w, len(held.Labels), false)
	if err != nil {
		return nil, err
	}
	defer test.vm.Close()
	all := held.All()
	if err := test.run(all); err != nil {
		return nil, err
	}
	t.Accuracy = all.Accuracy(test.p.Data().([]float32))
	return t, nil
}
