package kernel

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/seed57504d97/kernel/internal/tuning"
)

// A plan is one of the ways to compute a step. All give the same bits. Which is fastest
// depends on the CPU and on where the data lie, and no rule covers unknown CPUs. So the
// package times the chunks of its caller's own long calls and keeps the fastest plan.
type plan struct {
	isa       isa
	vectors   int // of a block
	roots     int // how many of these compute their root in software
	quotients int // how many of those also compute lr over it in software
	ahead     int // the prefetch distance in bytes; 0: nothing is prefetched
}

// String returns a name such as avx512/v4r2q2+256: the implementation, blocks of four
// vectors, two roots and two quotients of these in software, and prefetching 256 bytes
// ahead.
func (p plan) String() string {
	name := fmt.Sprintf("%v/v%dr%d", p.isa, p.vectors, p.roots)
	if p.quotients > 0 {
		name += fmt.Sprintf("q%d", p.quotients)
	}
	if p.ahead > 0 {
		name += fmt.Sprintf("+%d", p.ahead)
	}
	return name
}

// plans lists each implementation's own plans. The first one is used until the
// measurements choose another.
var plans = [...][]plan{
	isaGeneric: {{isa: isaGeneric, vectors: 1}},
	isaNEON:    {{isa: isaNEON, vectors: 4}},
	isaAVX2:    atDistances(plan{isaAVX2, 4, 0, 0, 0}, plan{isaAVX2, 2, 0, 0, 0}, plan{isaAVX2, 4, 2, 0, 0}),
	isaAVX512:  plansAVX512,
	// Fewer operations in flight for an element let a core look further ahead: from
	// memory, narrow blocks can be faster than wide ones.
	isaBest512: slices.Concat(plansAVX512, []plan{{isaAVX2, 2, 0, 0, 256}, {isaAVX2, 2, 0, 0, 2 << 10}}),
}

var plansAVX512 = atDistances(plan{isaAVX512, 4, 2, 0, 0}, plan{isaAVX512, 4, 2, 2, 0})

// mostPlans is the length of the longest list.
const mostPlans = 9

// atDistances returns the plans without prefetching, then those with it.
func atDistances(near ...plan) (all []plan) {
	for _, ahead := range []int{0, 256, 2 << 10} {
		for _, p := range near {
			p.ahead = ahead
			all = append(all, p)
		}
	}
	return all
}

// minTimed is the shortest length that is timed: compared with that many elements, reading
// the clock costs little.
const minTimed = 1 << 10

const (
	trials      = 12 // of each plan before one is chosen
	trialsSteps = 5  // the least number of steps: the first one finds cold data
	trialsKept  = 64 // only the last ones decide: a long step has many
)

// A tuner finds the fastest plan of a list for a layout and a class of lengths. Its
// methods may be called at the same time; no trial is lost.
type tuner struct {
	chosen   atomic.Uint32 // 1 + the plan; 0: not yet
	turns    atomic.Uint32
	elements atomic.Int64 // in all chunks that were timed: a step may come in many calls
	recorded [mostPlans]struct {
		trials atomic.Uint32
		costs  [trialsKept]atomic.Uint32 // 1 + the time of 1,024 elements, in ns/64; 0: none
	}
}

// classes is the number of classes of lengths: one for each power of two from minTimed on.
// All lengths from 2^28 on are one class, because their data come from memory.
const classes = 28 - 10 + 1

var tuners [len(plans)][layouts][classes]tuner

// tunerOf returns the tuner for a step of n elements. Steps too short to be timed use
// what the shortest class has chosen.
func tunerOf(i isa, l layout, n int) *tuner {
	return &tuners[i][l][min(max(bits.Len(uint(n))-bits.Len(minTimed), 0), classes-1)]
}

// next returns the plan whose turn it is. Each round begins with another plan: if a
// call has as many chunks as there are plans, each plan would otherwise always get the
// same part of the data.
func (t *tuner) next(plans int) int {
	turn := int(t.turns.Add(1) - 1)
	return (turn + turn/plans) % plans
}

// record records the time of a plan for n elements of a step of total, and chooses a plan
// when there are enough trials.
func (t *tuner) record(plans []plan, i int, elapsed int64, n, total int) {
	r := &t.recorded[i]
	trial := r.trials.Add(1) - 1
	r.costs[trial%trialsKept].Store(uint32(min(elapsed<<16/int64(n)+1, math.MaxUint32)))
	if t.elements.Add(int64(n)) <= (trialsSteps-1)*int64(total) {
		return
	}
	best, least := 0, uint32(math.MaxUint32)
	for j := range plans {
		cost, enough := t.cost(j)
		if !enough {
			return
		}
		if cost < least {
			best, least = j, cost
		}
	}
	t.chosen.CompareAndSwap(0, uint32(1+best))
}

// cost returns the lower quartile of a plan's last trials, and reports whether there are
// enough. The smallest would be
// misleading: from memory, one chunk that happened to lie in a cache would decide.
func (t *tuner) cost(plan int) (cost uint32, enough bool) {
	var all [trialsKept]uint32
	costs := all[:0]
	for i := range t.recorded[plan].costs {
		if cost := t.recorded[plan].costs[i].Load(); cost != 0 {
			costs = append(costs, cost)
		}
	}
	if len(costs) < trials {
		return 0, false
	}
	slices.Sort(costs)
	return costs[len(costs)/4], true
}

// planOf returns the plan for a step of n elements, and the implementation whose plan it
// is. Until a plan is chosen, it also returns the tuner.
func planOf(l layout, n int) (i isa, p *plan, t *tuner) {
	i, fixed := selection()
	all := plans[i]
	if fixed >= 0 {
		return i, &all[fixed], nil
	}
	if len(all) == 1 {
		return i, &all[0], nil
	}
	t = tunerOf(i, l, n)
	if chosen := t.chosen.Load(); chosen != 0 {
		return i, &all[chosen-1], nil
	}
	if n < minTimed {
		t = nil
	}
	return i, &all[0], t
}

// ---- For benchmarks ----

func init() {
	tuning.Plans, tuning.SetPlan, tuning.Plan = planNames, setPlan, planName
}

func planNames() []string {
	i, _ := selection()
	names := make([]string, len(plans[i]))
	for j, p := range plans[i] {
		names[j] = p.String()
	}
	return names
}

func setPlan(name string) error {
	for {
		before := selected.Load()
		i := isa(before >> 8)
		fixed := 0
		if name != "" {
			place := slices.IndexFunc(plans[i], func(p plan) bool { return p.String() == name })
			if place < 0 {
				return fmt.Errorf("kernel: plan %q, want one of %s", name, strings.Join(planNames(), ", "))
			}
			fixed = 1 + place
		}
		if selected.CompareAndSwap(before, uint32(i)<<8|uint32(fixed)) {
			return nil
		}
	}
}

func planName(n int) string {
	_, p, t := planOf(layoutPlain, n)
	if t != nil {
		return ""
	}
	return p.String()
}
