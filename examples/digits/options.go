package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed57504d97/kernel"
)

// options are what the flags set.
type options struct {
	epochs, batch, hidden  int
	optimizer              string
	lr, rho, eps, momentum float64
	clip, lossScale        float64
	centered               bool
	workers                int
	seed                   uint64
	data, save, resume     string

	flags *flag.FlagSet
}

// presets are what -optimizer names. Keras's RMSprop without its options has the
// formula, and the bits, of kernel.Update.
var presets = map[string]func() kernel.RMSProp{
	"update":     kernel.Keras,
	"keras":      kernel.Keras,
	"pytorch":    kernel.PyTorch,
	"tensorflow": kernel.TensorFlow,
	"optax":      kernel.Optax,
	"gorgonia":   kernel.Gorgonia,
	"gomlx":      kernel.GoMLX,
	"adam":       kernel.Adam,
	"adamw":      kernel.AdamW,
}

func parse(args []string, stderr io.Writer) (*options, error) {
	f := flag.NewFlagSet("digits", flag.ContinueOnError)
	o := &options{flags: f}
	f.SetOutput(stderr)
	f.IntVar(&o.epochs, "epochs", 30, "passes over the images; with -data: 8")
	f.IntVar(&o.batch, "batch", 32, "images a step; with -data: 64")
	f.IntVar(&o.hidden, "hidden", 64, "hidden units")
	f.StringVar(&o.optimizer, "optimizer", "update", "whose formula the steps follow: update for that of kernel.Update, or\n"+
		"keras, pytorch, tensorflow, optax, gorgonia or gomlx, or adam or adamw, the `name`")
	f.Float64Var(&o.lr, "lr", 0.01, "learning rate at the start; with -data: 0.002")
	f.Float64Var(&o.rho, "rho", 0.9, "share of the old mean square that a step keeps; pytorch: 0.99,\n"+
		"gorgonia, gomlx, adam and adamw: 0.999")
	f.Float64Var(&o.eps, "eps", 1e-7, "what is added to the mean square, by pytorch, gomlx, adam and adamw to its root;\n"+
		"pytorch, optax, gorgonia, adam and adamw: 1e-8, tensorflow: 1e-10")
	f.Float64Var(&o.momentum, "momentum", 0, "share of the last step that is kept; not with update, adam and adamw")
	f.BoolVar(&o.centered, "centered", false, "divide by an estimate of the standard deviation; not with update, adam and adamw")
	f.IntVar(&o.workers, "workers", 1, "goroutines that share a step, 0 for one a core")
	f.Float64Var(&o.clip, "clip", 0, "largest norm of the gradient, 0 for no limit")
	f.Float64Var(&o.lossScale, "loss-scale", 1, "what the loss is multiplied by before the gradient is taken, and the gradient\n"+
		"divided by in the step, which is skipped if the gradient has overflowed")
	f.Uint64Var(&o.seed, "seed", 1, "what the first weights and the order of the images are drawn from")
	f.StringVar(&o.data, "data", "", "train on the MNIST or Fashion-MNIST files in `folder`")
	f.StringVar(&o.save, "save", "", "save the training to `file` after each epoch")
	f.StringVar(&o.resume, "resume", "", "continue the training in `file`, with its flags")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", f.Arg(0))
		fmt.Fprintln(stderr, "digits:", err)
		return nil, err
	}
	return o, nil
}

// given returns the names of the flags that the user has set.
func (o *options) given() map[string]bool {
	given := map[string]bool{}
	o.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// kept returns the flags that the weights depend on, to be saved with them.
func (o *options) kept() map[string]string {
	kept := map[string]string{}
	o.flags.VisitAll(func(f *flag.Flag) { kept[f.Name] = f.Value.String() })
	for _, name := range []string{"workers", "save", "resume"} {
		delete(kept, name)
	}
	if path, err := filepath.Abs(o.data); err == nil && o.data != "" {
		kept["data"] = path // the training may be resumed in another folder
	}
	return kept
}

// restore sets the flags that were not given to the kept ones. Those that were given
// must not contradict them, except -data: the images may have moved, and are
// compared themselves.
func (o *options) restore(kept map[string]string) error {
	given := o.given()
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		f, value := o.flags.Lookup(name), kept[name]
		switch {
		case f == nil:
			return fmt.Errorf("saved with -%s, which is unknown", name)
		case !given[name]:
			if err := f.Value.Set(value); err != nil {
				return fmt.Errorf("saved with -%s %s: %w", name, value, err)
			}
		case name != "data" && f.Value.String() != value:
			wrong = append(wrong, fmt.Sprintf("-%s %s, not %s", name, value, f.Value))
		}
	}
	if wrong != nil {
		return errors.New("saved with " + strings.Join(wrong, "; "))
	}
	return nil
}

const maxHidden = 1 << 10 // more would only take longer

// complete sets the flags whose default depends on others, and checks all.
func (o *options) complete() error {
	preset, known := presets[o.optimizer]
	if !known {
		return fmt.Errorf("-optimizer %s: must be one of %s", o.optimizer,
			strings.Join(slices.Sorted(maps.Keys(presets)), ", "))
	}
	if o.resume == "" {
		given := o.given()
		defaults := map[string]any{"rho": preset().Rho, "eps": preset().Eps}
		if o.data != "" {
			defaults["epochs"], defaults["batch"], defaults["lr"] = 8, 64, 0.002
		}
		for name, value := range defaults {
			if !given[name] {
				o.flags.Set(name, fmt.Sprint(value))
			}
		}
	}

	alone := o.optimizer == "update" || preset().FirstMoment != 0
	switch {
	case o.epochs < 1:
		return fmt.Errorf("-epochs %d: must be 1 or more", o.epochs)
	case o.batch < 1:
		return fmt.Errorf("-batch %d: must be 1 or more", o.batch)
	case o.hidden < 1 || o.hidden > maxHidden:
		return fmt.Errorf("-hidden %d: must be 1 to %d", o.hidden, maxHidden)
	case o.workers < 0:
		return fmt.Errorf("-workers %d: must be 0 or more", o.workers)
	case !(o.clip >= 0):
		return fmt.Errorf("-clip %v: must be 0 or more", o.clip)
	case o.rho == 0 && o.eps == 0:
		return errors.New("-rho 0, -eps 0: one must be above 0: without both, a step is lr in the direction of the gradient's sign")
	case alone && o.momentum != 0:
		return fmt.Errorf("-momentum %v: needs another -optimizer than %s", o.momentum, o.optimizer)
	case alone && o.centered:
		return fmt.Errorf("-centered: needs another -optimizer than %s", o.optimizer)
	}
	rmsprop := o.rmsprop()
	rmsprop.LossScale = o.lossScale
	var wrong *kernel.ArgumentError
	if !errors.As(rmsprop.Validate(), &wrong) {
		return nil
	}
	flags := map[string]string{"LR": "lr", "Rho": "rho", "Eps": "eps", "Momentum": "momentum", "LossScale": "loss-scale"}
	var problems []string
	for _, w := range append([]*kernel.ArgumentError{wrong}, wrong.Others...) {
		problems = append(problems, fmt.Sprintf("-%s %v: must be %s", flags[w.Name], w.Value, w.Want))
	}
	return errors.New(strings.Join(problems, "; "))
}

// rmsprop returns the options that -optimizer names, changed by the other flags.
func (o *options) rmsprop() kernel.RMSProp {
	r := presets[o.optimizer]()
	r.LR, r.Rho, r.Eps = o.lr, o.rho, o.eps
	r.Momentum, r.Centered = o.momentum, o.centered
	return r
}

// newOptimizer returns the optimizer. It sets the gradient to zero after each step,
// because the next batch adds to it.
func (o *options) newOptimizer() *kernel.Optimizer {
	return &kernel.Optimizer{
		Options:       o.rmsprop(),
		Workers:       o.workers,
		LossScale:     o.lossScale,
		ClipNorm:      o.clip,
		SkipNonFinite: o.lossScale != 1,
		ZeroGrad:      true,
	}
}

// String returns the line that says how the network is trained.
func (o *options) String() string {
	s := fmt.Sprintf("batch %d, lr %v falling to 0, rho %v, eps %v, seed %d", o.batch, o.lr, o.rho, o.eps, o.seed)
	if o.optimizer != "update" {
		s += fmt.Sprintf("; %s, momentum %v, centered %v", o.optimizer, o.momentum, o.centered)
	}
	if o.workers != 1 {
		s += fmt.Sprintf("; workers %d", o.workers)
	}
	if o.clip != 0 {
		s += fmt.Sprintf("; clip %v", o.clip)
	}
	if o.lossScale != 1 {
		s += fmt.Sprintf("; loss scale %v", o.lossScale)
	}
	return s
}
