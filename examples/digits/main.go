// Digits trains a small neural network on images of handwritten digits, with
// [kernel.Optimizer], and shows after each pass over the images how well it does.
//
//	go run ./examples/digits [flags]
//
// The images are part of the program. With -data DIR it trains on those of MNIST or
// Fashion-MNIST in that folder instead. -optimizer selects the conventions of a
// framework. -save saves the training after each epoch, and -resume continues it.
// -help lists the flags.
//
// The final weights depend on nothing but the images, the flags and the seed: the
// hash on the last line is the same on every machine and for every implementation
// that KERNEL_ISA can name.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/seed57504d97/kernel"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its arguments and outputs as parameters. It returns the exit
// status.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // package flag has printed why
	}
	if err := learn(o, stdout); err != nil {
		fmt.Fprintln(stderr, "digits:", err)
		return 1
	}
	return 0
}

// learn trains a network as the options say and prints how it goes.
func learn(o *options, stdout io.Writer) error {
	start := time.Now()
	var from *checkpoint
	if o.resume != "" {
		var err error
		if from, err = readCheckpoint(o.resume); err != nil {
			return err
		}
		if err := o.restore(from.Flags); err != nil {
			return fmt.Errorf("%s: %w", o.resume, err)
		}
	}
	if err := o.complete(); err != nil {
		return err
	}
	train, test, err := load(o.data)
	if err != nil {
		return err
	}
	inputs := train.rows * train.cols
	random := rand.NewPCG(o.seed, 0)
	rng := rand.New(random)
	n := newNetwork(inputs, o.hidden, rng)
	rmsprop := o.rmsprop()
	c := &checkpoint{
		Flags:  o.kept(),
		Images: describe(train, test),
		Random: random,
		Order:  rng.Perm(len(train.labels)),
		Theta:  n.theta,
		State:  rmsprop.NewState(len(n.theta)),
	}
	if from != nil {
		if err := c.restore(from); err != nil {
			return fmt.Errorf("%s: %w", o.resume, err)
		}
	}
	optimizer := o.newOptimizer()
	params := []kernel.Param{{Theta: n.theta, Grad: n.grad, State: c.State}}
	if o.save != "" { // also before the first epoch, to fail early
		if err := c.write(o.save); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "%s: %d images of %dx%d pixels to train on, %d to test; network %d-%d-%d, %d parameters; kernel %s\n",
		train.name, len(train.labels), train.rows, train.cols, len(test.labels),
		inputs, o.hidden, classes, len(n.theta), kernel.ISA())
	fmt.Fprintln(stdout, o)
	if from != nil {
		fmt.Fprintf(stdout, "resumed from %s after epoch %d of %d\n", o.resume, c.Epoch, o.epochs)
	}

	var accuracy float64
	if c.Epoch >= o.epochs { // resumed when it was done
		accuracy = n.accuracy(test)
	}
	for c.Epoch < o.epochs {
		order := c.Order
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		// Smaller and smaller steps let the weights settle: at a constant rate the
		// accuracy changes by a percent from epoch to epoch.
		optimizer.Options.LR = o.lr * float64(o.epochs-c.Epoch) / float64(o.epochs)
		var loss float64
		var inStep time.Duration
		skipped := 0
		for batch := range slices.Chunk(order, o.batch) {
			loss += n.gradient(train, batch, float32(o.lossScale))
			before := time.Now()
			report, err := optimizer.Step(params)
			if err != nil {
				return err
			}
			inStep += time.Since(before)
			if report.Skipped {
				skipped++
			}
		}
		c.Epoch++
		if !n.finite() {
			return fmt.Errorf("the weights overflowed in epoch %d: use a smaller -lr or a larger -eps", c.Epoch)
		}
		if o.save != "" {
			if err := c.write(o.save); err != nil {
				return err
			}
		}
		accuracy = n.accuracy(test)
		line := fmt.Sprintf("epoch %*d  loss %.4f  test accuracy %.2f%%  in Step %v",
			len(fmt.Sprint(o.epochs)), c.Epoch, loss/float64(len(order)), 100*accuracy, inStep.Round(time.Microsecond))
		if skipped > 0 {
			line += fmt.Sprintf("  skipped %d", skipped)
		}
		fmt.Fprintln(stdout, line)
	}
	fmt.Fprintf(stdout, "final test accuracy %.2f%%, total time %v\n", 100*accuracy, time.Since(start).Round(time.Millisecond))
	fmt.Fprintf(stdout, "sha256 of the weights %x\n", n.hash())
	return nil
}
