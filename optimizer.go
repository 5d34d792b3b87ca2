package kernel

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
)

// A Param is a tensor to train: its elements, their gradient and their state. Make
// it once and keep it from step to step, because Step keeps the state in it.
type Param struct {
	Theta []float32 // the parameters, which Step updates

	// Grad is the gradient. Step leaves Theta and State alone if Grad is nil, as for
	// a frozen layer or one that the batch did not use. A gradient of zero is not
	// the same: the means and the momentum decay, and momentum and weight decay
	// move Theta. A tensor without elements always takes part.
	Grad []float32

	// State is allocated by Step if it is nil or empty. It stays empty until the
	// tensor has its first gradient.
	State *State

	// Options are the tensor's own options, instead of the Optimizer's. They do not
	// follow the Optimizer's: a schedule of LR, for example, must be applied to
	// both. NoDecay and LRScale are often enough.
	Options *RMSProp
	NoDecay bool    // no weight decay, as is usual for a bias
	LRScale float64 // multiplies LR, as for a layer that learns slowly; 0 means 1

	Name string // what errors call the tensor; params[i] if it is empty

	// Width and Rows are for tables, such as embeddings, of which a batch uses few
	// rows. If Width is not 0, Theta consists of rows of Width elements, and Grad
	// has one row for each of Rows. Step leaves all other rows alone, as
	// [RMSProp.UpdateRows] does. If a row is listed more than once, Step adds its
	// gradients first, with the bits of [CoalesceRows]; Report.Norm is the norm of
	// the sums.
	Width int
	Rows  []int
}

// An Optimizer steps many tensors on many cores. The bits are those of
// [RMSProp.Update] on each tensor, for any number of workers.
//
// The zero value is ready to use once Options are set; Step refuses options with
// neither Rho nor Eps. All fields may change between steps: LR for a schedule,
// Momentum to and from 0 if the states have the buffer ([RMSProp.Adapt] adds it),
// Workers when training resumes on another machine.
//
// An Optimizer takes one step at a time and must not be copied after the first one.
// Step returns an error for either mistake.
type Optimizer struct {
	Options RMSProp // for all tensors without options of their own
	Workers int     // how many goroutines a step may use; 0 means GOMAXPROCS

	// LossScale is what the loss, and so every gradient, was multiplied by. Step
	// divides the gradients by it; 0 means 1. RMSProp.LossScale must be 0 in an
	// Optimizer.
	LossScale float64

	// ClipNorm limits the norm of all gradients together, see Report.Norm. Step
	// multiplies all of them by
	//
	//	min(1, ClipNorm/(norm + 1e-6))
	//
	// as torch.nn.utils.clip_grad_norm_ does. This factor is computed in float64
	// and combined with LossScale, so the gradients in memory do not change.
	// ClipValue applies after it. 0 means no limit, +Inf only measures the norm. A
	// step whose norm is not finite is skipped: it writes to no tensor or state.
	ClipNorm float64

	// SkipNonFinite skips a step if any gradient has a NaN or an infinity, or if
	// Report.Norm is 2^64 or more, where squares become infinite in float32. With a
	// loss scale, halve it and go on.
	SkipNonFinite bool

	// ZeroGrad sets the gradients to zero after their use, while they are still in
	// the cache. A skipped step does so as well.
	ZeroGrad bool

	self      *Optimizer // distinguishes a copy from the original
	stepping  atomic.Bool
	places    places
	partition partition
	workers   workers
	task      task
	runUnit   func(unit int) // made once, so that a step allocates nothing
	sumUnit   func(unit int)
}

// A Report is what [Optimizer.Step] did.
type Report struct {
	// Norm is the Euclidean norm of all gradients together, divided by LossScale:
	// the root of the sum of their [SumSquares], in the order of params, over
	// LossScale. It is 0 without ClipNorm and SkipNonFinite. Its bits depend on
	// nothing else, such as the number of workers.
	Norm    float64
	Skipped bool // nothing was written, except gradients by ZeroGrad

	// NonFinite is the first tensor whose gradient has a NaN or an infinity: its
	// Name, or params[i]. It is empty if there is none, or if Norm was not computed.
	NonFinite string
}

// Step takes one step on every tensor that has a gradient, and returns when all of
// them are done. It uses at most Workers goroutines, including the caller's, and
// fewer if there is little work.
//
// Step keeps no slice after it returns. Tensors may move, come or go between steps.
// It remembers where they lie by address and length, so that a step on the same
// tensors as before allocates nothing and checks little. Many small tensors are
// fastest if they are parts of one large slice, and so are their gradients.
//
// Step checks everything before it writes anything. Its error is an
// [*ArgumentError], which lists everything that is wrong; then all tensors and
// states are as they were. No two slices may overlap in memory, even if their
// tensors have no gradient in this step, except that gradients may be shared
// without ZeroGrad.
//
// To add a tensor later, add it to params: its state begins with its first
// gradient. To save training, save the states along with the thetas. Training can
// resume with another number of workers and on another CPU. A Param that is made
// again for every step loses its State each time: the third such step in a row
// returns an error.
//
// Step divides large tensors among the workers and combines small ones. A worker
// gets whole cache lines of 64 bytes of all Theta slices, and of the states that
// Step allocates, which lie in their lines as their Theta does. If states from
// elsewhere lie differently, two workers may write to one line, but never to the
// same element: that costs a little time and changes no bits.
//
// If a step panics, as for a fault in a memory-mapped gradient, Step unwinds only
// after all workers have stopped. A panic of a worker becomes one of the caller.
func (o *Optimizer) Step(params []Param) (report Report, err error) {
	if floatMode() != defaultFloatMode {
		inDefaultFloatMode(func() { report, err = o.Step(params) })
		return report, err
	}
	if wrong := o.enter(); wrong != nil {
		return Report{}, wrong
	}
	defer o.leave()
	t := &o.task
	t.begin(params)
	same, missing, wrong := o.check(params)
	if wrong != nil || !o.places.apart(params, same, o.ZeroGrad) {
		return Report{}, o.overlaps(wrong, params)
	}
	o.places.newStates = nil
	if missing {
		o.makeStates(params)
	}
	t.blocksHold = t.blocksHold && same
	if t.hasTables {
		t.addTables(o.ZeroGrad)
	}
	o.divide(same)

	factor := 1.0
	if o.ClipNorm != 0 || o.SkipNonFinite {
		t.layBlocks()
		o.workers.run(o.useful(), t.sumUnits(), o.sumUnit)
		norm, notFinite := t.norm()
		if notFinite >= 0 {
			report.NonFinite = params[notFinite].name(notFinite)
		}
		report.Norm = norm / cmp.Or(o.LossScale, 1)
		finite := report.Norm <= math.MaxFloat64
		report.Skipped = !finite || o.SkipNonFinite && report.Norm >= 0x1p64
		if o.ClipNorm != 0 {
			factor = min(1, o.ClipNorm/(report.Norm+1e-6))
		}
	}
	t.skipped = report.Skipped
	if !t.skipped {
		t.round(factor, o.LossScale)
	}
	if !t.skipped || o.ZeroGrad {
		o.workers.run(o.useful(), o.partition.units(), o.runUnit)
	}
	t.done = true
	return report, nil
}

// enter returns an error if another step runs, or o is a copy.
func (o *Optimizer) enter() *ArgumentError {
	if !o.stepping.CompareAndSwap(false, true) {
		return &ArgumentError{Name: "Optimizer", Value: "in a step", Want: "one step at a time"}
	}
	if o.self == nil {
		o.self, o.runUnit, o.sumUnit = o, o.runPieces, o.task.sumUnit
	}
	if o.self != o {
		o.stepping.Store(false)
		return &ArgumentError{Name: "Optimizer", Value: "a copy", Want: "the Optimizer that took the first step: keep a pointer to it"}
	}
	return nil
}

// leave ends a step. The places of the tensors are valid only if the step finished: it may
// have panicked while it learned them.
func (o *Optimizer) leave() {
	o.places.known = o.places.known && o.task.done
	o.task.end()
	o.stepping.Store(false)
}

// idle reports whether a step leaves the tensor alone.
func (p *Param) idle() bool { return p.Grad == nil && len(p.Theta) > 0 }

func (p *Param) options(o *Optimizer) *RMSProp {
	if p.Options != nil {
		return p.Options
	}
	return &o.Options
}

// name returns the name of tensor i in errors.
func (p *Param) name(i int) string { return cmp.Or(p.Name, fmt.Sprintf("params[%d]", i)) }

// check checks everything except the places of the slices, and divides the tensors into
// groups. It reports whether the slices of all tensors but some gradients, those in
// places.moved, lie where they did, and whether states are missing.
func (o *Optimizer) check(params []Param) (same, missing bool, wrong *ArgumentError) {
	t, known := &o.task, &o.places
	wrong = wrong.notNegative("Workers", o.Workers).lossScale(o.LossScale)
	if !(o.ClipNorm >= 0) {
		wrong = wrong.addNumber("ClipNorm", o.ClipNorm, "0 or more")
	}
	wrong = wrong.and(o.join(&o.Options, false, 0, 0))

	same = known.known && len(known.tensors) == len(params)
	known.moved = known.moved[:0]
	for i := range params {
		p := &params[i]
		idle, options, steps := p.idle(), p.options(o), 0
		var here *ArgumentError
		if st := p.State; (st == nil || len(st.MeanSquare) == 0) && len(p.Theta) > 0 && st.isNew() {
			missing = missing || p.State == nil || !idle
			if made, again := known.made(p.Theta); again && !idle {
				here = here.add("State", nil, "the State that the last step made for this Theta: keep the Param")
			} else if made {
				t.remade = append(t.remade, int32(i))
			}
		} else if p.State == nil {
			missing = true
		} else {
			here = options.checkState(here, p.State, len(p.Theta), &fieldNames)
			if options.BiasCorrection {
				steps = p.State.Step
			}
		}
		if g := &t.groups[t.current]; g.options != options || g.step != steps || g.noDecay != p.NoDecay || g.lrScale != p.LRScale {
			here = here.and(o.join(options, p.NoDecay, p.LRScale, steps))
		}
		t.groupOf[i] = t.current
		if !idle {
			t.active += len(p.Grad)
			if p.Width != 0 || p.Rows != nil {
				t.hasTables = true
				here = p.checkRows(here)
			} else if len(p.Grad) != len(p.Theta) {
				here = here.addLength(&fieldNames, 1, len(p.Grad), len(p.Theta))
			}
		}
		if same {
			k := &known.tensors[i]
			same = k.matches(p)
			switch grad := address(p.Grad); {
			case idle:
				k.grad = 0
			case grad != k.grad || k.rows != notATable && len(p.Grad) != k.rows:
				known.moved = append(known.moved, int32(i))
			}
		}
		if here != nil {
			wrong = wrong.and(here.of(p.name(i), ""))
		}
	}
	return same, missing, wrong
}

// join makes the group of a tensor the current one, and checks the options of a
// new one.
func (o *Optimizer) join(options *RMSProp, noDecay bool, lrScale float64, steps int) *ArgumentError {
	isNew, hasNewOptions := o.task.join(options, noDecay, lrScale, steps)
	if hasNewOptions {
		if wrong := checkOptions(options); wrong != nil {
			return wrong
		}
	}
	if isNew {
		return o.task.groups[o.task.current].checkScale()
	}
	return nil
}

// checkOptions checks the options of an Optimizer or of a tensor.
func checkOptions(options *RMSProp) *ArgumentError {
	wrong := options.check(nil)
	if options.Rho == 0 && options.Eps == 0 {
		wrong = wrong.addNumber("Rho", 0, "a number such as 0.9, or else an Eps above 0: with neither, a step is LR in the direction of the gradient's sign")
	}
	if options.LossScale != 0 {
		wrong = wrong.addNumber("LossScale", options.LossScale, "0, and the Optimizer's LossScale, which all tensors have")
	}
	if wrong == nil {
		return nil
	}
	return wrong.of("", "Options.")
}

// checkScale checks LRScale, and the options that it makes.
func (g *group) checkScale() (wrong *ArgumentError) {
	if !(g.lrScale >= 0) {
		return wrong.addNumber("LRScale", g.lrScale, "a number above 0, or 0 for 1")
	}
	if g.lrScale == 0 {
		return nil
	}
	var r RMSProp
	if g.effective(&r); r.check(nil) != nil && g.options.check(nil) == nil {
		return wrong.addf("LRScale", g.lrScale, "a number whose product with LR = %v is in range", g.options.LR)
	}
	return nil
}

// checkRows checks a gradient that holds some rows.
func (p *Param) checkRows(e *ArgumentError) *ArgumentError {
	if p.Width < 1 {
		return e.addf("Width", p.Width, "1 or more with Rows")
	}
	return e.table(&fieldRows, len(p.Theta), len(p.Grad), p.Rows, p.Width)
}

// overlaps adds the slices that overlap to what is wrong.
func (o *Optimizer) overlaps(wrong *ArgumentError, params []Param) *ArgumentError {
	var spans []span
	for i, p := range params {
		spans = appendTensor(spans, i, p.Theta, p.Grad, p.State, o.ZeroGrad)
	}
	return wrong.overlaps(spans, func(slice int32) (tensor, name string) {
		i := int(slice / slicesPerTensor)
		return params[i].name(i), fieldNames.slice(int(slice % slicesPerTensor))
	})
}

// makeStates allocates the missing states. A tensor without a gradient gets an empty one,
// so that all states can be saved in a slice.
func (o *Optimizer) makeStates(params []Param) {
	missing, elements := 0, 0
	for i := range params {
		p := &params[i]
		if p.State == nil {
			missing++
		}
		if p.State.isNew() && !p.idle() {
			elements += p.options(o).room(len(p.Theta))
		}
	}
	states, memory := make([]State, missing), newStateMemory(elements)
	var made []newState
	for _, i := range o.places.order {
		p := &params[i]
		if p.State == nil {
			p.State, states = &states[0], states[1:]
		}
		if p.State.isNew() && !p.idle() {
			if len(p.Theta) > 0 {
				again := slices.Contains(o.task.remade, i)
				made = append(made, newState{address(p.Theta), len(p.Theta), again})
			}
			memory.fill(p.State, p.options(o), p.Theta)
		}
	}
	if o.places.newStates = made; len(made) > 0 {
		o.places.learn(params) // never fails: new memory overlaps nothing
	}
}

// divide divides the work. If the tensors did not move, it divides only the rows of tables
// again.
func (o *Optimizer) divide(same bool) {
	p := &o.partition
	workers := cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if workers != p.workers || !same {
		p.workers = workers
		p.divide(o.task.params, o.places.order, unitSize(o.places.elements, workers))
	}
	if len(o.task.tables) > 0 { // else all that are left of the step before are idle
		p.addTables(o.task.tables, unitSize(o.task.active, workers))
	}
}

// useful returns how many workers the step is worth.
func (o *Optimizer) useful() int { return min(o.partition.workers, 1+o.task.active/share) }

// runPieces runs the step on a unit of work.
func (o *Optimizer) runPieces(unit int) {
	for _, piece := range o.partition.unit(unit) {
		o.task.run(piece, o.places.elements, o.ZeroGrad)
	}
}
