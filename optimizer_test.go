package kernel

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// tensorSizes are tensors of every kind: none, small, in the middle of a cache
// line, long enough to be cut.
var tensorSizes = []int{1, 0, 100, 17, 3*chunk + 5, 16, 1, 1, 1, 2000, 15, 31, smallestUnit, 20_011}

// newTensors returns tensors of those sizes: each for itself, or with all theta
// in one slice and all else in another, in which they share cache lines.
func newTensors(r *generator, o *RMSProp, sizes []int, together bool) []tensorData {
	total := 0
	for _, n := range sizes {
		total += n
	}
	all := o.allocate(total)
	r.training(all)
	var out []tensorData
	at := 0
	for _, n := range sizes {
		d := all.slice(at, at+n)
		if !together {
			d = d.clone()
		}
		out = append(out, d)
		at += n
	}
	return out
}

func cloneAll(tensors []tensorData) (clones []tensorData) {
	for _, d := range tensors {
		clones = append(clones, d.clone())
	}
	return clones
}

func paramsOf(tensors []tensorData, withState func(i int) bool) []Param {
	var params []Param
	for i, d := range tensors {
		param := Param{Theta: d[0], Grad: d[1]}
		if withState(i) {
			param.State = d.state()
		}
		params = append(params, param)
	}
	return params
}

func always(int) bool { return true }

func withGOMAXPROCS(t *testing.T, n int) {
	before := runtime.GOMAXPROCS(n)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// mustStep takes a step that must not be wrong.
func mustStep(t testing.TB, p *Optimizer, params []Param) Report {
	t.Helper()
	report, err := p.Step(params)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// However the work is divided, the bits are those of Update on each tensor.
func TestOptimizer(t *testing.T) {
	sets := optionSets
	if testing.Short() {
		sets = optionSets[:12]
	}
	forEachISA(t, func(t *testing.T) {
		for _, procs := range []int{1, 2, 8} {
			t.Run(fmt.Sprint("GOMAXPROCS=", procs), func(t *testing.T) {
				withGOMAXPROCS(t, procs)
				r := generator(21)
				for i, o := range sets {
					tensors := newTensors(&r, &o, tensorSizes, i%2 == 0)
					if i%3 == 0 {
						slices.Reverse(tensors)
					}
					want := cloneAll(tensors)
					states := make([]*State, len(want))
					for j := range want {
						states[j] = want[j].state()
					}
					opt := &Optimizer{Options: o, Workers: []int{0, 1, 2, 3, 8, 1 << 20}[i%6]}
					params := paramsOf(tensors, always)
					for step := range 2 {
						opt.Options.LR = o.LR / float64(1+step)
						mustStep(t, opt, params)
						one := opt.Options
						for j, d := range want {
							one.Update(d[0], d[1], states[j])
						}
					}
					for i := range want {
						tensors[i].requireSame(t, fmt.Sprintf("%d workers, tensor %d, %+v", opt.Workers, i, o), want[i])
						if params[i].State.Step != 2 {
							t.Errorf("State.Step = %d after 2 steps", params[i].State.Step)
						}
					}
				}
			})
		}
	})
}
