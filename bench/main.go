// Command bench measures how fast kernel's implementations take RMSProp steps on
// this machine, against the memory traffic alone, which no implementation can
// beat, and against what a C compiler makes of the formula:
//
//	go run -C bench .
//
// What a machine's results in the folder results are made with (some minutes;
// Python's libraries are measured where the interpreter that the environment
// variable PYTHON names has them, Go's own vectors with GOEXPERIMENT=simd):
//
//	go run -C bench . -peers all -plans -out results/MACHINE.txt -plot results/MACHINE.svg
//
// Times are lower quartiles of rounds in which all take turns. The file is in the
// Go benchmark format, so that benchstat compares two of them, and tells what has
// changed beyond noise:
//
//	go tool -C bench benchstat results/OLD.txt results/NEW.txt
//
// What go test -bench measures (short calls, many tensors, odd data, offsets of
// the arrays) is not here again. ./predict predicts cycles on other CPUs.
//
// Paths of files are relative to the folder bench, where -C leads.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed57504d97/kernel"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// warnFunc tells the user what is missing from the results, and why.
type warnFunc func(format string, args ...any)

type options struct {
	sizes         []int
	share         time.Duration
	peers         string
	plans, family bool
	workers       []int // none: without -workers
	cross         bool
	out, plot     string
}

// run is the command: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	warn := func(format string, args ...any) { fmt.Fprintf(stderr, "bench: "+format+"\n", args...) }
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if err := o.run(args, stdout, warn); err != nil {
		warn("%v", err)
		return 1
	}
	return 0
}

func (o options) run(args []string, stdout io.Writer, warn warnFunc) error {
	if o.cross {
		return cross(stdout, warn)
	}
	r, err := o.measure(stdout, warn)
	if err != nil {
		return err
	}
	writeRatios(stdout, r.rows)
	command := strings.Join(append([]string{"go run -C bench ."}, args...), " ")
	date := time.Now().UTC().Format(time.DateTime) + " UTC, " + runtime.Version()
	err = writeFile(o.out, func(w io.Writer) error { return r.write(w, command, date) })
	for name := range strings.SplitSeq(o.plot, ",") {
		format := strings.TrimPrefix(filepath.Ext(name), ".")
		err = errors.Join(err, writeFile(name, func(w io.Writer) error { return drawPicture(w, format, r) }))
	}
	return err
}

// writeFile does nothing without a name.
func writeFile(name string, write func(w io.Writer) error) error {
	if name == "" {
		return nil
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sizes := flags.String("sizes", "", "counts of `elements`; each mode has its own if this is empty")
	flags.DurationVar(&o.share, "time", 500*time.Millisecond, "to measure each contender for, at each size")
	flags.BoolVar(&useHugePages, "hugepages", true, "hold large arrays in huge pages, where the system gives them")
	flags.StringVar(&o.peers, "peers", theCLoop, "measure what else there is for a step: `names` or how they begin, such as c,numpy, or all, or none")
	flags.BoolVar(&o.plans, "plans", false, "measure each plan of each implementation, too")
	flags.BoolVar(&o.family, "family", false, "instead, measure the members of the RMSProp family")
	workers := flags.String("workers", "", "instead, measure Optimizer with these `counts` of workers, such as 2,4")
	flags.BoolVar(&o.cross, "cross", false, "instead, check the bits on other architectures under emulators")
	flags.StringVar(&o.out, "out", "", "write the results to `file`")
	flags.StringVar(&o.plot, "plot", "", "draw throughput against size into `files`, such as a.svg,a.png")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	var err error
	o.workers, err = parseWorkers(*workers)
	modes := 0
	for _, on := range []bool{o.cross, o.family, o.workers != nil, o.plans} {
		if on {
			modes++
		}
	}
	switch {
	case err != nil:
	case flags.NArg() > 0:
		err = fmt.Errorf("argument %q: there are only flags", flags.Arg(0))
	case o.share <= 0:
		err = fmt.Errorf("-time %v: must be positive", o.share)
	case modes > 1:
		err = errors.New("-cross, -family, -workers and -plans: one at a time")
	case o.cross && o.out+o.plot != "":
		err = errors.New("-cross measures nothing to write or draw")
	case (o.family || o.workers != nil) && o.plot != "":
		err = errors.New("-plot draws Update alone")
	default:
		o.sizes, err = parseSizes(cmp.Or(*sizes, o.usualSizes()))
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		flags.Usage()
	}
	return o, err
}

// usualSizes are in the first cache, the second, the last, and in memory, on most
// machines; a picture wants more of them.
func (o options) usualSizes() string {
	switch {
	case o.workers != nil:
		return "64Mi"
	case o.plot != "":
		return "512,1536,4Ki,8Ki,16Ki,30Ki,64Ki,128Ki,256Ki,1Mi,4Mi,16Mi,64Mi"
	case o.family:
		return "8Ki,30Ki,1Mi,16Mi"
	}
	return "1536,8Ki,30Ki,1Mi,16Mi,64Mi"
}

// parseWorkers reads counts such as "2,8", and puts the one worker first that the
// others are compared with.
func parseWorkers(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	counts := []int{1}
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > 1<<16 {
			return nil, fmt.Errorf("-workers %q: want counts such as 2,8", list)
		}
		if !slices.Contains(counts, n) {
			counts = append(counts, n)
		}
	}
	return counts, nil
}

// measure measures and prints one size after the other.
func (o options) measure(stdout io.Writer, warn warnFunc) (results, error) {
	if useHugePages {
		if err := kernel.AdviseHugePages(make([]float32, large)); err != nil {
			warn("without huge pages: %v", err)
			useHugePages = false
		}
	}
	r := results{machine: thisMachine()}
	writeMachine(stdout, r.machine)
	defer func(isa string) { _, _ = kernel.SetISA(isa), kernel.SetPlan(os.Getenv("KERNEL_PLAN")) }(kernel.ISA())
	where := "on any CPU"
	if o.workers == nil {
		cpu, unpin := pin()
		defer unpin()
		if where = "one thread"; cpu >= 0 {
			where = fmt.Sprint("one thread on CPU ", cpu)
		}
	}

	w := &workspace{family: o.family}
	var contenders []contender
	switch {
	case o.family:
		contenders = familyContenders(w)
	case o.workers != nil:
		contenders = stepContenders(w, o.workers)
	default:
		contenders = append(updateContenders(w, o.plans), findPeers(o.peers, w, warn)...)
	}
	defer func() {
		for _, c := range contenders {
			c.close()
		}
	}()
	arrays := w.arrays()
	for _, c := range contenders {
		if _, ok := c.runner.(*child); ok {
			arrays += 3
		}
	}
	sizes := fitting(o.sizes, arrays, availableMemory())
	if len(sizes) == 0 {
		return r, errors.New("memory is short for these sizes")
	} else if len(sizes) < len(o.sizes) {
		warn("memory is short: only %d of the sizes are measured", len(sizes))
	}
	fmt.Fprintf(stdout, "\nLower quartiles of up to %d rounds in turns, %s; bytes are loaded and stored, for each element.\n", rounds, where)
	for _, n := range sizes {
		rows := measure(contenders, n, o.share, warn)
		writeSize(stdout, rows)
		r.rows = append(r.rows, rows...)
		w.warnOfOthers(warn)
	}
	if len(r.rows) == 0 {
		return r, errors.New("nothing could be measured")
	}
	return r, nil
}
