package main

import (
	"cmp"
	"errors"
	"log"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"time"
	"unsafe"

	"github.com/aclements/go-moremath/stats"
	"github.com/seed57504d97/kernel"
	"github.com/seed57504d97/kernel/internal/tuning"
)

// A size is measured in turns. A round times every runner once, for some tens of milliseconds, so
// that changes of the machine (its clock, its other load) affect all runners alike. The rounds of a
// large size are divided among a few placements of the arrays, because the places change times by 10
// to 20%. The lower quartile of the rounds counts: other load only ever adds time.

// A runner runs steps in one way, from one locked and pinned thread. If it has a process of its own,
// that process inherits the pinning.
type runner interface {
	// prepare replaces the arrays by ones of n elements and touches every page of them.
	prepare(n, stagger int) error
	// run runs that many steps and returns their time.
	run(steps int) (time.Duration, error)
	// close frees what the runner holds.
	close() error
}

// A kind is the role of a runner.
type kind string

const (
	isLimit  kind = "limit"  // a traffic loop
	isKernel kind = "kernel" // one of the kernel's implementations
	isPeer   kind = "peer"   // what people use instead
)

// A row is the measurement of one contender at one size.
type row struct {
	kind    kind
	by      string    // the contender; after a comma, its variant
	traffic int       // bytes that a step loads and stores for each element
	n       int       // elements
	plan    string    // of a kernel's implementation
	steps   int       // in each sample
	samples []float64 // ns a step
}

// quantile returns ns per 1,000 elements.
func (r row) quantile(q float64) float64 {
	return stats.Sample{Xs: r.samples}.Quantile(q) / float64(r.n) * 1000
}

func (r row) lower() float64  { return r.quantile(0.25) }
func (r row) median() float64 { return r.quantile(0.5) }

// gigabytesPerSecond returns the memory traffic of a step at the lower quartile of its time.
func (r row) gigabytesPerSecond() float64 { return float64(r.traffic) * 1000 / r.lower() }

// A contender is a runner, its row, and its part in the rounds at one size.
type contender struct {
	row
	runner
	spent time.Duration
	err   error // why it is left out
}

// newContender returns a contender that works on that many arrays. A step loads all of them and stores
// all except the gradients.
func newContender(k kind, by string, arrays int, r runner) contender {
	return contender{row: row{kind: k, by: by, traffic: 4 * (2*arrays - 1)}, runner: r}
}

const (
	rounds     = 20
	minSamples = 4 // for a runner so slow that one step uses up its time
)

// measure times every runner for about share at n elements. It leaves out a runner that fails, with
// a warning.
func measure(contenders []contender, n int, share time.Duration, warnings *log.Logger) (rows []row) {
	turns := slices.Clone(contenders)
	places := staggers
	if n < large {
		places = staggers[:1]
	}
	for at, stagger := range places {
		for i := range turns {
			c := &turns[i]
			if c.n = n; c.err == nil {
				c.err = c.prepare(n, stagger)
			}
			if c.err == nil && c.steps == 0 {
				c.steps, c.err = stepsIn(share/rounds, c)
			}
		}
		for round := range rounds / len(places) {
			for i := range turns {
				// Each round begins with another one, so that none always follows the same one.
				c := &turns[(round+i)%len(turns)]
				enough := c.spent >= share*time.Duration(at+1)/time.Duration(len(places)) &&
					len(c.samples) >= minSamples*(at+1)/len(places)
				if c.err == nil && !enough {
					c.err = c.sample()
				}
			}
		}
	}
	for _, c := range turns {
		if c.err != nil {
			warnings.Printf("%s is left out at %s elements: %v", c.by, formatCount(n), c.err)
			continue
		}
		if l, ok := c.runner.(*local); ok {
			c.plan = l.planOf(n)
		}
		rows = append(rows, c.row)
	}
	return rows
}

// sample warms up first if a step is short enough: the caches hold the others' data, and the CPU's
// clock depends on the vectors that were used last.
func (c *contender) sample() error {
	if c.steps > 1 {
		if _, err := c.run(max(1, c.steps/8)); err != nil {
			return err
		}
	}
	took, err := c.run(c.steps)
	c.spent += took
	c.samples = append(c.samples, float64(took.Nanoseconds())/float64(c.steps))
	return err
}

// stepsIn returns how many steps of r, at least one, fit into about slice.
func stepsIn(slice time.Duration, r runner) (int, error) {
	for steps := 1; ; steps *= 4 {
		took, err := r.run(steps)
		if err != nil {
			return 0, err
		}
		if took >= slice/4 || steps >= 1<<24 {
			estimate := float64(steps) * float64(slice) / float64(max(took, 1))
			return int(min(max(1, estimate), 1<<30)), nil
		}
	}
}

// A local runner runs steps in this process, on the workspace's arrays.
type local struct {
	*workspace
	isa    string // of kernel, or byDefault; empty if the steps are not kernel's
	plan   string // empty: the environment variable KERNEL_PLAN's, or the one that kernel chooses
	update bool   // the steps are Update's, so kernel reports their plan
	take   func(steps int) error
}

// each returns a function that runs one step after the other.
func each(step func()) (take func(steps int) error) {
	return func(steps int) error {
		for range steps {
			step()
		}
		return nil
	}
}

// byDefault is the name of kernel without a forced implementation.
const byDefault = "default"

// use selects the implementation and the plan.
func (l *local) use() error {
	if l.isa == "" {
		return nil
	}
	isa := l.isa
	if isa == byDefault {
		isa = ""
	}
	err := kernel.SetISA(isa)
	plan := cmp.Or(l.plan, os.Getenv("KERNEL_PLAN"))
	if !slices.Contains(tuning.Plans(), plan) {
		plan = ""
	}
	return errors.Join(err, tuning.SetPlan(plan))
}

// planOf returns the plan of steps on n elements, or "" if it is unknown or the only one.
func (l *local) planOf(n int) string {
	if !l.update || l.use() != nil || len(tuning.Plans()) == 1 {
		return ""
	}
	return tuning.Plan(n)
}

// prepare also lets kernel choose a plan: kernel times some 150 chunks of a few thousand elements,
// in at least five calls.
func (l *local) prepare(n, stagger int) error {
	l.workspace.prepare(n, stagger)
	if err := l.use(); err != nil || l.isa == "" {
		return err
	}
	return l.take(8 + 1<<21/max(n, 1<<10))
}

func (l *local) run(steps int) (time.Duration, error) {
	if err := l.use(); err != nil {
		return 0, err
	}
	before := cpuTime()
	start := time.Now()
	if err := l.take(steps); err != nil {
		return 0, err
	}
	took := time.Since(start)
	l.took += took
	l.had += cpuTime() - before
	return took, nil
}

// lr, rho and eps of every measurement.
const (
	lr  = 0.001
	rho = 0.9
	eps = 1e-7
)

// useHugePages is the value of the flag -hugepages.
var useHugePages = true

const (
	page     = 4 << 10
	hugePage = 2 << 20
	large    = 1 << 20 // elements; from this size on, the places of the arrays matter
)

// staggers lists the placements of large arrays: each array begins that many bytes further into a page
// than the one before it. Go places large slices with 0.
var staggers = []int{0, 64, 1344, 2112}

// A workspace holds the arrays that all runners in this process share, and records how quiet the
// machine is.
type workspace struct {
	more                 int // arrays besides theta, grad and s: 0 or 2
	stagger              int
	theta, grad, s, m, b []float32     // m and b: for centered steps, and for those with momentum
	took, had            time.Duration // time of all runs, and CPU time in them
}

// prepare allocates the arrays, unless they exist already.
func (w *workspace) prepare(n, stagger int) {
	if len(w.theta) == n && w.stagger == stagger {
		return
	}
	w.close()
	w.stagger = stagger
	for i, x := range []*[]float32{&w.theta, &w.grad, &w.s, &w.m, &w.b}[:3+w.more] {
		*x = newArray(n, i*stagger%page)
	}
	fillData(w.theta, w.grad, w.s)
	clear(w.m) // touches the pages
	clear(w.b)
}

// load uses theta, grad and s themselves and changes them.
func (w *workspace) load(theta, grad, s []float32) error {
	w.theta, w.grad, w.s, w.stagger = theta, grad, s, -1 // so that prepare replaces them
	return nil
}

func (w *workspace) result() (theta, s []float32, err error) { return w.theta, w.s, nil }

// warnOfOthers warns if other processes had the CPU for much of the time since its last call, if the
// system knows.
func (w *workspace) warnOfOthers(warnings *log.Logger) {
	if lost := 100 * (1 - float64(w.had)/float64(w.took)); w.had > 0 && lost > 2 {
		warnings.Printf("other processes had the CPU for %.0f%% of the time: measure again on a quieter machine", lost)
	}
	w.took, w.had = 0, 0
}

// close returns the memory, so that the next arrays are fresh and can lie in huge pages.
func (w *workspace) close() error {
	w.theta, w.grad, w.s, w.m, w.b = nil, nil, nil, nil, nil
	debug.FreeOSMemory()
	return nil
}

// newArray allocates an array that starts a cache line. A large one begins that many bytes after the
// start of a huge page, if the system grants these.
func newArray(n, offset int) []float32 {
	if 4*n < hugePage {
		return aligned(make([]float32, n+64/4), 64)[:n:n]
	}
	memory := make([]float32, n+(2*hugePage+offset)/4)
	if useHugePages {
		_ = kernel.AdviseHugePages(memory) // a failure was reported before
	}
	return aligned(memory, hugePage)[offset/4:][:n:n]
}

func aligned(memory []float32, bytes uintptr) []float32 {
	return memory[-uintptr(unsafe.Pointer(unsafe.SliceData(memory)))%bytes/4:]
}

// fillData fills theta, grad and s as in training: theta in [-1, 1), gradients of 1e-6 to 1 in
// magnitude with both signs, and s equal to the square of the gradient.
func fillData(theta, grad, s []float32) {
	r := rand.New(rand.NewPCG(1, 2))
	signed := func() float32 { return 2*r.Float32() - 1 }
	for i := range theta {
		theta[i] = signed()
		grad[i] = signed() / float32(uint32(1)<<r.Uint32N(16))
		s[i] = grad[i] * grad[i]
	}
}
