package kernel

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// A task is what one step needs. The next step reuses the memory of its slices.
type task struct {
	params    []Param
	groups    []group
	groupOf   []int32 // of each tensor
	current   int32   // the group of the last tensor
	tables    []table // of the tensors whose gradients hold some of their rows
	sums      rowSums // of rows that are listed more than once
	active    int     // elements that have a gradient
	hasTables bool    // some gradients hold rows
	skipped   bool
	done      bool
	remade    []int32 // tensors without a state for which the last step allocated one

	blocksHold bool      // blocks are right for the next step if its tensors are the same
	blocks     []int     // the first of each tensor's blocks of normBlock elements, and how many there are
	blockSums  []float64 // of squares
}

// A group stands for the tensors with the same options at the same step.
type group struct {
	options *RMSProp
	noDecay bool
	lrScale float64
	step    int // only with BiasCorrection
	coeffs  coeffs
}

func (t *task) begin(params []Param) {
	t.params = params
	t.groups, t.tables, t.remade = t.groups[:0], t.tables[:0], t.remade[:0]
	t.active, t.hasTables, t.done = 0, false, false
	t.groupOf = slices.Grow(t.groupOf[:0], len(params))[:len(params)]
	t.sums.reset()
}

// end drops all references to the caller's memory.
func (t *task) end() {
	t.params = nil
	clear(t.groups)
	clear(t.tables)
}

// recent is the number of groups that join searches. A model has few groups. If every
// tensor had its own, a search of all groups would be slow.
const recent = 8

// join makes the group of a tensor the current one. It reports whether the group is
// new and whether its options are.
func (t *task) join(options *RMSProp, noDecay bool, lrScale float64, steps int) (isNew, hasNewOptions bool) {
	hasNewOptions = len(t.groups) == 0 || options != t.groups[0].options
	for i := len(t.groups) - 1; i >= max(0, len(t.groups)-recent); i-- {
		g := &t.groups[i]
		if g.step == steps && g.noDecay == noDecay && g.lrScale == lrScale && (g.options == options || *g.options == *options) {
			t.current = int32(i)
			return false, false
		}
		hasNewOptions = hasNewOptions && g.options != options
	}
	t.current = int32(len(t.groups))
	t.groups = append(t.groups, group{options: options, noDecay: noDecay, lrScale: lrScale, step: steps})
	return true, hasNewOptions
}

// effective sets r to the options of the group's tensors, with NoDecay and LRScale
// applied.
func (g *group) effective(r *RMSProp) {
	*r = *g.options
	if g.lrScale != 0 {
		r.LR *= g.lrScale
	}
	if g.noDecay {
		r.WeightDecay = 0
	}
}

// round computes the coefficients of all groups. factor is ClipNorm's.
func (t *task) round(factor, lossScale float64) {
	for i := range t.groups {
		g := &t.groups[i]
		var r RMSProp
		g.effective(&r)
		r.LossScale = lossScale
		g.coeffs.round(&r, factor, g.step+1)
	}
}

// addTables lists the tables of this step, with each row once.
func (t *task) addTables(zeroGrad bool) {
	for i := range t.params {
		p := &t.params[i]
		if p.Width == 0 || p.idle() {
			continue
		}
		tab := table{tensor: int32(i), width: p.Width, rows: p.Rows, grad: p.Grad}
		if grad, rows, added := t.sums.add(p.Grad, p.Rows, p.Width, len(p.Theta)/p.Width); added {
			tab.grad, tab.rows = grad, rows
			if zeroGrad {
				clear(p.Grad)
			}
		}
		t.tables = append(t.tables, tab)
	}
}

// gradient returns the gradient of tensor i; of a table, with each row once.
func (t *task) gradient(i int) []float32 {
	if t.hasTables && t.params[i].Width != 0 {
		return t.tableGradient(i)
	}
	return t.params[i].Grad
}

func (t *task) tableGradient(i int) []float32 {
	at, found := slices.BinarySearchFunc(t.tables, int32(i), func(x table, i int32) int { return cmp.Compare(x.tensor, i) })
	if !found {
		return nil
	}
	return t.tables[at].grad
}

// ---- The norm ----

// layBlocks numbers the blocks of all gradients, unless the last step's numbers hold.
func (t *task) layBlocks() {
	if t.blocksHold && !t.hasTables {
		return
	}
	t.blocksHold = !t.hasTables
	t.blocks = append(t.blocks[:0], 0)
	for i := range t.params {
		n := len(t.params[i].Theta)
		if t.params[i].Width != 0 {
			n = len(t.gradient(i))
		}
		t.blocks = append(t.blocks, t.blocks[i]+(n+normBlock-1)/normBlock)
	}
	blocks := t.blocks[len(t.params)]
	t.blockSums = slices.Grow(t.blockSums[:0], blocks)[:blocks]
}

// sumUnits returns the number of units of work of the norm.
func (t *task) sumUnits() int { return (len(t.blockSums) + blocksPerUnit - 1) / blocksPerUnit }

// sumUnit sums the squares of some blocks of gradients.
func (t *task) sumUnit(unit int) {
	first := unit * blocksPerUnit
	end := min(first+blocksPerUnit, len(t.blockSums))
	// The first block belongs to the last tensor that begins at it or before it, because a
	// tensor without elements begins at the same block as the next one.
	i := sort.Search(len(t.blocks), func(i int) bool { return t.blocks[i] > first }) - 1
	for ; first < end; i++ {
		next := min(t.blocks[i+1], end)
		if grad := t.gradient(i); grad != nil {
			grad = grad[(first-t.blocks[i])*normBlock:]
			blockSums(t.blockSums[first:next], grad[:min(len(grad), (next-first)*normBlock)])
		}
		first = next
	}
}

// norm returns the norm of all gradients, and the first tensor whose gradient has a
// NaN or an infinity, or -1. The sum of finite elements is finite.
func (t *task) norm() (norm float64, notFinite int) {
	total := 0.0
	for i := range t.params {
		if !t.params[i].idle() {
			total += t.sum(i)
		}
	}
	if total <= math.MaxFloat64 {
		return math.Sqrt(total), -1
	}
	for i := range t.params {
		if !t.params[i].idle() && !(t.sum(i) <= math.MaxFloat64) {
			return math.Sqrt(total), i
		}
	}
	return math.Sqrt(total), -1
}

// sum returns the sum of squares of the gradient of tensor i.
func (t *task) sum(i int) (sum float64) {
	for _, block := range t.blockSums[t.blocks[i]:t.blocks[i+1]] {
		sum += block
	}
	return sum
}

// ---- Elements ----

// run steps a piece. elements is the size of the whole step, which decides the plan.
func (t *task) run(p piece, elements int, zeroGrad bool) {
	param := &t.params[p.tensor]
	if param.idle() {
		return
	}
	coeffs := &t.groups[t.groupOf[p.tensor]].coeffs
	if p.table != notATable {
		rows := &t.tables[p.table]
		all := coeffs.call(param.Theta, rows.grad, param.State)
		for at := p.start; at < p.end; {
			part := rows.neighbors(&all, at, p.end)
			grad := rows.grad[at:][:part.n]
			at += part.n
			t.runPart(&part, grad, elements, zeroGrad)
		}
		return
	}
	if p.start == 0 && !t.skipped {
		param.State.Step++
	}
	if p.end > p.start {
		grad := param.Grad[p.start:p.end] // the kernels check no bounds
		part := coeffs.call(param.Theta, param.Grad, param.State)
		part.at, part.n = p.start, p.end-p.start
		if !zeroGrad && !t.skipped {
			part.run(elements)
			return
		}
		t.runPart(&part, grad, elements, zeroGrad)
	}
}

// runPart steps some elements, and zeroes their gradients while they are in the cache.
func (t *task) runPart(c *call, grad []float32, elements int, zeroGrad bool) {
	if !zeroGrad {
		if !t.skipped {
			c.run(elements)
		}
		return
	}
	for len(grad) > 0 {
		c.n = min(len(grad), chunk)
		next := grad[:c.n]
		if !t.skipped {
			c.run(elements)
		}
		clear(next)
		grad = grad[len(next):]
	}
}
