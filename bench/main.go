// Command bench measures how long an RMSProp step of kernel's implementations takes on this
// machine. It compares them with the memory traffic alone, which no implementation can beat, and
// with the formula in C:
//
//	go run -C bench .
//
// This measures all peers and each plan, in some minutes. Python's libraries are those of the
// interpreter that the environment variable PYTHON names. Go's own vectors need GOEXPERIMENT=simd.
//
//	go run -C bench . -peers all -plans -out results/MACHINE.txt -plot results/MACHINE.svg
//
// Times are lower quartiles of rounds in which all contenders take turns. The file is in the Go
// benchmark format, so benchstat can compare two of them and report what changed beyond noise:
//
//	go tool -C bench benchstat results/OLD.txt results/NEW.txt
//
// go test -bench measures short calls, many tensors and workers, unusual data, and offsets of the
// arrays. ./predict predicts cycles on other CPUs, ./bars draws one step of several programs as bars,
// and cross.sh reports whether other CPUs compute the same bits.
//
// Paths of files are relative to the folder bench, because -C changes to it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/seed57504d97/kernel"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

type options struct {
	sizes          []int
	share          time.Duration
	peers          string
	plans, options bool
	out, plot      string
}

// run is the command: it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	warnings := log.New(stderr, "bench: ", 0) // what is missing from the results, and why
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	r, err := o.measure(stdout, warnings)
	if err == nil {
		r.writeRatios(stdout)
		err = o.save(r, args)
	}
	if err != nil {
		warnings.Print(err)
		return 1
	}
	return 0
}

// save writes the files that the flags name.
func (o options) save(r results, args []string) (err error) {
	if o.out != "" {
		command := strings.Join(append([]string{"go run -C bench ."}, args...), " ")
		date := time.Now().UTC().Format(time.DateTime) + " UTC, " + runtime.Version()
		err = os.WriteFile(o.out, r.text(command, date), 0o666)
	}
	for _, name := range strings.FieldsFunc(o.plot, func(c rune) bool { return c == ',' }) {
		picture, failed := r.picture(strings.TrimPrefix(filepath.Ext(name), "."))
		if failed == nil {
			failed = os.WriteFile(name, picture, 0o666)
		}
		err = errors.Join(err, failed)
	}
	return err
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Func("sizes", "comma-separated counts of `elements`; the default depends on the mode", func(list string) (err error) {
		o.sizes, err = parseSizes(list)
		return err
	})
	flags.DurationVar(&o.share, "time", 500*time.Millisecond, "how long to measure each contender at each size")
	flags.BoolVar(&useHugePages, "hugepages", true, "keep large arrays in huge pages, if the system grants them")
	flags.StringVar(&o.peers, "peers", theCLoop,
		"comma-separated `names` of peers to measure, or prefixes such as c,numpy; all or none")
	flags.BoolVar(&o.plans, "plans", false, "also measure each plan of each implementation")
	flags.BoolVar(&o.options, "options", false, "instead of Update, measure the options of RMSProp")
	flags.StringVar(&o.out, "out", "", "write the results to `file`")
	flags.StringVar(&o.plot, "plot", "", "draw throughput against size to `files`, such as a.svg,a.png")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		err = fmt.Errorf("argument %q: want only flags", flags.Arg(0))
	case o.share <= 0:
		err = fmt.Errorf("-time %v: want more than 0", o.share)
	case o.options && (o.plans || o.plot != ""):
		err = errors.New("-options: want neither -plans nor -plot, which are for Update alone")
	case o.sizes == nil:
		o.sizes, err = parseSizes(o.usualSizes())
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		flags.Usage()
	}
	return o, err
}

// usualSizes returns sizes that fit, on most machines, into the first cache, the second, the last,
// and only into memory. A picture needs more of them.
func (o options) usualSizes() string {
	switch {
	case o.plot != "":
		return "512,1536,4Ki,8Ki,16Ki,30Ki,64Ki,128Ki,256Ki,1Mi,4Mi,16Mi,64Mi"
	case o.options:
		return "8Ki,30Ki,1Mi,16Mi"
	}
	return "1536,8Ki,30Ki,1Mi,16Mi,64Mi"
}

// measure measures and prints one size after the other.
func (o options) measure(stdout io.Writer, warnings *log.Logger) (r results, err error) {
	if useHugePages {
		if err := kernel.AdviseHugePages(make([]float32, large)); err != nil {
			warnings.Printf("no huge pages: %v", err)
			useHugePages = false
		}
	}
	r.machine = thisMachine()
	for _, fact := range r.machine {
		fmt.Fprintf(stdout, "%s: %s\n", fact.Key, fact.Value)
	}
	where := pin()
	w := new(workspace)
	var contenders []contender
	if o.options {
		w.more = 2
		r.mode, contenders = "Options", optionContenders(w)
	} else {
		r.mode, contenders = "Update", append(updateContenders(w, o.plans), findPeers(o.peers, w, warnings)...)
	}
	arrays := 3 + w.more
	for _, c := range contenders {
		defer c.close()
		if _, ok := c.runner.(*child); ok {
			arrays += 3
		}
	}
	sizes := fitting(o.sizes, arrays, availableMemory())
	if len(sizes) == 0 {
		return r, errors.New("not enough memory for any of the sizes")
	} else if len(sizes) < len(o.sizes) {
		warnings.Printf("not enough memory: only %d of the sizes are measured", len(sizes))
	}
	fmt.Fprintf(stdout, "\nLower quartiles of up to %d rounds in turns, %s. ", rounds, where)
	fmt.Fprintln(stdout, "Bytes: loaded and stored for each element.")
	for _, n := range sizes {
		if rows := measure(contenders, n, o.share, warnings); rows != nil {
			r.sizes, r.rows = append(r.sizes, n), append(r.rows, rows...)
			r.writeSize(stdout, n)
		}
		w.warnOfOthers(warnings)
	}
	if r.rows == nil {
		err = errors.New("nothing could be measured")
	}
	return r, err
}
