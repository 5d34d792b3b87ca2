package kernel

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Param is a tensor to train: its elements, their gradient and the state that
// belongs to them, which may be nil for [NewOptimizer] to make.
type Param struct {
	Theta, Grad []float32
	State       *State
}

// Optimizer takes steps on a fixed set of tensors, on several cores: it is
// checked and cut into work once, and stepped many times. The bits are those of
// [RMSProp.Update] on each tensor, however many workers there are.
//
// The fields of its RMSProp may change between steps, such as LR for a schedule,
// except that Centered, and whether Momentum is zero, must stay as they were:
// the states are made for them.
//
// An Optimizer keeps the slices that it was given, not the Params: values may
// change in place, and [Optimizer.SetGrad] gives it another gradient. It must
// not be copied, and its methods must not run at the same time.
type Optimizer struct {
	RMSProp

	centered, momentum bool // as they were at the start

	workers int
	states  []*State
	tensors []tensor   // by address of theta
	place   []int      // params[i] is tensors[place[i]]
	written []extentOf // what a step writes, by address
	cuts    []cut      // the borders of the units of work

	// One step.
	member member
	next   atomic.Int64 // the next unit of work: from cuts[next] to cuts[next+1]
	others sync.WaitGroup
	help   func() // work as a goroutine of its own: made once, so that a step allocates nothing
}

// tensor is a Param as a step wants it.
type tensor struct{ theta, grad, s, m, b []float32 }

// cut is a place between two units of work: before element at of a tensor.
type cut struct{ tensor, at int }

// NewOptimizer returns an Optimizer for the tensors, with as many goroutines a
// step as workers says; workers <= 0 means GOMAXPROCS. States that are nil it
// makes, and sets in params.
//
// Everything is checked here, so that no wrong tensor leaves a step half done:
// the error joins an [*ArgumentError] for each problem of the options and of
// each tensor, by its index in params. No two slices may overlap in memory,
// except that gradients may be shared. Where there is an error, params is left
// as it was.
//
// Large tensors are divided among the workers, small ones put together, so that
// the workers finish at the same time. A worker takes whole cache lines of 64
// bytes of all the Theta slices, and of the states made here, which lie in their
// lines as their Theta does. Where states come from elsewhere and lie otherwise,
// two workers may write to one line at the border between their parts: never to
// the same element, so that this costs a little time and no bits.
func NewOptimizer(o RMSProp, params []Param, workers int) (*Optimizer, error) {
	var wrong problems
	o.check(&wrong)
	for i, param := range params {
		o.checkParam(&wrong, i, param)
	}
	checkExtents(&wrong, extents(params))
	if err := wrong.err(); err != nil {
		return nil, err
	}
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}

	byAddress := make([]int, len(params))
	for i := range byAddress {
		byAddress[i] = i
	}
	slices.SortFunc(byAddress, func(i, j int) int {
		a, _ := extent(params[i].Theta)
		b, _ := extent(params[j].Theta)
		return cmp.Compare(a, b)
	})
	o.makeStates(params, byAddress)

	p := &Optimizer{
		RMSProp:  o,
		centered: o.Centered,
		momentum: o.Momentum != 0,
		workers:  workers,
		states:   make([]*State, len(params)),
		place:    make([]int, len(params)),
	}
	total := 0
	for _, i := range byAddress {
		param := params[i]
		p.states[i] = param.State
		p.place[i] = len(p.tensors)
		p.tensors = append(p.tensors, tensor{param.Theta, param.Grad,
			param.State.MeanSquare, param.State.MeanGrad, param.State.Momentum})
		total += len(param.Theta)
	}
	p.written = slices.DeleteFunc(extents(params), func(e extentOf) bool { return !e.written })
	p.cuts = cutTensors(p.tensors, unitSize(total, workers))
	p.help = func() {
		defer p.others.Done()
		p.work()
	}
	return p, nil
}

// State returns the state of params[i], to be saved for instance.
func (p *Optimizer) State(i int) *State { return p.states[i] }

// SetGrad replaces the gradient of params[i]. The error is an [*ArgumentError]
// if i is out of range, if the length differs from Theta's, or if grad overlaps
// in memory what a step writes; the gradient then stays as it was.
func (p *Optimizer) SetGrad(i int, grad []float32) error {
	if i < 0 || i >= len(p.place) {
		return &ArgumentError{fmt.Sprintf("i = %d: must be in [0, %d), the tensors", i, len(p.place))}
	}
	t := &p.tensors[p.place[i]]
	if len(grad) != len(t.theta) {
		return &ArgumentError{fmt.Sprintf("params[%d]: len(grad) = %d, len(Theta) = %d: lengths must be equal",
			i, len(grad), len(t.theta))}
	}
	start, end := extent(grad)
	at, _ := slices.BinarySearchFunc(p.written, start, func(e extentOf, start uintptr) int {
		if e.end <= start {
			return -1
		}
		return 1
	})
	if at < len(p.written) && p.written[at].start < end && len(grad) > 0 {
		return &ArgumentError{fmt.Sprintf("params[%d]: grad and %v overlap in memory: they must be apart", i, p.written[at])}
	}
	t.grad = grad
	return nil
}

// Step takes one step on every tensor and returns when all of it is done. It
// starts one goroutine less than there are workers, or units of work if those
// are fewer: with one worker none.
//
// It panics with an [*ArgumentError], before anything is written, if a field of
// the RMSProp is out of range or one has changed that may not.
func (p *Optimizer) Step() {
	var wrong problems
	p.RMSProp.check(&wrong)
	if p.Centered != p.centered {
		wrong.addf("Centered = %v, and was %v in NewOptimizer: the states are made for that", p.Centered, p.centered)
	}
	if (p.Momentum != 0) != p.momentum {
		was := "zero"
		if p.momentum {
			was = "not zero"
		}
		wrong.addf("Momentum = %v, and was %s in NewOptimizer: the states are made for that", p.Momentum, was)
	}
	wrong.panic()

	p.member = p.RMSProp.member()
	p.next.Store(0)
	for range min(p.workers, len(p.cuts)-1) - 1 {
		p.others.Add(1)
		go p.help()
	}
	p.work()
	p.others.Wait()
}

// work takes units of work for as long as there are any.
func (p *Optimizer) work() {
	k := p.member
	for {
		unit := int(p.next.Add(1)) - 1
		if unit >= len(p.cuts)-1 {
			return
		}
		from, to := p.cuts[unit], p.cuts[unit+1]
		for at := from; at.tensor <= to.tensor; at = (cut{at.tensor + 1, 0}) {
			if at == to { // which may be behind the last tensor
				break
			}
			t := &p.tensors[at.tensor]
			end := len(t.theta)
			if at.tensor == to.tensor {
				end = to.at
			}
			k.run(t.theta[at.at:end], t.grad[at.at:end], t.s[at.at:end], part(t.m, at.at, end), part(t.b, at.at, end))
		}
	}
}

// part is x[start:end] of a slice that may be empty instead.
func part(x []float32, start, end int) []float32 {
	if len(x) == 0 {
		return nil
	}
	return x[start:end]
}

// ---- Checks ----

func (o *RMSProp) checkParam(wrong *problems, i int, param Param) {
	var p problems
	n := len(param.Theta)
	if len(param.Grad) != n {
		p.addf("len(Grad) = %d, len(Theta) = %d: lengths must be equal", len(param.Grad), n)
	}
	if param.State != nil {
		o.checkState(&p, names{"Theta", "Grad", "State"}, param.State, n)
	}
	for _, problem := range p {
		wrong.addf("params[%d]: %s", i, problem)
	}
}

// extentOf is where a slice of a tensor lies in memory.
type extentOf struct {
	start, end uintptr
	param      int
	name       string
	written    bool
}

func (e extentOf) String() string { return fmt.Sprintf("params[%d].%s", e.param, e.name) }

// extents returns those of all slices that are not empty, sorted by address.
func extents(params []Param) []extentOf {
	var all []extentOf
	for i, param := range params {
		add := func(name string, x []float32, written bool) {
			if len(x) > 0 {
				start, end := extent(x)
				all = append(all, extentOf{start, end, i, name, written})
			}
		}
		add("Theta", param.Theta, true)
		add("Grad", param.Grad, false)
		if st := param.State; st != nil {
			add("State.MeanSquare", st.MeanSquare, true)
			add("State.MeanGrad", st.MeanGrad, true)
			add("State.Momentum", st.Momentum, true)
		}
	}
	slices.SortStableFunc(all, func(a, b extentOf) int { return cmp.Compare(a.start, b.start) })
	return all
}

// checkExtents finds overlaps in sorted extents, unless both are only read: an
// extent overlaps one before it if it begins before the furthest end of those.
func checkExtents(wrong *problems, sorted []extentOf) {
	var furthest, furthestWritten extentOf
	for _, e := range sorted {
		before := furthestWritten
		if e.written {
			before = furthest
		}
		if e.start < before.end {
			wrong.addf("%v and %v overlap in memory: they must be apart", before, e)
		}
		if e.end > furthest.end {
			furthest = e
		}
		if e.written && e.end > furthestWritten.end {
			furthestWritten = e
		}
	}
}

// ---- Memory and work ----

const (
	lineSize  = 64 // bytes in a cache line of the CPUs that the assembly is for
	lineFloat = lineSize / 4
)

// makeStates makes the states that are nil, of one allocation for each kind of
// slice. They lie in their cache lines as their Thetas do, and none shares a
// line with another.
func (o *RMSProp) makeStates(params []Param, byAddress []int) {
	var without, offsets []int
	total := 0
	for _, i := range byAddress {
		if params[i].State != nil {
			continue
		}
		start, _ := extent(params[i].Theta)
		total = (total+lineFloat-1)/lineFloat*lineFloat + int(start%lineSize)/4
		without, offsets = append(without, i), append(offsets, total)
		total += len(params[i].Theta)
	}
	if without == nil {
		return
	}
	allocate := func() []float32 {
		x := make([]float32, total+lineFloat)
		start, _ := extent(x)
		return x[-start%lineSize/4:]
	}
	s := allocate()
	var m, b []float32
	if o.Centered {
		m = allocate()
	}
	if o.Momentum != 0 {
		b = allocate()
	}
	take := func(x []float32, offset, n int) []float32 {
		if x == nil {
			return nil
		}
		return x[offset:][:n:n]
	}
	for j, i := range without {
		n := len(params[i].Theta)
		params[i].State = &State{take(s, offsets[j], n), take(m, offsets[j], n), take(b, offsets[j], n)}
		o.begin(params[i].State.MeanSquare)
	}
}

// Units are small enough that the last one does not keep the others waiting
// for long, and large enough that taking one, some 100 ns, does not count.
const (
	unitsPerWorker = 32
	smallestUnit   = 4 << 10
	largestUnit    = 4 * chunk
)

func unitSize(total, workers int) int {
	if workers == 1 {
		return total + 1
	}
	return min(max(total/workers/unitsPerWorker, smallestUnit), largestUnit)
}

// cutTensors divides the tensors, one after the other, into units of work of at
// least size elements, the last one aside. It cuts where a cache line of theta
// begins, so that neighbours in memory which share a line get the same worker.
func cutTensors(tensors []tensor, size int) []cut {
	cuts := []cut{{0, 0}}
	filled := 0 // elements since the last cut
	for i, t := range tensors {
		n := len(t.theta)
		start := uintptr(unsafe.Pointer(unsafe.SliceData(t.theta)))
		first := int(-start%lineSize) / 4 // the first element that begins a line
		at := 0
		for {
			next := at + max(size-filled, 0)
			next = first + max(next-first+lineFloat-1, 0)/lineFloat*lineFloat
			if next >= n {
				break
			}
			cuts = append(cuts, cut{i, next})
			at, filled = next, 0
		}
		filled += n - at
	}
	return append(cuts, cut{len(tensors), 0})
}
