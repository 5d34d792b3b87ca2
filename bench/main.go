// Command bench measures how fast kernel's implementations take RMSProp steps
// on this machine, against the memory traffic alone, which no implementation
// can beat:
//
//	go run -C bench .
//
// Paths of files are relative to the folder bench, where -C leads.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/seed57504d97/kernel"
	"golang.org/x/term"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// warnFunc tells the user what is missing from the results, and why.
type warnFunc func(format string, args ...any)

const (
	usualSizes  = "1Ki,32Ki,1Mi,64Mi"
	familySizes = "32Ki,1Mi,16Mi"
	workerSizes = "64Mi"
	allSizes    = "1Ki,2Ki,4Ki,8Ki,16Ki,32Ki,64Ki,128Ki,256Ki,512Ki,1Mi,2Mi,4Mi,8Mi,16Mi,32Mi,64Mi"
)

type options struct {
	sizes          []int
	share          time.Duration
	samples        bool
	peers, cross   bool
	family         bool
	workers        []int // none: without -workers
	json, svg, png string
	baseline       string
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
	var old report
	if o.baseline != "" {
		if old, err = readReport(o.baseline); err != nil { // before the long part
			warn("%v", err)
			return 1
		}
	}

	r := report{
		Machine: thisMachine(),
		Date:    time.Now().UTC().Truncate(time.Second),
		Command: strings.Join(append([]string{"go run -C bench ."}, args...), " "),
		Unit:    unit,
	}
	r.Machine.write(stdout)
	ok := true
	if o.cross {
		if r.Bits, r.Cycles, err = cross(stdout, stderr, warn); err != nil {
			warn("%v", err)
			return 1
		}
		ok = !slices.ContainsFunc(r.Bits, func(v verdict) bool { return !v.same() })
	} else {
		if o.workers != nil {
			r.Rows, r.Collections = measureWorkers(o, stdout, stderr, warn)
		} else {
			r.Rows = measureAll(o, stdout, stderr, warn)
		}
		if !o.samples {
			for i := range r.Rows {
				r.Rows[i].Samples = nil
			}
		}
		if o.baseline != "" {
			writeChanges(stdout, old, r)
		}
	}

	for _, out := range []struct {
		file  string
		write func(file string) error
	}{
		{o.json, r.write},
		{o.svg, func(file string) error { return writePicture(file, "svg", r) }},
		{o.png, func(file string) error { return writePicture(file, "png", r) }},
	} {
		if out.file == "" {
			continue
		}
		if err := out.write(out.file); err != nil {
			warn("%v", err)
			ok = false
		}
	}
	if !ok {
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	sizes := flags.String("sizes", "", "counts of `elements`: "+usualSizes+" if empty, others for a picture, -family and -workers")
	flags.DurationVar(&o.share, "time", time.Second, "to measure each implementation for, at each size")
	flags.BoolVar(&useHugePages, "hugepages", true, "hold large slices in huge pages, where the system gives them")
	flags.BoolVar(&o.peers, "peers", false, "measure what else there is for an RMSProp step, too")
	flags.BoolVar(&o.family, "family", false, "instead of Update alone, measure the members of the RMSProp family")
	workers := flags.String("workers", "", "instead of one thread, measure Optimizer with these `counts` of workers, such as 1,2")
	flags.BoolVar(&o.cross, "cross", false, "instead of measuring, check the bits on other architectures under emulators, and predict cycles on other CPUs with llvm-mca")
	flags.StringVar(&o.json, "json", "", "write the results to `file`")
	flags.BoolVar(&o.samples, "samples", false, "with every sample in the file of -json")
	flags.StringVar(&o.svg, "svg", "", "draw throughput against size into `file`")
	flags.StringVar(&o.png, "png", "", "draw throughput against size into `file`")
	flags.StringVar(&o.baseline, "baseline", "", "compare with the results in `file`, an earlier -json")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	fail := func(err error) (options, error) {
		fmt.Fprintln(stderr, err)
		flags.Usage()
		return o, err
	}
	if flags.NArg() > 0 {
		return fail(fmt.Errorf("argument %q: there are only flags", flags.Arg(0)))
	}
	if o.share <= 0 {
		return fail(fmt.Errorf("-time %v: must be positive", o.share))
	}
	if o.cross && (o.svg != "" || o.png != "" || o.baseline != "") {
		return fail(errors.New("-cross measures nothing to draw or compare"))
	}
	modes := 0
	for _, on := range []bool{o.cross, o.peers, o.family, *workers != ""} {
		if on {
			modes++
		}
	}
	if modes > 1 {
		return fail(errors.New("-cross, -peers, -family and -workers: one at a time"))
	}
	if (o.family || *workers != "") && (o.svg != "" || o.png != "") {
		return fail(errors.New("-svg and -png: draw Update alone, without -family and -workers"))
	}
	if *sizes == "" {
		switch {
		case o.family:
			*sizes = familySizes
		case *workers != "":
			*sizes = workerSizes
		case o.svg != "" || o.png != "":
			*sizes = allSizes
		default:
			*sizes = usualSizes
		}
	}
	var err error
	if *workers != "" {
		if o.workers, err = parseWorkers(*workers); err != nil {
			return fail(err)
		}
	}
	if o.sizes, err = parseSizes(*sizes); err != nil {
		return fail(err)
	}
	return o, nil
}

// measureAll measures and prints one size after the other.
func measureAll(o options, stdout, stderr io.Writer, warn warnFunc) []row {
	defer func(isa string) { kernel.SetISA(isa) }(kernel.ISA())
	cpu, unpin := pin()
	defer unpin()
	tryHugePages(warn)

	contenders, shared := ourContenders()
	sets := 1 // of slices: ours share one
	write := writeSize
	if o.family {
		contenders, shared = familyContenders()
		sets = 2
		write = writeFamily
	}
	if o.peers {
		for _, p := range findPeers(warn) {
			contenders = append(contenders, contender{p, isPeer})
			sets++
		}
	}
	defer func() {
		for _, c := range contenders {
			c.close()
		}
	}()
	sizes := fitMemory(o.sizes, sets, warn)

	where := fmt.Sprint("on CPU ", cpu)
	if cpu < 0 {
		where = "on any CPU"
	}
	each := ", 20 bytes an element"
	if o.family {
		each = "" // it differs
	}
	fmt.Fprintf(stdout, "\nMedians of up to %d rounds in turns, one thread %s%s.\n", rounds, where, each)
	progress := newProgress(stderr, "measuring", len(sizes)*rounds)
	tick := func() { progress.Add(1) }
	say := func(format string, args ...any) { progress.Clear(); warn(format, args...) }
	var rows []row
	for _, n := range sizes {
		measured := measure(contenders, n, o.share, tick, say)
		progress.Clear() // for the table
		write(stdout, measured)
		rows = append(rows, measured...)
	}
	progress.Finish()
	if lost := shared.lost(); lost > 0.02 {
		warn("other processes had the CPU for %.0f%% of the time: measure again on a quieter machine", 100*lost)
	}
	return rows
}

// tryHugePages warns, once, where the system gives none.
func tryHugePages(warn warnFunc) {
	if !useHugePages {
		return
	}
	if err := kernel.AdviseHugePages(make([]float32, 1<<20)); err != nil {
		warn("without huge pages: %v", err)
		useHugePages = false
	}
}

// fitMemory returns the sizes of which there is memory for that many sets of
// slices, with a warning where those are others.
func fitMemory(sizes []int, sets int, warn warnFunc) []int {
	memory, known := availableMemory()
	if !known {
		return sizes
	}
	fit := fitting(sizes, sets, memory)
	if !slices.Equal(fit, sizes) {
		warn("%s of memory is short for these sizes: measuring %s elements", formatBytes(memory), formatSizes(fit))
	}
	return fit
}

// newProgress shows how far the run is, if w is a terminal.
func newProgress(w io.Writer, what string, steps int) *progressbar.ProgressBar {
	file, ok := w.(*os.File)
	return progressbar.NewOptions(steps,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetVisibility(ok && term.IsTerminal(int(file.Fd()))),
		progressbar.OptionSetDescription(what),
		progressbar.OptionClearOnFinish())
}
