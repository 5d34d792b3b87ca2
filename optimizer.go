package kernel

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Param is a tensor to train, as a step takes it: its elements, their gradient
// and the state that belongs to them.
type Param struct {
	Theta []float32 // the parameters, which the step moves

	// Grad is the gradient. Where it is nil, as that of a layer which is frozen or
	// which this batch has not used, the step leaves Theta and State alone. A
	// gradient of zero does not: the means and the momentum decay, and momentum and
	// weight decay move Theta. A tensor without elements has no gradient to be nil: it takes part.
	Grad []float32

	State   *State   // nil: Step makes it and sets it here
	Options *RMSProp // of this tensor, such as no weight decay for a bias; nil: the Optimizer's
	Name    string   // what errors call the tensor; empty: params[i]
}

// Optimizer takes steps on many tensors and many cores. The bits are those of
// [RMSProp.Update] on each tensor, however many workers there are.
//
// The zero value works once Options are set. All fields may change between steps:
// LR for a schedule, Momentum to and from 0 where the states have the buffer,
// Workers in a training that is resumed elsewhere. An Optimizer must not be
// copied after its first step, and takes one step at a time.
type Optimizer struct {
	Options RMSProp // of the tensors that have none of their own
	Workers int     // how many goroutines a step may use; 0: GOMAXPROCS

	// ClipNorm limits the norm of all gradients of a step together, see Report.Norm:
	// all of them are multiplied by
	//
	//	min(1, ClipNorm/(norm + 1e-6))
	//
	// as torch.nn.utils.clip_grad_norm_ has it. The factor, computed in float64, goes
	// into what LossScale divides by, so that the gradients themselves stay as they are.
	// ClipValue comes after it. 0 is no limit, +Inf only measures. A step whose norm is
	// not finite is left out: nothing is written to any tensor or state.
	ClipNorm float64

	// SkipNonFinite leaves a step out if there is a NaN or an infinity in any
	// gradient, or if Report.Norm is 2^64 or more, from where on squares are
	// infinite in float32. With a loss scale, halve it and go on.
	SkipNonFinite bool

	// ZeroGrad sets the gradients to zero, while they are still in the cache, after
	// they were used. Those of a step that is left out become zero, too.
	ZeroGrad bool

	// What the last step has found out about its tensors.
	valid      bool
	known      []knownTensor // by their place in params
	written    []span        // theta and states, sorted
	grads      []span        // gradients, sorted, where they have to be apart
	gradsApart bool
	order      []int32 // the places in params by address of theta, those without elements at the end
	cuts       []cut   // the borders of the units of work
	elements   int
	block      []int // the first of each tensor's blocks of normBlock elements, and how many there are
	workers    int   // that the cuts are for

	// One step.
	params  []Param
	moved   []int32 // places in params of the gradients that are not where they were
	groups  []group
	group   []int32 // of each tensor
	current int32   // the group of the tensor that is looked at
	active  int     // elements that have a gradient
	skipped bool
	sums    []float64 // of squares, by block
	crew    crew
	move    func(unit int) // moveUnit and sumUnit: made once, so that a step allocates nothing
	sum     func(unit int)
}

// knownTensor is where a tensor lies whose slices were found to overlap no
// others. The addresses of empty slices are 0.
type knownTensor struct {
	n                    int
	theta, grad, s, m, b uintptr
}

// group is what the tensors share that have the same options and are at the
// same step.
type group struct {
	options  *RMSProp
	step     int // only with BiasCorrection
	elements int // that have a gradient
	coeffs   coeffs
}

// cut is a place between two units of work: before element at of the tensor
// that is the tensor-th in order.
type cut struct{ tensor, at int }

// Report is what [Optimizer.Step] has done.
type Report struct {
	// Norm is the Euclidean norm of all gradients together, divided by LossScale:
	// the root of the sum of their [SumSquares], in the order of params, over
	// LossScale. Where tensors differ in LossScale, each sum is divided by its square
	// instead. It is computed with ClipNorm or SkipNonFinite, and 0 without. Its
	// bits depend on nothing else, such as the number of workers.
	Norm    float64
	Skipped bool // nothing was written, except to gradients by ZeroGrad
}

// Step takes one step on every tensor that has a gradient and returns when all of it
// is done. It uses no more goroutines than Workers says, its caller's included,
// and fewer where the work is little.
//
// It borrows params for as long as it runs: no slice is kept. Tensors may move,
// come or go between steps. What it has found out about them it remembers by
// address and length, so that a step on the same tensors as before allocates
// nothing and checks next to nothing.
//
// Everything is checked before anything is written: the error is an
// [*ArgumentError] on the options or a tensor, with all others that are wrong, and
// everything is as it was, the States that are nil too. No
// two slices may overlap in memory, whether or not a tensor has a gradient in this
// step, except that gradients may be shared without ZeroGrad.
//
// To add tensors later, list them: their states begin with the step in which they
// first have a gradient. To save a training, save the states along with the
// thetas. It can be resumed with another number of workers and on another CPU.
//
// Large tensors are divided among the workers, small ones put together, so that
// the workers finish at the same time. A worker takes whole cache lines of 64
// bytes of all the Theta slices, and of the states made here, which lie in their
// lines as their Theta does. Where states come from elsewhere and lie otherwise,
// two workers may write to one line at the border between their parts: never to
// the same element, so that this costs a little time and no bits.
func (p *Optimizer) Step(params []Param) (Report, error) {
	if err := p.check(params); err != nil {
		return Report{}, err
	}
	if p.move == nil {
		p.move, p.sum = p.moveUnit, p.sumUnit
	}
	p.params = params

	var report Report
	factor := 1.0
	if p.ClipNorm != 0 || p.SkipNonFinite {
		report.Norm = p.norm()
		finite := report.Norm <= math.MaxFloat64
		report.Skipped = !finite || p.SkipNonFinite && report.Norm >= 0x1p64
		if p.ClipNorm != 0 {
			factor = min(1, p.ClipNorm/(report.Norm+1e-6))
		}
	}
	p.skipped = report.Skipped
	if !p.skipped {
		for i := range p.groups {
			g := &p.groups[i]
			g.coeffs.round(g.options, factor, g.options.rhoAt(g.step+1))
		}
	}
	if !p.skipped || p.ZeroGrad {
		p.crew.run(p.useful(), len(p.cuts)-1, p.move)
	}
	p.params = nil
	clear(p.groups)
	return report, nil
}

// idle tells whether a step leaves the tensor alone.
func (q *Param) idle() bool { return q.Grad == nil && len(q.Theta) > 0 }

// ---- Work ----

// crew are the goroutines that share the units of a piece of work.
type crew struct {
	do     func(unit int)
	units  int64
	next   atomic.Int64
	others sync.WaitGroup
	help   func() // work as a goroutine of its own
}

// run does all units, in any order, on so many goroutines, the caller's included.
func (c *crew) run(workers, units int, do func(unit int)) {
	if c.help == nil {
		c.help = func() {
			defer c.others.Done()
			c.work()
		}
	}
	c.do, c.units = do, int64(units)
	c.next.Store(0)
	for range min(workers, units) - 1 {
		c.others.Add(1)
		go c.help()
	}
	c.work()
	c.others.Wait()
}

// work takes units for as long as there are any.
func (c *crew) work() {
	for {
		unit := c.next.Add(1) - 1
		if unit >= c.units {
			return
		}
		c.do(int(unit))
	}
}

// Units are small enough that the last one does not keep the others waiting
// for long, and large enough that taking one, some 100 ns, does not count.
const (
	unitsPerWorker = 32
	smallestUnit   = 4 << 10
	largestUnit    = 4 * chunk
	blocksPerUnit  = largestUnit / normBlock
)

// share is how many elements are worth a goroutine: to start one and to wait for
// it takes some µs.
const share = 16 << 10

// useful is how many workers the step is worth.
func (p *Optimizer) useful() int { return min(p.workers, 1+p.active/share) }

// moveUnit takes the step on the elements between two cuts.
func (p *Optimizer) moveUnit(unit int) {
	from, to := p.cuts[unit], p.cuts[unit+1]
	for at := from; at.tensor <= to.tensor && at != to; at = (cut{at.tensor + 1, 0}) { // to may be behind the last tensor
		i := p.order[at.tensor]
		param := &p.params[i]
		if param.idle() {
			continue
		}
		end := len(param.Theta)
		if at.tensor == to.tensor {
			end = to.at
		}
		st, g := param.State, &p.groups[p.group[i]].coeffs
		if at.at == 0 && !p.skipped {
			st.Step++
		}
		c := g.call(param.Theta, param.Grad, st)
		c.at = at.at
		if !p.ZeroGrad {
			c.n = end - at.at
			c.run(p.elements)
			continue
		}
		for start := at.at; start < end; start += chunk {
			next := min(start+chunk, end)
			if !p.skipped {
				c.n = next - start
				c.run(p.elements)
			}
			clear(param.Grad[start:next])
		}
	}
}

// norm is the norm of all gradients, divided by their LossScale.
func (p *Optimizer) norm() float64 {
	blocks := p.block[len(p.params)]
	p.sums = slices.Grow(p.sums[:0], blocks)[:blocks]
	p.crew.run(p.useful(), (blocks+blocksPerUnit-1)/blocksPerUnit, p.sum)

	scale, same := 0.0, true
	for i := range p.groups {
		if g := &p.groups[i]; g.elements > 0 {
			same = same && (scale == 0 || scale == g.options.lossScale())
			scale = g.options.lossScale()
		}
	}
	total := 0.0
	for i := range p.params {
		if p.params[i].idle() {
			continue
		}
		sum := 0.0
		for _, block := range p.sums[p.block[i]:p.block[i+1]] {
			sum += block
		}
		if !same {
			s := p.groups[p.group[i]].options.lossScale()
			sum /= s * s
		}
		total += sum
	}
	if !same || scale == 0 {
		scale = 1
	}
	return math.Sqrt(total) / scale
}

// sumUnit sums the squares of some blocks of gradients.
func (p *Optimizer) sumUnit(unit int) {
	first := unit * blocksPerUnit
	behind := min(first+blocksPerUnit, len(p.sums))
	// The tensor that has the first block is the last that begins no later: one
	// without elements begins where the next one does.
	i := sort.Search(len(p.block), func(i int) bool { return p.block[i] > first }) - 1
	for ; first < behind; i++ {
		end := min(p.block[i+1], behind)
		if grad := p.params[i].Grad; grad != nil {
			grad = grad[(first-p.block[i])*normBlock:]
			blockSums(p.sums[first:end], grad[:min(len(grad), (end-first)*normBlock)])
		}
		first = end
	}
}

// ---- Checks ----

// check returns an error where a step on params would be wrong. Otherwise all that a
// step needs to know about them is known, and all states that it needs are made.
func (p *Optimizer) check(params []Param) error {
	var wrong *ArgumentError
	wrong = wrong.notNegative("Workers", p.Workers)
	if !(p.ClipNorm >= 0) {
		wrong = wrong.addNumber("ClipNorm", p.ClipNorm, "0 or more")
	}
	same := p.valid && len(p.known) == len(params)
	if !same {
		p.known = slices.Grow(p.known[:0], len(params))[:len(params)]
		clear(p.known)
	}
	p.valid = false
	p.groups, p.moved = p.groups[:0], p.moved[:0]
	p.group = slices.Grow(p.group[:0], len(params))[:len(params)]
	p.active = 0
	wrong = wrong.and(p.join(&p.Options, 0))
	missing := false
	for i := range params {
		param, k := &params[i], &p.known[i]
		n, idle := len(param.Theta), param.idle()
		o, st := param.options(p), param.State
		step := 0
		var here *ArgumentError
		same = same && n == k.n && address(param.Theta) == k.theta
		if st == nil {
			missing = missing || !idle
			same = same && k.s == 0
		} else {
			same = same && address(st.MeanSquare) == k.s && address(st.MeanGrad) == k.m && address(st.MomentumBuffer) == k.b
			if o.BiasCorrection {
				step = st.Step
			}
		}
		g := &p.groups[p.current]
		if g.options != o || g.step != step {
			here = p.join(o, step)
			g = &p.groups[p.current]
		}
		p.group[i] = p.current
		if idle {
			k.grad = 0
		} else {
			g.elements += n
			here = fieldNames.checkLength(here, 1, len(param.Grad), n)
			if address(param.Grad) != k.grad {
				p.moved = append(p.moved, int32(i))
			}
		}
		if st != nil {
			here = o.checkState(here, st, n, &fieldNames)
		}
		if here != nil {
			wrong = wrong.and(here.of(param.name(i), ""))
		}
	}
	for i := range p.groups {
		p.active += p.groups[i].elements
	}
	apart := wrong == nil
	switch {
	case !apart:
	case !same:
		apart = p.learn(params)
	default:
		apart = p.follow(params)
	}
	if p.ZeroGrad && apart && !p.gradsApart {
		apart = p.gradientsApart(params)
	}
	if !apart {
		return p.overlaps(wrong, params)
	}
	if missing {
		p.makeStates(params)
		p.learn(params)
	}
	if workers := cmp.Or(p.Workers, runtime.GOMAXPROCS(0)); workers != p.workers || !same {
		p.workers = workers
		p.cutTensors(params, unitSize(p.elements, workers))
	}
	p.valid = true
	return nil
}

func (q *Param) options(p *Optimizer) *RMSProp {
	if q.Options != nil {
		return q.Options
	}
	return &p.Options
}

// address is that of x's first element, 0 where there is none.
func address(x []float32) uintptr {
	if len(x) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(unsafe.SliceData(x)))
}

// recent is how many groups are searched for one that fits: those of a model are
// few, and if each tensor had its own, to search them all would take long.
const recent = 8

// join makes the group of a tensor the current one, and checks the options of a new one.
func (p *Optimizer) join(o *RMSProp, step int) *ArgumentError {
	for i := len(p.groups) - 1; i >= max(0, len(p.groups)-recent); i-- {
		if g := &p.groups[i]; g.step == step && (g.options == o || *g.options == *o) {
			p.current = int32(i)
			return nil
		}
	}
	p.current = int32(len(p.groups))
	p.groups = append(p.groups, group{options: o, step: step})
	if wrong := o.check(nil); wrong != nil {
		return wrong.of("", "Options.")
	}
	return nil
}

// learn finds out where the slices lie, anew, and whether they are apart.
func (p *Optimizer) learn(params []Param) bool {
	p.written, p.gradsApart = p.written[:0], false
	p.elements, p.block = 0, append(p.block[:0], 0)
	for i := range params {
		param, k := &params[i], &p.known[i]
		*k = knownTensor{n: len(param.Theta), theta: address(param.Theta), grad: address(param.Grad)}
		if st := param.State; st != nil {
			k.s, k.m, k.b = address(st.MeanSquare), address(st.MeanGrad), address(st.MomentumBuffer)
		}
		p.written = appendTensor(p.written, i, param.Theta, nil, param.State, false)
		p.elements += k.n
		p.block = append(p.block, p.block[i]+(k.n+normBlock-1)/normBlock)
	}
	sortSpans(p.written)
	if !apart(p.written) {
		return false
	}
	for i := range params {
		if meets(params[i].Grad, p.written) {
			return false
		}
	}
	p.order = p.order[:0]
	for _, s := range p.written {
		if s.slice%slicesPerTensor == 0 {
			p.order = append(p.order, s.slice/slicesPerTensor)
		}
	}
	for i := range params {
		if p.known[i].n == 0 {
			p.order = append(p.order, int32(i))
		}
	}
	return true
}

// follow does so where only gradients have moved.
func (p *Optimizer) follow(params []Param) bool {
	for _, i := range p.moved {
		if meets(params[i].Grad, p.written) {
			return false
		}
		p.known[i].grad = address(params[i].Grad)
		p.gradsApart = false
	}
	return true
}

// gradientsApart tells whether no two gradients overlap.
func (p *Optimizer) gradientsApart(params []Param) bool {
	p.grads = p.grads[:0]
	for i := range params {
		p.grads = appendSpan(p.grads, params[i].Grad, i, true)
	}
	sortSpans(p.grads)
	p.gradsApart = apart(p.grads)
	return p.gradsApart
}

// name is what errors call tensor i.
func (q *Param) name(i int) string { return cmp.Or(q.Name, fmt.Sprintf("params[%d]", i)) }

// overlaps finds the slices that overlap.
func (p *Optimizer) overlaps(wrong *ArgumentError, params []Param) *ArgumentError {
	var spans []span
	for i, param := range params {
		spans = appendTensor(spans, i, param.Theta, param.Grad, param.State, p.ZeroGrad)
	}
	return wrong.overlaps(spans, func(slice int32) (tensor, name string) {
		i := int(slice / slicesPerTensor)
		return params[i].name(i), fieldNames.slice(int(slice % slicesPerTensor))
	})
}

// ---- Memory ----

const (
	lineSize  = 64 // bytes in a cache line of the CPUs that the assembly is for
	lineFloat = lineSize / 4
	pageSize  = 4096
	// The caches place memory by its address within a page. Where several long
	// slices lie alike in theirs, they get into each other's way, which costs some
	// percent: those of a long tensor are apart by a quarter of a page.
	stagger = pageSize / 4
	long    = chunk
)

// makeStates makes the states that are nil, of one allocation. They lie in their
// cache lines as their Thetas do, and none shares a line with another.
func (p *Optimizer) makeStates(params []Param) {
	count, total := 0, lineFloat
	for i := range params {
		if param := &params[i]; param.State == nil && !param.idle() {
			count++
			total += 3 * (len(param.Theta) + 2*lineFloat)
			if len(param.Theta) >= long {
				total += 3 * pageSize / 4
			}
		}
	}
	states, memory := make([]State, count), make([]float32, total)
	start, _ := extent(memory)
	memory = memory[-start%lineSize/4:]
	for _, i := range p.order {
		param := &params[i]
		if param.State != nil || param.idle() {
			continue
		}
		n := len(param.Theta)
		like, _ := extent(param.Theta)
		// memory begins a line.
		take := func() []float32 {
			start, _ := extent(memory)
			at := int((like-start)%lineSize) / 4
			if n >= long {
				like += stagger
				at = int((like-start)%pageSize) / 4
			}
			x := memory[at:][:n:n]
			memory = memory[(at+n+lineFloat-1)/lineFloat*lineFloat:]
			return x
		}
		o, st := param.options(p), &states[0]
		states = states[1:]
		st.MeanSquare = take()
		o.begin(st.MeanSquare)
		if o.Centered {
			st.MeanGrad = take()
		}
		if o.Momentum != 0 {
			st.MomentumBuffer = take()
		}
		param.State = st
	}
}

func unitSize(total, workers int) int {
	if workers == 1 {
		return total + 1
	}
	return min(max(total/workers/unitsPerWorker, smallestUnit), largestUnit)
}

// cutTensors divides the tensors, in their order in memory, into units of work of at
// least size elements, the last one aside. It cuts where a cache line of theta
// begins, so that neighbours in memory which share a line get the same worker.
func (p *Optimizer) cutTensors(params []Param, size int) {
	p.cuts = append(p.cuts[:0], cut{0, 0})
	filled := 0 // elements since the last cut
	for place, i := range p.order {
		theta := params[i].Theta
		start, _ := extent(theta)
		first := int(-start%lineSize) / 4 // the first element that begins a line
		at := 0
		for {
			next := at + max(size-filled, 0)
			next = first + max(next-first+lineFloat-1, 0)/lineFloat*lineFloat
			if next >= len(theta) {
				break
			}
			p.cuts = append(p.cuts, cut{place, next})
			at, filled = next, 0
		}
		filled += len(theta) - at
	}
	p.cuts = append(p.cuts, cut{len(p.order), 0})
}
