package main

import (
	"cmp"
	"slices"
	"time"
)

// How a size is measured: in turns. A round times every runner once, for a
// slice of time of some tens of milliseconds, so that whatever the machine does
// meanwhile (its clock, its neighbours) happens to all of them alike. What is
// reported of the rounds is the median and the quartiles.

// A kind is what a runner stands for.
type kind string

const (
	isLimit  kind = "limit"  // the traffic loop
	isKernel kind = "kernel" // one of the kernel's implementations
	isPeer   kind = "peer"   // what a user would take instead
)

type contender struct {
	runner
	kind kind
}

// A row is what was measured of one runner at one size.
type row struct {
	Name     string    `json:"name"`
	Kind     kind      `json:"kind"`
	Elements int       `json:"elements"`
	Steps    int       `json:"steps"` // in each sample
	spread             // ns per 1,000 elements
	Samples  []float64 `json:"samples,omitempty"`
	Traffic  int       `json:"traffic,omitempty"` // bytes an element loaded and stored; none: 20
	Speedup  *spread   `json:"speedup,omitempty"` // of -workers: over one worker
}

// gigabytesPerSecond counts the memory that a step has to load and store: if
// nothing else is said, theta and s twice, grad once.
func (r row) gigabytesPerSecond() float64 { return float64(cmp.Or(r.Traffic, 5*4)) * 1000 / r.Median }

// A spread sums samples up: half of them lie between the quartiles.
type spread struct {
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func summarize(samples []float64) spread {
	sorted := slices.Sorted(slices.Values(samples))
	// quantile interpolates between the two nearest samples.
	quantile := func(q float64) float64 {
		at := q * float64(len(sorted)-1)
		i := int(at)
		if i+1 == len(sorted) {
			return sorted[i]
		}
		return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
	}
	return spread{quantile(0.5), quantile(0.25), quantile(0.75), sorted[0], sorted[len(sorted)-1]}
}

const (
	rounds     = 31 // odd: the median is one of the samples
	minSamples = 3  // of a runner so slow that one step takes its share of the time
)

// A turn is a runner's part in the rounds at one size.
type turn struct {
	contender
	steps   int // in each sample
	spent   time.Duration
	samples []float64
	err     error
}

// measure times every runner for about share at n elements, and calls tick
// after each of the rounds. A runner that fails is left out, with a warning.
func measure(contenders []contender, n int, share time.Duration, tick func(), warn warnFunc) []row {
	slice := share / rounds
	turns := make([]*turn, len(contenders))
	for i, c := range contenders {
		turns[i] = &turn{contender: c}
		if turns[i].err = c.prepare(n); turns[i].err == nil {
			turns[i].steps, turns[i].err = stepsIn(slice, c)
		}
	}
	for round := range rounds {
		for i := range turns {
			// Another one begins each round, so that none always comes after
			// the same one.
			t := turns[(round+i)%len(turns)]
			if t.err == nil && (t.spent < share || len(t.samples) < minSamples) {
				t.sample(n)
			}
		}
		tick()
	}
	var rows []row
	for _, t := range turns {
		if t.err != nil {
			warn("%s is left out at %s elements: %v", t.name(), formatCount(n), t.err)
			continue
		}
		rows = append(rows, row{Name: t.name(), Kind: t.kind, Elements: n, Steps: t.steps,
			spread: summarize(t.samples), Samples: t.samples, Traffic: trafficOf(t.contender)})
	}
	return rows
}

// sample warms up first, where a step is short enough: the caches have the
// others' data, and the clock depends on what vectors were last used.
func (t *turn) sample(n int) {
	if t.steps > 1 {
		if _, t.err = t.run(max(1, t.steps/8)); t.err != nil {
			return
		}
	}
	var took time.Duration
	took, t.err = t.run(t.steps)
	t.spent += took
	t.samples = append(t.samples, float64(took.Nanoseconds())/float64(t.steps)/float64(n)*1000)
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
			return int(min(max(1, estimate), 1<<30)), nil
		}
	}
}
