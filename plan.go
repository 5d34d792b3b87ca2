package kernel

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"
)

// A plan is one of the ways in which an implementation can take a step. All give
// the same bits. Which is fastest depends on the CPU and on where the data lie,
// and no rule covers the CPUs that nobody here has seen: so the package times
// the chunks of its caller's own long calls, and keeps what was fastest.
type plan struct {
	vectors  int // of a block
	software int // of these vectors' roots, how many are taken in software
	ahead    int // the bytes from an element to what is prefetched meanwhile; 0: nothing is
}

// plans are those of each implementation. The first is the one for short calls,
// and the one that stays where none was measured to be faster.
var plans = [...][]plan{
	isaGeneric: {{}},
	isaNEON:    {{vectors: 4}},
	isaAVX2:    aheadToo(plan{vectors: 4}, plan{vectors: 2}, plan{vectors: 4, software: 2}),
	isaAVX512:  aheadToo(plan{vectors: 4, software: 3}, plan{vectors: 4, software: 2}),
}

// aheadToo returns the plans, then those with prefetching.
func aheadToo(near ...plan) (all []plan) {
	for _, ahead := range []int{0, 256, 2 << 10} {
		for _, p := range near {
			p.ahead = ahead
			all = append(all, p)
		}
	}
	return all
}

const mostPlans = 9 // of an implementation

// String is like v4s2+256: blocks of four vectors, the roots of two of them in
// software, and prefetching 256 bytes ahead.
func (p plan) String() string {
	name := fmt.Sprintf("v%ds%d", p.vectors, p.software)
	if p.ahead > 0 {
		name += fmt.Sprintf("+%d", p.ahead)
	}
	return name
}

// Calls of fewer elements take the first plan; those of more have their time
// measured: so many take longer than it takes to read the clock.
const minTimed = 1 << 10

const (
	looks      = 12 // at each plan, before one is chosen
	looksSteps = 5  // in at least so many steps: the first finds cold data
)

// A chooser finds the fastest plan of an implementation for a layout and a class
// of lengths. Its methods may be called at the same time; no look is lost.
type chooser struct {
	chosen   atomic.Uint32 // 1 + the plan; 0: not yet
	turns    atomic.Uint32
	elements atomic.Int64 // in all chunks that were timed: a step may come in many calls
	seen     [mostPlans]struct {
		looks atomic.Uint32
		least atomic.Int64 // 1 + the shortest time of 1,024 elements, in ns/64; 0: none
	}
}

// classes are the powers of two that a step's length may have: those from 2^28 up
// are one, as their data come from memory.
const classes = 28 - 10 + 1

var choosers [len(plans)][layouts][classes]chooser

// chooserOf returns what chooses for a step of n elements, n >= minTimed.
func chooserOf(i isa, l layout, n int) *chooser {
	return &choosers[i][l][min(bits.Len(uint(n))-bits.Len(minTimed), classes-1)]
}

// next returns the plan whose turn it is. Each round begins with another plan:
// else, if the calls' chunks are as many, each would see its own part of the data.
func (c *chooser) next(plans int) int {
	turn := int(c.turns.Add(1) - 1)
	return (turn + turn/plans) % plans
}

// saw notes that n elements, of a step of total, took so long with a plan, and
// chooses when enough is known.
func (c *chooser) saw(all []plan, i int, elapsed int64, n, total int) {
	look := &c.seen[i]
	for cost := elapsed<<16/int64(n) + 1; ; {
		least := look.least.Load()
		if least != 0 && least <= cost || look.least.CompareAndSwap(least, cost) {
			break
		}
	}
	look.looks.Add(1)
	if c.elements.Add(int64(n)) <= (looksSteps-1)*int64(total) {
		return
	}
	best, least := 0, int64(math.MaxInt64)
	for j := range all {
		if c.seen[j].looks.Load() < looks {
			return
		}
		if l := c.seen[j].least.Load(); l < least {
			best, least = j, l
		}
	}
	c.chosen.CompareAndSwap(0, uint32(1+best))
}

// fixed is what SetPlan asked for: 1 + the plan's place in the implementation's
// plans, and the implementation from bit 8. 0: plans are chosen.
var fixed atomic.Uint32

// Plans returns the names of the plans of the implementation in use: ways to take
// a step at other speeds, with the same bits. "v4s2+256" works on blocks of four
// vectors, takes the square roots of two of them in software, the others in
// hardware, and prefetches 256 bytes ahead.
func Plans() []string {
	all := plans[active.Load()]
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.String()
	}
	return names
}

// SetPlan makes all calls that the implementation in use serves take one of its
// [Plans]. By default, and again after SetPlan(""), long calls find out which is
// fastest: they take each in turns and time it until each has been seen a dozen
// times. It is meant for benchmarks. Any other name is an error and changes
// nothing. The environment variable KERNEL_PLAN does the same when the program
// starts.
func SetPlan(name string) error {
	if name == "" {
		fixed.Store(0)
		return nil
	}
	names := Plans()
	i := slices.Index(names, name)
	if i < 0 {
		return fmt.Errorf("kernel: no plan %q of %s: there are %s", name, ISA(), strings.Join(names, ", "))
	}
	fixed.Store(active.Load()<<8 | uint32(1+i))
	return nil
}

// Plan returns the name of the plan that [Update] uses for n elements, "" while
// it still measures.
func Plan(n int) string {
	i := isa(active.Load())
	chosen, choosing := planOf(i, layoutUpdate, n)
	if choosing != nil {
		return ""
	}
	return plans[i][chosen].String()
}

// planOf returns the place of the plan for a step of n elements, and what is
// choosing another, if any.
func planOf(i isa, l layout, n int) (int, *chooser) {
	if f := fixed.Load(); isa(f>>8) == i && f != 0 {
		return int(f&0xff) - 1, nil
	}
	if n < minTimed || len(plans[i]) == 1 {
		return 0, nil
	}
	c := chooserOf(i, l, n)
	if chosen := c.chosen.Load(); chosen != 0 {
		return int(chosen) - 1, nil
	}
	return 0, c
}
