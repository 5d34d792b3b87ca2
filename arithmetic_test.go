package kernel

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/seed57504d97/kernel/internal/fpflags"
)

// This file computes a step from the options in another way, and tests that no operation
// meets a subnormal number.

// A rounding computes one operation in float64, then rounds it once to float32. 53
// bits are enough for the second rounding to be harmless (Figueroa, When is double
// rounding innocuous?, 1995). It records the first operation that met or made a subnormal
// number.
type rounding struct{ subnormal string }

// normal is the smallest float32 that is not subnormal.
const normal = 1.0 / (1 << 63) / (1 << 63)

func fl(x float64) float64 { return float64(float32(x)) }

func (r *rounding) to(what string, result float64, x, y float64) float64 {
	result = fl(result)
	if r.subnormal == "" && (isSubnormal(x) || isSubnormal(y) || isSubnormal(result)) {
		r.subnormal = fmt.Sprintf("%s of %g and %g = %g", what, x, y, result)
	}
	return result
}

func isSubnormal(x float64) bool { return x != 0 && math.Abs(x) < normal }

func (r *rounding) mul(x, y float64) float64 { return r.to("product", x*y, x, y) }
func (r *rounding) add(x, y float64) float64 { return r.to("sum", x+y, x, y) }
func (r *rounding) sqrt(x float64) float64   { return r.to("root", math.Sqrt(x), x, 0) }

// times returns k*x for a hyperparameter k, which may be subnormal.
func (r *rounding) times(k, x float64) float64 {
	return r.to("product with a hyperparameter", k*x, x, 0)
}

// below reports whether x counts as zero: if it is subnormal, or fl(k*x) is less than
// least. NaN does not.
func below(x, k, least float64) bool {
	return x == x && (k == 0 || math.Abs(x) < normal || fl(math.Abs(k*x)) < least)
}

// definition computes the step on theta, grad, s, m and b of one element. Only theta, and an
// update too small to matter, may be subnormal.
func (o *RMSProp) definition(r *rounding, in [slicesPerTensor]float32) (out [slicesPerTensor]float32) {
	lr, rho, c, eps := fl(o.LR), fl(o.Rho), fl(1-o.Rho), fl(o.Eps)
	first, cFirst := fl(o.FirstMoment), fl(1-o.FirstMoment)
	if o.BiasCorrection { // the first step forgets the old means
		rho, c, first, cFirst = 0, 1, 0, 1
		switch {
		case o.EpsHat && o.EpsOutside:
			eps = fl(o.Eps / math.Sqrt(1-o.Rho))
		case o.EpsHat:
			eps = fl(o.Eps / (1 - o.Rho))
		}
	}
	flush := func(x, k, least float64) float64 {
		if below(x, k, least) {
			return 0
		}
		return x
	}
	t, g := float64(in[0]), float64(in[1])

	l2 := o.WeightDecay != 0 && !o.DecoupledDecay
	if o.LossScale != 0 || l2 {
		k := 1.0
		if o.LossScale != 0 {
			k = fl(1 / o.LossScale)
		}
		g = r.times(k, flush(g, k, 0x1p-102))
	}
	if o.Maximize {
		g = -g
	}
	if clip := fl(o.ClipValue); clip != 0 && math.Abs(g) > clip {
		g = math.Copysign(clip, g)
	}
	if l2 {
		decay := fl(o.WeightDecay)
		g = r.add(g, r.times(decay, flush(t, decay, 0x1p-102)))
	}
	if math.Abs(g) < 1.0/(1<<63) || c != 0 && fl(c*fl(g*g)) < normal {
		g = 0
	}

	s := float64(in[2])
	if !(s >= normal && fl(rho*s) >= normal) {
		s = 0
	}
	s = r.add(r.times(rho, s), r.times(c, r.mul(g, g)))
	v, m := s, float64(in[3])
	if o.Centered {
		m = r.add(r.times(rho, flush(m, rho, normal)), r.times(c, g))
		square := 0.0
		if !(math.Abs(m) < 1.0/(1<<63)) {
			square = r.mul(m, m)
		}
		// A difference of normal numbers may be subnormal. It is exact, as a subnormal sum
		// is, and counts as zero.
		v = fl(s - square)
		if v < normal {
			v = 0
		}
	}

	if o.FirstMoment != 0 {
		m = r.add(r.times(first, flush(m, first, normal)), r.times(cFirst, g))
		if g = m; math.Abs(g) < 1.0/(1<<63) {
			g = 0
		}
	}

	var d float64
	if o.EpsOutside {
		d = fl(r.sqrt(v) + eps)
	} else {
		d = r.sqrt(r.add(v, max(eps, normal)))
	}
	var u float64
	switch {
	case g == 0: // rather than lr/0*0
	case o.FirstMoment != 0 && !o.LROutside && lr/d > 1.0/(1<<63): // else it is too small to matter
		u = r.mul(fl(lr/d), g)
	case o.LROutside:
		u = fl(fl(1/d) * g)
	default:
		u = fl(fl(lr/d) * g)
	}
	b := float64(in[4])
	if o.Momentum != 0 {
		mu := fl(o.Momentum)
		b = fl(r.times(mu, flush(b, mu, normal)) + u)
		if o.Nesterov {
			u = fl(fl(mu*b) + u)
		} else {
			u = b
		}
		if o.LROutside { // also a subnormal u, the rest of a momentum
			u = flush(u, lr, normal)
		}
	}
	if o.LROutside {
		u = fl(lr * u)
	}
	if o.WeightDecay != 0 && o.DecoupledDecay {
		k := fl(o.LR * o.WeightDecay)
		t = fl(t - r.times(k, flush(t, k, normal)))
	}
	return [slicesPerTensor]float32{float32(fl(t - u)), in[1], float32(s), float32(m), float32(b)}
}

// dying lists the gradients of parameters that die: at once, slowly, down to a size of their
// own, or with returns now and then.
func dying(r *generator, i, step int) float32 {
	switch i % 4 {
	case 0:
		return 0
	case 1:
		return r.symmetric() * float32(math.Pow(0.9, float64(step)))
	case 2:
		return float32(math.Pow(10, -float64(i)))
	default:
		if step%97 == 0 {
			return r.symmetric()
		}
		return r.symmetric() * 1e-20
	}
}

// No operation of a step meets or makes a subnormal number, over hundreds of steps
// of dying parameters and from any bits.
func TestNoSubnormals(t *testing.T) {
	const n, steps = 48, 900
	r := random(t, 41)
	take := func(t *testing.T, o *RMSProp, where any, in [slicesPerTensor]float32) [slicesPerTensor]float32 {
		var round rounding
		out := o.definition(&round, in)
		if round.subnormal != "" {
			t.Fatalf("%+v, %v, of %g: %s", *o, where, in, round.subnormal)
		}
		return out
	}
	for set, o := range optionSets {
		if testing.Short() && set%3 != 0 {
			continue
		}
		for i := range n {
			x := [slicesPerTensor]float32{r.symmetric(), 0, 1e-3, 1e-3, 1e-3}
			for step := range steps {
				x[1] = dying(&r, i, step)
				x = take(t, &o, fmt.Sprintf("parameter %d, step %d", i, step), x)
			}
		}
		for i := range 3000 {
			var x [slicesPerTensor]float32
			for j := range x {
				if x[j] = r.special(); i%2 == 0 {
					x[j] = r.bits()
				}
			}
			take(t, &o, "of any bits", x)
		}
	}
}

// Nor does the CPU meet one, in any implementation, while parameters die. The test keeps theta
// and the updates normal.
func TestNoSubnormalsInCPU(t *testing.T) {
	if !fpflags.Known {
		t.Skip("this CPU's flags are not known")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tiny := []float32{1e-40, 1}
	if !fpflags.Subnormal(func() { tiny[1] = tiny[0] * tiny[1] }) {
		t.Skip("this CPU has no flags for subnormal numbers")
	}
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			useISA(t, name)
			for _, plan := range plansInUse() {
				if plan.ahead == 0 {
					usePlan(t, plan.String())
					testNoSubnormals(t)
				}
			}
		})
	}
}

func testNoSubnormals(t *testing.T) {
	const n, steps = 67, 900
	for i, o := range optionSets {
		if testing.Short() && i%3 != 0 {
			continue
		}
		if o.LR < 1e-10 || o.LR > 1 || o.Eps > 1 || o.EpsOutside && o.Eps < 1e-30 {
			continue // steps too small to matter, or theta tends to none
		}
		// On its way to zero, a momentum passes a step in which mu*b' or lr*u is subnormal.
		// All elements do so in the same step or two. With L2, which makes theta a
		// gradient, each does so in a step of its own.
		alike, passes := o.Momentum != 0 && (o.Nesterov || o.LROutside), 0
		if alike {
			passes = 2
			if o.WeightDecay != 0 && !o.DecoupledDecay {
				passes = n
			}
		}
		r := random(t, 43)
		d := o.allocate(n)
		k := o.rounded(1, 2)
		for i := range n {
			d.theta[i], d.s[i] = 1+r.symmetric()/2, 1e-3
			if i%4 == 0 { // the gradient is 0
				d.theta[i] *= 1e-37
			}
			if o.Momentum != 0 {
				d.b[i] = 1e-3
			}
		}
		for step := range steps {
			for i := range n {
				d.grad[i] = dying(&r, i, step)
				// Comparing with clip also raises the flag, but costs no time.
				if o.ClipValue != 0 && isSubnormal(float64(d.grad[i])) {
					d.grad[i] = 0
				}
				// s - m² may be subnormal.
				if small := d.grad[i] < 1e-12 && d.grad[i] > -1e-12; alike || o.Centered && small {
					d.grad[i] = 0
				}
			}
			// The runtime may meet one when it interrupts the kernel. The kernel meets one
			// every time or never.
			before, met := d.clone(), true
			for try := 0; met && try < 3; try++ {
				for j := range sliceNames {
					copy(*d.at(j), *before.at(j))
				}
				c := k.call(d.theta, d.grad, d.state())
				met = fpflags.Subnormal(func() { c.run(n) })
			}
			if met {
				if passes--; passes < 0 {
					t.Fatalf("%s: %+v: step %d met a subnormal number", planName(n), o, step)
				}
			}
		}
	}
}

// Nor does SumSquares meet one, on CPUs that may need microcode for it.
func TestNoSubnormalsInSumSquares(t *testing.T) {
	if !fpflags.Known {
		t.Skip("this CPU's flags are not known")
	}
	x := make([]float32, 2*normBlock+37)
	r := random(t, 44)
	for i := range x {
		x[i] = math.Float32frombits(uint32(r.next()) & 0x807fffff)
	}
	forEachSum(t, func(t *testing.T) {
		if ISA() == "generic" || ISA() == "avx2" && !looksForSubnormals() {
			t.Skip("it does not check for them: this CPU needs no microcode, or the check would take longer")
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for _, n := range []int{1, 15, 16, 100, len(x)} {
			if met := fpflags.Subnormal(func() { SumSquares(x[:n]) }); met && fpflags.Subnormal(func() { SumSquares(x[:n]) }) {
				t.Errorf("%d elements: a subnormal number was met", n)
			}
		}
	})
}
