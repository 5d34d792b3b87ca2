package kernel

import "unsafe"

// chunk is how many elements are computed between two stack checks, where the garbage
// collector can stop a goroutine; assembly itself cannot be preempted. Assembly takes 5
// to 30 µs for them. A multiple of every block, so that only a call's last chunk has a
// rest.
const chunk = 16 << 10

// A call is a step on arrays of one length. The implementations run it on n elements
// from at; the assembly takes the offsets of the fields from go_asm.h.
type call struct {
	theta, grad, s, m, b *float32 // m and b are nil in layouts without them
	at, n                int      // the next elements
	layout               layout

	coeffs    *coeffs
	vectors   int // of a block
	roots     int // how many of a block's vectors take their root in software
	quotients int // how many of those also take lr over it in software
	ahead     int // the prefetch distance in bytes
	stop      int // nothing is prefetched once fewer elements than these are left
}

// run takes the step on all n elements, chunk by chunk. total is how many elements the
// caller's step has, of which these may be a part: the plan goes by it.
func (c *call) run(total int) {
	if c.n == 0 {
		return
	}
	i, p, t := planOf(c.layout, total)
	if c.n <= chunk && t == nil { // the loop below would do, some ns later
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

// use makes c use a plan. left is how many elements of the arrays lie after the chunk:
// what does not exist is not prefetched. Prefetching it would not fault, but cost time.
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

// never is a stop at which nothing is prefetched.
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
