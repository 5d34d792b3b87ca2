package main

/*
#include "process.h"
*/
import "C"

import (
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"sync"
	"unsafe"

	"github.com/seed57504d97/kernel"
)

// An optimizer is what a series of steps reuses. Between steps it holds addresses
// as numbers alone: a Go pointer to memory that C has given back could point into
// what Go gets from the system next, which its collector does not forgive.
type optimizer struct {
	mu       sync.Mutex
	kernel   kernel.Optimizer
	options  []kernel.RMSProp
	corrects []bool // KERNEL_STEP_CORRECTION, of each of the options
	params   []kernel.Param
	states   []kernel.State

	// The options that KERNEL_STEP_CORRECTION makes of others, and the last of them: most
	// tensors of a step have taken the same number of steps.
	corrected map[optionsAt]*kernel.RMSProp
	last      *kernel.RMSProp
	lastAt    optionsAt
}

// optionsAt are options at step t = 1, 2, … of a tensor.
type optionsAt struct{ options, t int }

func newOptimizer() *optimizer {
	o := &optimizer{corrected: map[optionsAt]*kernel.RMSProp{}}
	o.kernel.Options = kernel.PyTorch() // of no tensor: each has its own
	return o
}

// optimizers are those that C has a number of.
var optimizers struct {
	sync.RWMutex
	last C.kernel_optimizer
	all  map[C.kernel_optimizer]*optimizer
}

//export kernelgo_optimizer_new
func kernelgo_optimizer_new() C.kernel_optimizer {
	optimizers.Lock()
	defer optimizers.Unlock()
	if optimizers.all == nil {
		optimizers.all = map[C.kernel_optimizer]*optimizer{}
	}
	optimizers.last++
	optimizers.all[optimizers.last] = newOptimizer()
	return optimizers.last
}

//export kernelgo_optimizer_free
func kernelgo_optimizer_free(number C.kernel_optimizer) {
	optimizers.Lock()
	defer optimizers.Unlock()
	delete(optimizers.all, number)
}

func optimizerOf(number C.kernel_optimizer) *optimizer {
	if number == 0 {
		return newOptimizer()
	}
	optimizers.RLock()
	defer optimizers.RUnlock()
	o := optimizers.all[number]
	if o == nil {
		refusef("optimizer = %d: is none, or was freed", number)
	}
	return o
}

//export kernelgo_step
func kernelgo_step(number C.kernel_optimizer, settings *C.kernel_settings,
	options *C.kernel_options, optionsCount C.int64_t,
	tensors *C.kernel_tensor, tensorsCount C.int64_t,
	report *C.kernel_report, message *C.char, size C.int64_t) (code C.int32_t) {
	defer guard(message, size, &code)
	// Threads that a locked one needs come from the runtime's template thread, which
	// was made while the library was loaded: else they would inherit the caller's cores.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if report != nil {
		array(report, 1, "report")
	}
	o := optimizerOf(number)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.set(settings)
	o.setOptions(array(options, optionsCount, "options"))
	all := array(tensors, tensorsCount, "tensors")
	defer o.forget()
	o.borrow(all)

	if o.kernel.Workers != 1 && o.elements() >= alone {
		C.process_before_threads()
	}
	done, err := o.kernel.Step(o.params)
	if err != nil {
		refusef("%s", plain(err))
	}
	if report != nil {
		*report = C.kernel_report{norm: C.double(done.Norm)}
		if done.Skipped {
			report.skipped = 1
		}
	}
	if !done.Skipped {
		for i := range all {
			if t := &all[i]; t.step != nil && (t.grad != nil || t.width != 0 || t.n == 0) {
				*t.step++
			}
		}
	}
	return C.KERNEL_OK
}

func (o *optimizer) set(settings *C.kernel_settings) {
	o.kernel.Workers, o.kernel.LossScale, o.kernel.ClipNorm = 0, 0, 0
	o.kernel.SkipNonFinite, o.kernel.ZeroGrad = false, false
	if settings == nil {
		return
	}
	s := &array(settings, 1, "settings")[0]
	known := C.int64_t(C.KERNEL_SKIP_NON_FINITE | C.KERNEL_ZERO_GRAD)
	switch {
	case s.workers < 0 || s.workers > maxWorkers:
		refusef("settings.workers = %d: must be in [0, %d]", s.workers, maxWorkers)
	case !(s.clip_norm >= 0):
		refusef("settings.clip_norm = %v: must be 0 or more", s.clip_norm)
	case s.flags&^known != 0:
		refusef("settings.flags = %#x: unknown", s.flags)
	}
	o.kernel.Workers = int(s.workers)
	o.kernel.LossScale = float64(s.loss_scale)
	o.kernel.ClipNorm = float64(s.clip_norm)
	o.kernel.SkipNonFinite = s.flags&C.KERNEL_SKIP_NON_FINITE != 0
	o.kernel.ZeroGrad = s.flags&C.KERNEL_ZERO_GRAD != 0
}

// alone is how many elements a step has at least that uses more than one thread.
const alone = 1 << 12

func (o *optimizer) elements() (n int) {
	for i := range o.params {
		n += len(o.params[i].Theta)
	}
	return n
}

// maxWorkers is far beyond any CPU: more would be a number that was not set.
const maxWorkers = 1 << 16

func (o *optimizer) setOptions(options []C.kernel_options) {
	if len(options) != len(o.options) {
		o.options = make([]kernel.RMSProp, len(options))
		o.corrects = make([]bool, len(options))
	}
	for i := range options {
		c := &options[i]
		if c.flags&^(C.KERNEL_STEP_CORRECTION<<1-1) != 0 {
			refusef("options[%d].flags = %#x: unknown", i, c.flags)
		}
		on := func(flag C.int64_t) bool { return c.flags&flag != 0 }
		o.options[i] = kernel.RMSProp{
			LR:             float64(c.lr),
			Rho:            float64(c.rho),
			Eps:            float64(c.eps),
			FirstMoment:    float64(c.first_moment),
			Momentum:       float64(c.momentum),
			WeightDecay:    float64(c.weight_decay),
			ClipValue:      float64(c.clip_value),
			Nesterov:       on(C.KERNEL_NESTEROV),
			Centered:       on(C.KERNEL_CENTERED),
			DecoupledDecay: on(C.KERNEL_DECOUPLED_DECAY),
			Maximize:       on(C.KERNEL_MAXIMIZE),
			EpsOutside:     on(C.KERNEL_EPS_OUTSIDE),
			LROutside:      on(C.KERNEL_LR_OUTSIDE),
			BiasCorrection: on(C.KERNEL_BIAS_CORRECTION),
		}
		if err := o.options[i].Validate(); err != nil {
			refusef("options[%d]: %s", i, plain(err))
		}
		o.corrects[i] = on(C.KERNEL_STEP_CORRECTION)
		if r := &o.options[i]; o.corrects[i] && (r.BiasCorrection || r.Centered || r.Momentum != 0 || r.Rho == 1) {
			refusef("options[%d].flags = %#x: KERNEL_STEP_CORRECTION excludes KERNEL_BIAS_CORRECTION, KERNEL_CENTERED, momentum, and a rho of 1", i, c.flags)
		}
	}
}

// correctedAt returns options that take step t from the means before their correction, by
// which Adam divides:
//
//	LR/(sqrt(s/c2)+Eps) * m/c1 = LR*sqrt(c2)/c1 / (sqrt(s)+Eps*sqrt(c2)) * m
//	where c1 = 1-FirstMoment^t, c2 = 1-Rho^t
//
// and eps inside the root is Eps*c2. The decay stays at LR*WeightDecay.
func (o *optimizer) correctedAt(options, t int) *kernel.RMSProp {
	at := optionsAt{options, t}
	if o.last != nil && o.lastAt == at {
		return o.last
	}
	r := o.corrected[at]
	if r == nil {
		r = new(kernel.RMSProp)
		*r = o.options[options]
		c1, c2 := correction(r.FirstMoment, t), correction(r.Rho, t)
		scale := math.Sqrt(c2) / c1
		r.LR *= scale
		if r.DecoupledDecay {
			r.WeightDecay /= scale
		}
		if r.EpsOutside {
			r.Eps *= math.Sqrt(c2)
		} else {
			r.Eps *= c2
		}
		if err := r.Validate(); err != nil {
			refusef("options[%d], corrected for step %d: %s", options, t, plain(err))
		}
		o.corrected[at] = r
	}
	o.last, o.lastAt = r, at
	return r
}

// correction returns 1 - x^n for x in [0, 1), as (1-x)*(1 + x + … + x^(n-1)), whose digits do
// not cancel. math.Pow would differ in its last bits from machine to machine; here each
// product is rounded, none is fused with a sum.
func correction(x float64, n int) float64 {
	sum, _ := powers(x, n)
	return (1 - x) * sum
}

// powers returns 1 + x + … + x^(n-1) and x^n.
func powers(x float64, n int) (sum, power float64) {
	power = 1
	for bit := bits.Len(uint(n)); bit > 0; bit-- {
		sum, power = sum+float64(power*sum), power*power
		if n>>(bit-1)&1 != 0 {
			sum, power = 1+float64(x*sum), power*x
		}
	}
	return sum, power
}

// borrow sets params to C's tensors.
func (o *optimizer) borrow(tensors []C.kernel_tensor) {
	if len(tensors) != len(o.params) {
		o.params = make([]kernel.Param, len(tensors))
		o.states = make([]kernel.State, len(tensors))
	}
	for i := range tensors {
		t := &tensors[i]
		if t.options < 0 || t.options >= C.int64_t(len(o.options)) {
			refusef("tensors[%d].options = %d: must be in [0, %d)", i, t.options, len(o.options))
		}
		options := &o.options[t.options]
		sliceOf := func(start *C.float, n C.int64_t, name string) []float32 {
			// What array checks, without the name, which takes longer to make.
			if n >= 0 && n <= maxLength && start != nil && uintptr(unsafe.Pointer(start))%4 == 0 &&
				uintptr(unsafe.Pointer(start))+4*uintptr(n) >= uintptr(unsafe.Pointer(start)) {
				return unsafe.Slice((*float32)(unsafe.Pointer(start)), int(n))
			}
			return floats(start, n, fmt.Sprintf("tensors[%d].%s", i, name))
		}
		slice := func(start *C.float, name string) []float32 { return sliceOf(start, t.n, name) }
		p, st := &o.params[i], &o.states[i]
		*st = kernel.State{MeanSquare: slice(t.mean_square, "mean_square")}
		*p = kernel.Param{Theta: slice(t.theta, "theta"), State: st, Options: options}
		switch {
		case t.width != 0:
			if t.width < 0 || t.rows_count < 0 || t.rows_count > maxLength/t.width {
				refusef("tensors[%d].width = %d, tensors[%[1]d].rows_count = %[3]d: must not be negative, or reach beyond the end of memory",
					i, t.width, t.rows_count)
			}
			p.Width, p.Rows = int(t.width), numbers(array(t.rows, t.rows_count, fmt.Sprintf("tensors[%d].rows", i)))
			if p.Grad = sliceOf(t.grad, t.rows_count*t.width, "grad"); p.Grad == nil {
				p.Grad = []float32{} // a gradient of no rows, not none
			}
		case t.grad != nil:
			p.Grad = slice(t.grad, "grad")
		}
		if options.Centered || options.FirstMoment != 0 {
			st.MeanGrad = slice(t.mean_grad, "mean_grad")
		}
		if t.momentum != nil && options.FirstMoment != 0 {
			refusef("tensors[%d].momentum: must be NULL with first_moment", i)
		}
		if t.momentum != nil || options.Momentum != 0 {
			st.MomentumBuffer = slice(t.momentum, "momentum")
		}
		corrects := o.corrects[t.options]
		switch {
		case t.step != nil && uintptr(unsafe.Pointer(t.step))%4 != 0:
			floats(t.step, 1, fmt.Sprintf("tensors[%d].step", i))
		case !options.BiasCorrection && !corrects:
		case t.step == nil:
			refusef("tensors[%d].step = NULL: missing, the bias is corrected by it", i)
		case corrects && *t.step == 1<<24: // where a float32 counter stays: as far as it counts
			p.Options = o.correctedAt(int(t.options), 1<<24)
		case !(*t.step >= 0 && *t.step < 1<<24 && *t.step == C.float(int(*t.step))):
			refusef("tensors[%d].step = %v: must be a whole number in [0, 2^24)", i, *t.step)
		case corrects:
			p.Options = o.correctedAt(int(t.options), int(*t.step)+1)
		default:
			st.Step = int(*t.step)
		}
	}
}

// numbers returns C's numbers as Go's, in the same memory if their types are equal.
func numbers(x []C.int64_t) []int {
	if unsafe.Sizeof(int(0)) == unsafe.Sizeof(C.int64_t(0)) {
		return unsafe.Slice((*int)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
	}
	y := make([]int, len(x))
	for i := range x {
		if y[i] = int(x[i]); C.int64_t(y[i]) != x[i] {
			y[i] = -1 // which is no row either
		}
	}
	return y
}

// maxLength is how many float32 fit into the address space.
const maxLength = C.int64_t(^uint(0)>>1) / 4

// forget lets go of C's memory.
func (o *optimizer) forget() {
	clear(o.params)
	clear(o.states)
	clear(o.corrected)
	o.last = nil
}
