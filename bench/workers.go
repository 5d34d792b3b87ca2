package main

import (
	"fmt"
	"io"
	"math"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seed57504d97/kernel"
)

// What -workers measures: kernel.Optimizer on several cores, on one large tensor
// and on many small ones, and how long its steps keep the garbage collector
// waiting. None of this is pinned to a CPU.

const (
	manyTensors = 10_000
	smallTensor = 100 // elements
)

// parseWorkers reads counts such as "1,2,8", and puts the one worker first that
// the others are compared with.
func parseWorkers(list string) ([]int, error) {
	counts := []int{1}
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || n > 1<<16 {
			return nil, fmt.Errorf("-workers %q: want counts such as 1,2,8", list)
		}
		if n > 1 {
			counts = append(counts, n)
		}
	}
	return counts, nil
}

// tensors are what the optimizers share.
type tensors struct {
	length int // of each; 0: there is but one
	params []kernel.Param
}

func (t *tensors) prepare(n int) error {
	length := n
	if t.length > 0 {
		length = t.length
	}
	if len(t.params) > 0 && len(t.params)*length == n && len(t.params[0].Theta) == length {
		return nil
	}
	t.params = nil
	new(workspace).free()
	for range n / length {
		theta, grad, s := newData(length)
		t.params = append(t.params, kernel.Param{Theta: theta, Grad: grad, State: &kernel.State{MeanSquare: s}})
	}
	return nil
}

func (t *tensors) close() error {
	t.params = nil
	return nil
}

// An optimizer takes steps with some number of workers.
type optimizer struct {
	*tensors
	workers   int
	optimizer *kernel.Optimizer
	took, had time.Duration // all runs, and the CPU time in them
}

func (o *optimizer) name() string {
	name := countOf(o.workers)
	if o.length > 0 {
		name = "small tensors, " + name
	}
	return name
}

func countOf(workers int) string {
	if workers == 1 {
		return "1 worker"
	}
	return fmt.Sprint(workers, " workers")
}

func (o *optimizer) prepare(n int) error {
	o.tensors.prepare(n)
	o.optimizer = newOptimizer(o.workers)
	_, err := o.optimizer.Step(o.params) // which checks the tensors, and remembers
	return err
}

func newOptimizer(workers int) *kernel.Optimizer {
	return &kernel.Optimizer{Options: kernel.RMSProp{LR: lr, Rho: rho, Eps: eps}, Workers: workers}
}

func (o *optimizer) run(steps int) (time.Duration, error) {
	before, _ := processTime()
	start := time.Now()
	for range steps {
		if _, err := o.optimizer.Step(o.params); err != nil {
			return 0, err
		}
	}
	took := time.Since(start)
	if after, ok := processTime(); ok {
		o.took += took
		o.had += after - before
	}
	return took, nil
}

// cpus is how many CPUs the workers had on average; ok where that is known.
func (o *optimizer) cpus() (n float64, ok bool) {
	return float64(o.had) / float64(max(o.took, 1)), o.had > 0
}

func (o *optimizer) close() error {
	o.optimizer = nil
	return o.tensors.close()
}

// An updateLoop calls Update on one tensor after the other.
type updateLoop struct{ *tensors }

func (l updateLoop) name() string { return "small tensors, Update in a loop" }

func (l updateLoop) run(steps int) (time.Duration, error) {
	start := time.Now()
	for range steps {
		for _, p := range l.params {
			kernel.Update(p.Theta, p.Grad, p.State.MeanSquare, lr, rho, eps)
		}
	}
	return time.Since(start), nil
}

// optimizerContenders share t; the first takes one worker.
func optimizerContenders(t *tensors, workers []int) []contender {
	var contenders []contender
	for _, count := range workers {
		contenders = append(contenders, contender{&optimizer{tensors: t, workers: count}, isKernel})
	}
	return contenders
}

// measureWorkers measures and prints -workers.
func measureWorkers(o options, stdout, stderr io.Writer, warn warnFunc) ([]row, []collection) {
	if most, have := slices.Max(o.workers), runtime.GOMAXPROCS(0); most > have {
		warn("%d workers on %d CPUs: some wait for others", most, have)
	}
	tryHugePages(warn)
	sizes := fitMemory(o.sizes, 1, warn)
	fmt.Fprintf(stdout, "\nMedians of up to %d rounds in turns, %s, 20 bytes an element.\n", rounds, kernel.ISA())
	progress := newProgress(stderr, "measuring", (len(sizes)+1)*rounds)
	tick := func() { progress.Add(1) }
	say := func(format string, args ...any) { progress.Clear(); warn(format, args...) }

	large, small := new(tensors), &tensors{length: smallTensor}
	defer large.close()
	var all []row
	for _, n := range sizes {
		contenders := optimizerContenders(large, o.workers)
		rows := measure(contenders, n, o.share, tick, say)
		speedups(rows, rows)
		progress.Clear() // for the table
		writeLarge(stdout, rows)
		warnOfCPUs(contenders, warn)
		all = append(all, rows...)
	}

	contenders := append([]contender{{updateLoop{small}, isKernel}}, optimizerContenders(small, o.workers)...)
	rows := measure(contenders, manyTensors*smallTensor, o.share, tick, say)
	speedups(rows, rows[min(1, len(rows)):])
	progress.Finish()
	writeSmall(stdout, rows)
	small.close()

	collections := collect(large, slices.Max(o.workers), o.share)
	writeCollections(stdout, collections)
	return append(all, rows...), collections
}

// warnOfCPUs tells how many CPUs the workers had, where they had fewer than
// there are: the speed-up is then that of a busy machine.
func warnOfCPUs(contenders []contender, warn warnFunc) {
	for _, c := range contenders {
		o := c.runner.(*optimizer)
		want := min(o.workers, runtime.GOMAXPROCS(0))
		if n, ok := o.cpus(); ok && n < 0.95*float64(want) {
			warn("%s had %.2f CPUs on average, not %d: measure again on a quieter machine", o.name(), n, want)
		}
	}
}

// speedups sets how much faster each of rows was than the first of those from,
// round by round.
func speedups(rows, from []row) {
	if len(from) == 0 {
		return
	}
	for i := range rows {
		var ratios []float64
		for round := range min(len(rows[i].Samples), len(from[0].Samples)) {
			ratios = append(ratios, from[0].Samples[round]/rows[i].Samples[round])
		}
		faster := summarize(ratios)
		rows[i].Speedup = &faster
	}
}

func (r row) speedup() (median, quartiles string) {
	s := r.Speedup
	return fmt.Sprintf("%.2f", s.Median), fmt.Sprintf("%.2f to %.2f", s.Q1, s.Q3)
}

func writeLarge(w io.Writer, rows []row) {
	if len(rows) == 0 {
		return // all were warned of
	}
	n := rows[0].Elements
	fmt.Fprintf(w, "\none tensor of %s elements, %s\n", formatCount(n), formatBytes(n*bytesPerElement))
	var t table
	t.line("", "ns/1000", "quartiles", "GB/s", "speed-up", "quartiles")
	for _, r := range rows {
		median, quartiles := r.speedup()
		t.line(r.Name, digits(r.Median), digits(r.Q1)+" to "+digits(r.Q3), digits(r.gigabytesPerSecond()), median, quartiles)
	}
	t.write(w)
}

// writeSmall has the loop in the first row.
func writeSmall(w io.Writer, rows []row) {
	if len(rows) == 0 {
		return // all were warned of
	}
	fmt.Fprintf(w, "\n%d tensors of %d elements, %s\n", manyTensors, smallTensor, formatBytes(rows[0].Elements*bytesPerElement))
	perTensor := func(nsPer1000 float64) float64 { return nsPer1000 * smallTensor / 1000 }
	var t table
	t.line("", "ns/tensor", "quartiles", "beyond Update", "GB/s", "speed-up", "quartiles")
	for _, r := range rows {
		median, quartiles := r.speedup()
		t.line(strings.TrimPrefix(r.Name, "small tensors, "), digits(perTensor(r.Median)),
			digits(perTensor(r.Q1))+" to "+digits(perTensor(r.Q3)),
			fmt.Sprintf("%+.1f", perTensor(r.Median-rows[0].Median)), digits(r.gigabytesPerSecond()), median, quartiles)
	}
	t.write(w)
}

// ---- The garbage collector ----

// A collection is how long runtime.GC took beside something. Most of that is
// waiting for a turn where every CPU is taken; how long it took until the world
// stood still is what a step can do harm to, since assembly is not preempted.
type collection struct {
	Beside    string  `json:"beside"`
	spread            // ms
	WorstStop float64 `json:"worst_stop"` // ms, at most
}

// collect times collections beside nothing, beside steps and beside loops in
// Go, in turns, for about share each.
func collect(t *tensors, workers int, share time.Duration) []collection {
	if len(t.params) == 0 {
		return nil
	}
	p := newOptimizer(workers)
	step := func() { p.Step(t.params) }
	loops := func() {
		var all sync.WaitGroup
		for range workers {
			all.Go(func() {
				for start := time.Now(); time.Since(start) < 10*time.Millisecond; {
				}
			})
		}
		all.Wait()
	}
	elements := formatCount(len(t.params[0].Theta))
	beside := []struct {
		name string
		work func()
	}{
		{"nothing", nil},
		{fmt.Sprintf("steps with %s on %s elements", countOf(workers), elements), step},
		{fmt.Sprintf("%d loops in Go", workers), loops},
	}
	times := make([][]float64, len(beside))
	collections := make([]collection, len(beside))
	begin := time.Now()
	for round := range rounds {
		if round >= minSamples && time.Since(begin) > time.Duration(len(beside))*share {
			break
		}
		for i, b := range beside {
			stop := keepAt(b.work)
			before := readStops()
			start := time.Now()
			runtime.GC()
			times[i] = append(times[i], milliseconds(time.Since(start).Seconds()))
			collections[i].WorstStop = max(collections[i].WorstStop, milliseconds(worstSince(before, readStops())))
			stop()
		}
	}
	for i, b := range beside {
		collections[i].Beside, collections[i].spread = b.name, summarize(times[i])
	}
	return collections
}

func milliseconds(seconds float64) float64 { return 1000 * seconds }

// keepAt does work over and over, if it is not nil, until stop is called.
func keepAt(work func()) (stop func()) {
	if work == nil {
		return func() {}
	}
	quit, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
				work()
			}
		}
	}()
	time.Sleep(time.Millisecond) // so that it has begun
	return func() { close(quit); <-done }
}

// readStops returns how often it took how long to stop the world for the
// garbage collector.
func readStops() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return new(metrics.Float64Histogram)
	}
	return sample[0].Value.Float64Histogram()
}

// worstSince is the upper bound of the longest time that after has and before
// has not.
func worstSince(before, after *metrics.Float64Histogram) float64 {
	for i := len(after.Counts) - 1; i >= 0; i-- {
		if after.Counts[i] > before.Counts[i] {
			if above := after.Buckets[i+1]; !math.IsInf(above, 1) {
				return above
			}
			return after.Buckets[i]
		}
	}
	return 0
}

func writeCollections(w io.Writer, collections []collection) {
	if collections == nil {
		return
	}
	var t table
	t.line("runtime.GC beside", "ms", "quartiles", "worst", "worst stop of the world")
	for _, c := range collections {
		t.line(c.Beside, digits(c.Median), digits(c.Q1)+" to "+digits(c.Q3), digits(c.Max), "< "+digits(c.WorstStop))
	}
	fmt.Fprintln(w)
	t.write(w)
}
