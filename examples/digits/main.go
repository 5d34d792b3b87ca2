// Digits trains a small neural network on images of handwritten digits, with
// [kernel.Update] as the optimizer, and shows after each pass over the images
// how well it does.
//
//	go run ./examples/digits [flags]
//
// It has its images with it. With -data DIR it takes those of MNIST or
// Fashion-MNIST from that folder instead. -help lists the flags.
//
// The weights that it ends in depend on the images, the flags and the seed and
// on nothing else: the hash on the last line is the same on every machine and
// for every implementation that KERNEL_ISA can name.
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

// run is main for any arguments and output. It returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // package flag has said why
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(stderr, "digits:", err)
		return 1
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
	train, test, err := load(o.data)
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(o.seed, 0))
	inputs := train.rows * train.cols
	n := newNetwork(inputs, o.hidden, rng)
	fmt.Fprintf(stdout, "%s: %d images of %dx%d pixels to train on, %d to test; network %d-%d-%d, %d parameters; kernel %s\n",
		train.name, len(train.labels), train.rows, train.cols, len(test.labels),
		inputs, o.hidden, classes, len(n.theta), kernel.ISA())
	fmt.Fprintf(stdout, "batch %d, lr %v falling to 0, rho %v, eps %v, seed %d\n", o.batch, o.lr, o.rho, o.eps, o.seed)

	order := rng.Perm(len(train.labels))
	var accuracy float64
	for epoch := range o.epochs {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		// Smaller and smaller steps let the weights settle: at a constant rate
		// the accuracy would swing by a percent from epoch to epoch.
		lr := o.lr * float64(o.epochs-epoch) / float64(o.epochs)
		var loss float64
		var inUpdate time.Duration
		for batch := range slices.Chunk(order, o.batch) {
			loss += n.gradient(train, batch)
			before := time.Now()
			kernel.Update(n.theta, n.grad, n.s, lr, o.rho, o.eps)
			inUpdate += time.Since(before)
		}
		if !n.finite() {
			return fmt.Errorf("the weights overflowed in epoch %d: use a smaller -lr or a larger -eps", epoch+1)
		}
		accuracy = n.accuracy(test)
		fmt.Fprintf(stdout, "epoch %*d  loss %.4f  test accuracy %.2f%%  in Update %v\n",
			len(fmt.Sprint(o.epochs)), epoch+1, loss/float64(len(order)), 100*accuracy, inUpdate.Round(time.Microsecond))
	}
	fmt.Fprintf(stdout, "final test accuracy %.2f%%, total time %v\n", 100*accuracy, time.Since(start).Round(time.Millisecond))
	fmt.Fprintf(stdout, "sha256 of the weights %x\n", n.hash())
	return nil
}

// options are what the flags set.
type options struct {
	epochs, batch, hidden int
	lr, rho, eps          float64
	seed                  uint64
	data                  string
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("digits", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.epochs, "epochs", 30, "passes over the images; with -data: 8")
	f.IntVar(&o.batch, "batch", 32, "images a step; with -data: 64")
	f.IntVar(&o.hidden, "hidden", 64, "hidden units")
	f.Float64Var(&o.lr, "lr", 0.01, "learning rate at the start; with -data: 0.002")
	f.Float64Var(&o.rho, "rho", 0.9, "share of the old mean square that a step keeps")
	f.Float64Var(&o.eps, "eps", 1e-7, "what is added to the mean square")
	f.Uint64Var(&o.seed, "seed", 1, "what the first weights and the order of the images are drawn from")
	f.StringVar(&o.data, "data", "", "train on the MNIST or Fashion-MNIST files in `folder`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, "digits:", err)
		return nil, err
	}
	if o.data != "" {
		given := map[string]bool{}
		f.Visit(func(f *flag.Flag) { given[f.Name] = true })
		for name, value := range map[string]string{"epochs": "8", "batch": "64", "lr": "0.002"} {
			if !given[name] {
				f.Set(name, value)
			}
		}
	}
	return o, nil
}

const maxHidden = 1 << 10 // more would only take long

func (o *options) check() (err error) {
	switch {
	case o.epochs < 1:
		return fmt.Errorf("-epochs %d: must be 1 or more", o.epochs)
	case o.batch < 1:
		return fmt.Errorf("-batch %d: must be 1 or more", o.batch)
	case o.hidden < 1 || o.hidden > maxHidden:
		return fmt.Errorf("-hidden %d: must be 1 to %d", o.hidden, maxHidden)
	}
	// Update knows what the rest may be, and says so where there is nothing to
	// update, too.
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *kernel.ArgumentError:
			err = p
		default:
			panic(p)
		}
	}()
	kernel.Update(nil, nil, nil, o.lr, o.rho, o.eps)
	return nil
}
