package kernel

import (
	"cmp"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
)

// Param is a tensor to train, as a step takes it: its elements, their gradient
// and the state that belongs to them. Keep it from step to step, for its State.
type Param struct {
	Theta []float32 // the parameters, which the step updates

	// Grad is the gradient. Where it is nil, as that of a layer which is frozen or
	// which this batch has not used, the step leaves Theta and State alone. A
	// gradient of zero does not: the means and the momentum decay, and momentum and
	// weight decay move Theta. A tensor without elements has no gradient to be nil: it takes part.
	Grad []float32

	// State is made by Step where it is nil or empty, and set here. It is made with
	// the first gradient: before that it has no slices.
	State *State

	Name string // what errors call the tensor; empty: params[i]

	// Width is for a table, such as an embedding, of which a batch uses few rows.
	// Theta is rows of Width elements, and Grad has one for each of Rows. All other
	// rows are left alone, as by [RMSProp.UpdateRows]. A row may be listed twice:
	// its gradients are added up first, with the bits of [CoalesceRows], so that
	// Report.Norm is that of the sums. 0: Grad is as long as Theta.
	Width int
	Rows  []int

	NoDecay bool    // no weight decay, such as for a bias
	LRScale float64 // what LR is multiplied by, such as for a layer that learns slowly; 0 means 1

	// Options are the tensor's own, and take the place of the Optimizer's as a
	// whole. They follow no change there: a schedule of LR, for instance, has to be
	// applied to both. NoDecay and LRScale do follow.
	Options *RMSProp
}

// Optimizer takes steps on many tensors and many cores. The bits are those of
// [RMSProp.Update] on each tensor, however many workers there are.
//
// The zero value works once Options are set: Step refuses an Rho of 0 with an Eps
// of 0. All fields may change between steps:
// LR for a schedule, Momentum to and from 0 where the states have the buffer
// ([RMSProp.Adapt] adds it), Workers in a training that is resumed elsewhere. An
// Optimizer takes one step at a time, and must not be copied after the first.
// Step returns an error for either mistake.
type Optimizer struct {
	Options RMSProp // of the tensors that have none of their own
	Workers int     // how many goroutines a step may use; 0: GOMAXPROCS

	// LossScale is what the loss, and so every gradient, was multiplied by. The
	// gradients are divided by it; 0 means 1. LossScale of an RMSProp must be 0 here.
	LossScale float64

	// ClipNorm limits the norm of all gradients of a step together, see Report.Norm:
	// all of them are multiplied by
	//
	//	min(1, ClipNorm/(norm + 1e-6))
	//
	// as torch.nn.utils.clip_grad_norm_ has it. The factor, computed in float64, goes
	// into what LossScale divides by, so that the gradients themselves stay as they are.
	// ClipValue comes after it. 0 is no limit, +Inf only measures. A step whose norm is
	// not finite is skipped: nothing is written to any tensor or state.
	ClipNorm float64

	// SkipNonFinite skips a step if there is a NaN or an infinity in any
	// gradient, or if Report.Norm is 2^64 or more, from where on squares are
	// infinite in float32. With a loss scale, halve it and go on.
	SkipNonFinite bool

	// ZeroGrad sets the gradients to zero, while they are still in the cache, after
	// they were used. Those of a step that is skipped become zero as well.
	ZeroGrad bool

	self      *Optimizer // to recognize a copy
	stepping  atomic.Bool
	places    places
	partition partition
	workers   workers
	task      task
	runUnit   func(unit int) // made once, so that a step allocates nothing
	sumUnit   func(unit int)
}

// Report is what [Optimizer.Step] has done.
type Report struct {
	// Norm is the Euclidean norm of all gradients together, divided by LossScale:
	// the root of the sum of their [SumSquares], in the order of params, over
	// LossScale. It is computed with ClipNorm or SkipNonFinite, and 0 without. Its
	// bits depend on nothing else, such as the number of workers.
	Norm    float64
	Skipped bool // nothing was written, except to gradients by ZeroGrad

	// NonFinite is the first tensor whose gradient has a NaN or an infinity, by its
	// Name or as params[i]. It is empty if all are finite or Norm was not computed.
	NonFinite string
}

// Step takes one step on every tensor that has a gradient and returns when all of it
// is done. It uses no more goroutines than Workers says, its caller's included,
// and fewer where the work is little.
//
// It borrows params for as long as it runs: no slice is kept. Tensors may move,
// come or go between steps. What it has found out about them it remembers by
// address and length, so that a step on the same tensors as before allocates
// nothing and checks next to nothing. Many small tensors are fastest where they,
// their gradients and their states are parts of a few large slices.
//
// Everything is checked before anything is written: the error is an
// [*ArgumentError] on the options or a tensor, with all others that are wrong, and
// everything is as it was, the States that are nil too. No
// two slices may overlap in memory, whether or not a tensor has a gradient in this
// step, except that gradients may be shared without ZeroGrad.
//
// To add tensors later, list them: their states begin with the step in which they
// first have a gradient. To save a training, save the states along with the
// thetas. It can be resumed with another number of workers and on another CPU. A
// // Param that is made again for every step loses its State: the third step on the
// same Theta without one returns an error.
//
// Large tensors are divided among the workers, small ones put together, so that
// the workers finish at the same time. A worker takes whole cache lines of 64
// bytes of all the Theta slices, and of the states made here, which lie in their
// lines as their Theta does. Where states come from elsewhere and lie otherwise,
// two workers may write to one line at the border between their parts: never to
// the same element, so that this costs a little time and no bits.
//
// A panic, as of a fault in memory that was mapped from a file, unwinds Step only
// when no worker writes any more.
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
		return &ArgumentError{Name: "Optimizer", Value: "a copy", Want: "the one that has taken the steps before"}
	}
	return nil
}

func (o *Optimizer) leave() {
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

// name is what errors call tensor i.
func (p *Param) name(i int) string { return cmp.Or(p.Name, fmt.Sprintf("params[%d]", i)) }

// check checks everything but where the slices lie, and divides the tensors into
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

// checkOptions checks options that are an Optimizer's or a tensor's own.
func checkOptions(options *RMSProp) *ArgumentError {
	wrong := options.check(nil)
	if options.Rho == 0 && options.Eps == 0 {
		wrong = wrong.addNumber("Rho", 0, "a number such as 0.9, or else an Eps above 0: with neither, steps are by the gradient's sign alone")
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

// makeStates makes the states that are missing. A tensor without a gradient gets
// an empty one, so that its State can be saved along with the others.
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
			_, again := slices.BinarySearch(o.task.remade, i)
			made = append(made, newState{address(p.Theta), len(p.Theta), again})
			memory.fill(p.State, p.options(o), p.Theta)
		}
	}
	o.places.learn(params)
	o.places.known = true
	o.places.newStates = made
}

// divide divides the work. Of the tensors that are where they were, only the rows
// of tables are divided again.
func (o *Optimizer) divide(same bool) {
	p := &o.partition
	workers := cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if workers != p.workers || !same {
		p.workers = workers
		p.divide(o.task.params, o.places.order, unitSize(o.places.elements, workers))
	}
	if p.hasTables || len(o.task.tables) > 0 {
		p.addTables(o.task.tables, unitSize(o.task.active, workers))
	}
}

// useful is how many workers the step is worth.
func (o *Optimizer) useful() int { return min(o.partition.workers, 1+o.task.active/share) }

// runPieces takes the step on a unit of work.
func (o *Optimizer) runPieces(unit int) {
	for _, piece := range o.partition.unit(unit) {
		o.task.run(piece, o.places.elements, o.ZeroGrad)
	}
}
