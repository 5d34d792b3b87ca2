package kernel

import "unsafe"

// chunk is the number of elements between two stack checks. There the garbage collector
// can stop the goroutine; assembly itself cannot be preempted. Assembly computes a chunk
// in 5 to 30 µs. It is a multiple of every block, so only a call's last chunk has a tail.
const chunk = 16 << 10

// A call is a step on arrays of one length. The implementations run it on n elements
// from at. The assembly reads the fields by the offsets in go_asm.h.
type call struct {
	theta, grad, s, m, b *float32 // m and b are nil in layouts without them
	at, n                int      // the next elements
	layout               layout

	coeffs    *coeffs
	vectors   int // of a block
	roots     int // how many of a block's vectors compute their root in software
	quotients int // how many of those also compute lr over it in software
	ahead     int // the prefetch distance in bytes
	stop      int // prefetching stops when fewer elements than this are left
}

// run computes the step on all n elements, chunk by chunk. They may be a part of the
// caller's step, which has total elements. The choice of the plan depends on total.
func (c *call) run(total int) {
	if c.n == 0 {
		return
	}
	i, p, t := planOf(c.layout, total)
	if c.n <= chunk && t == nil { // the loop below is some ns slower
		c.use(p, 0)
		runChunk(p.isa, c)
		return
	}
	for left := c.n; left > 0; {
		c.n = min(left, chunk)
		left -= c.n
		if t == nil || c.n < minTimed {
			c.use(p, left)
			runChunk(p.isa, c)
			continue
		}
		n, turn := c.n, t.next(len(plans[i]))
		trial := &plans[i][turn]
		c.use(trial, left)
		begun := clock()
		runChunk(trial.isa, c)
		t.record(plans[i], turn, clock()-begun, n, total)
	}
}

// use makes c use a plan. left is the number of elements after the chunk: memory after the
// arrays is not prefetched, which would not fault but cost time.
func (c *call) use(p *plan, left int) {
	c.vectors, c.roots, c.quotients, c.ahead, c.stop = p.vectors, p.roots, p.quotients, p.ahead, p.ahead/4-left
	if c.roots > 0 && !c.coeffs.rootIsExact() {
		c.roots = 0
	}
	if c.quotients > 0 && !c.coeffs.quotientIsExact() {
		c.quotients = 0
	}
	if p.ahead == 0 {
		c.stop = never
	}
}

// never is the stop if nothing is to be prefetched.
const never = chunk + 1

// skip moves c past its first elements.
func (c *call) skip(elements int) {
	c.at += elements
	c.n -= elements
}

// slice returns c's elements of an array, nil if the layout lacks it.
func (c *call) slice(x *float32) []float32 {
	if x == nil {
		return nil
	}
	return unsafe.Slice(element(x, c.at), c.n)
}

// element returns a pointer to element i of the array at x.
func element(x *float32, i int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(x), 4*i))
}

// part returns the step on the n elements of theta and the state from at, whose
// gradients begin at atGrad. It is a copy: to store a slice's pointer through a pointer
// would make the caller's slice escape.
func (c call) part(at, atGrad, n int) call {
	c.grad = element(c.grad, atGrad)
	c.theta, c.s = element(c.theta, at), element(c.s, at)
	if c.m != nil {
		c.m = element(c.m, at)
	}
	if c.b != nil {
		c.b = element(c.b, at)
	}
	c.n = n
	return c
}
