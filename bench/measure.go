package main

import (
	"errors"
	"math"
	"os"
	"slices"
	"time"

	"github.com/aclements/go-moremath/stats"
	"github.com/seed57504d97/kernel"
)

// How a size is measured: in turns. A round times every runner once, for a slice
// of time of some tens of milliseconds, so that whatever the machine does
// meanwhile (its clock, its neighbours) happens to all of them alike. The rounds
// of a large size are shared out among a few placements of the arrays, since
// where they lie moves times by 10 to 20%. What counts of the rounds is the lower
// quartile: a neighbour only ever adds time.

// A runner takes steps in one way. It is used from one locked and pinned thread;
// where it runs in a process of its own, that process inherits the pinning.
type runner interface {
	// prepare makes arrays of n elements, with every page touched, in place of
	// what was prepared before.
	prepare(n, stagger int) error
	// run takes that many steps over them and returns how long they took.
	run(steps int) (time.Duration, error)
	// close frees what the runner holds.
	close() error
}

// A kind is what a runner stands for.
type kind string

const (
	isLimit  kind = "limit"  // a traffic loop
	isKernel kind = "kernel" // one of the kernel's implementations
	isPeer   kind = "peer"   // what a user would take instead
)

// A row is what was measured of one contender at one size.
type row struct {
	bench   string // the mode: what its tables are called
	kind    kind
	by      string    // who takes the steps; what follows a comma says how
	traffic int       // bytes an element that a step loads and stores
	n       int       // elements
	plan    string    // of a kernel's implementation
	steps   int       // in each sample
	samples []float64 // ns a step
}

// quantile is in ns per 1,000 elements.
func (r row) quantile(q float64) float64 {
	return stats.Sample{Xs: r.samples}.Quantile(q) / float64(r.n) * 1000
}

func (r row) lower() float64  { return r.quantile(0.25) }
func (r row) median() float64 { return r.quantile(0.5) }
func (r row) upper() float64  { return r.quantile(0.75) }

// gigabytesPerSecond is the memory traffic of a step in the lower quartile.
func (r row) gigabytesPerSecond() float64 { return float64(r.traffic) * 1000 / r.lower() }

// A contender is a runner, and its row but for what is measured.
type contender struct {
	row
	runner
}

func newContender(bench string, k kind, by string, arrays int, r runner) contender {
	return contender{row{bench: bench, kind: k, by: by, traffic: trafficOf(arrays)}, r}
}

const (
	rounds     = 20
	minSamples = 4 // of a runner so slow that one step takes its share of the time
)

// A turn is a contender's part in the rounds at one size.
type turn struct {
	contender
	spent time.Duration
	err   error
}

// measure times every runner for about share at n elements. A runner that fails
// is left out, with a warning.
func measure(contenders []contender, n int, share time.Duration, warn warnFunc) []row {
	turns := make([]*turn, len(contenders))
	for i, c := range contenders {
		turns[i] = &turn{contender: c}
		turns[i].n = n
	}
	count := len(placements(n))
	for at, stagger := range placements(n) {
		for _, t := range turns {
			if t.err == nil {
				t.err = t.prepare(n, stagger)
			}
			if t.err == nil && t.steps == 0 {
				t.steps, t.err = stepsIn(share/rounds, t)
			}
		}
		for round := range rounds / count {
			for i := range turns {
				// Another one begins each round, so that none always comes after
				// the same one.
				t := turns[(round+i)%len(turns)]
				enough := t.spent >= share*time.Duration(at+1)/time.Duration(count) &&
					len(t.samples) >= minSamples*(at+1)/count
				if t.err == nil && !enough {
					t.sample()
				}
			}
		}
	}
	var rows []row
	for _, t := range turns {
		if t.err != nil {
			warn("%s is left out at %s elements: %v", t.by, formatCount(n), t.err)
			continue
		}
		if l, ok := t.runner.(*local); ok {
			t.plan = l.planOf(n)
		}
		rows = append(rows, t.row)
	}
	return rows
}

// sample warms up first, where a step is short enough: the caches have the
// others' data, and the clock depends on what vectors were last used.
func (t *turn) sample() {
	if t.steps > 1 {
		if _, t.err = t.run(max(1, t.steps/8)); t.err != nil {
			return
		}
	}
	var took time.Duration
	took, t.err = t.run(t.steps)
	t.spent += took
	t.samples = append(t.samples, float64(took.Nanoseconds())/float64(t.steps))
}

// stepsIn returns how many steps of r, at least one, take about as long as slice.
func stepsIn(slice time.Duration, r runner) (int, error) {
	for steps := 1; ; steps *= 4 {
		took, err := r.run(steps)
		if err != nil {
			return 0, err
		}
		if took >= slice/4 || steps >= 1<<24 {
			estimate := float64(steps) * float64(slice) / float64(max(took, 1))
			return int(math.Min(math.Max(1, estimate), 1<<30)), nil
		}
	}
}

// A local runner takes steps in this process, on the workspace's arrays.
type local struct {
	*workspace
	isa     string // of kernel; none: the steps are not the kernel's
	plan    string // none: which one kernel chooses, or the environment variable KERNEL_PLAN
	update  bool   // they are Update's, of whose plans kernel tells
	take    func(steps int) error
	workers int // 0: the steps stay on this thread
}

// each takes one step after the other.
func each(step func() error) (take func(steps int) error) {
	return func(steps int) error {
		for range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
}

// use makes the implementation and the plan those in use.
func (l *local) use() error {
	if l.isa == "" {
		return nil
	}
	if err := kernel.SetISA(l.isa); err != nil {
		return err
	}
	plan := l.plan
	if fixed := os.Getenv("KERNEL_PLAN"); plan == "" && slices.Contains(kernel.Plans(), fixed) {
		plan = fixed
	}
	return kernel.SetPlan(plan)
}

// planOf is the plan that steps on n elements run, where that is known and there
// are others.
func (l *local) planOf(n int) string {
	if !l.update || l.use() != nil || len(kernel.Plans()) == 1 {
		return ""
	}
	return kernel.Plan(n)
}

// prepare lets kernel choose a plan, too: it times some 150 chunks of a few
// thousand elements, in at least five calls.
func (l *local) prepare(n, stagger int) error {
	err := errors.Join(l.workspace.prepare(n, stagger), l.use())
	if err != nil || l.isa == "" {
		return err
	}
	return l.take(8 + 1<<21/max(n, 1<<10))
}

func (l *local) run(steps int) (time.Duration, error) {
	if err := l.use(); err != nil {
		return 0, err
	}
	before, _ := cpuTime(l.workers > 0)
	start := time.Now()
	if err := l.take(steps); err != nil {
		return 0, err
	}
	took := time.Since(start)
	if after, ok := cpuTime(l.workers > 0); ok {
		l.took += took * time.Duration(max(1, l.workers))
		l.had += after - before
	}
	return took, nil
}
