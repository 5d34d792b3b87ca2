package kernel

import "unsafe"

// chunk is how many elements are computed between two stack checks, where the
// garbage collector can stop a goroutine; assembly itself cannot be preempted.
// It takes assembly 5 to 30 µs. A multiple of every vector width, so that only a call's
// last chunk has a tail.
const chunk = 16 << 10

// A call is a step on arrays of one length, and then on each of their chunks: what
// the implementations get. The assembly takes the offsets from go_asm.h.
type call struct {
	theta, grad, s, m, b *float32 // m and b are nil where there is none
	n                    int      // elements
	layout               layout

	p        *params
	vectors  int // of a block
	software int // of these vectors' roots, how many are taken in software
	ahead    int // the bytes from an element to what is prefetched meanwhile
	stop     int // nothing is prefetched where fewer elements are left than these
}

// isShort tells whether a step of so many elements takes the first plan, unmeasured.
func isShort(total int) bool { return total < minTimed && fixed.Load() == 0 }

// run takes the step. total is how many elements the caller's step has, of which
// these may be a part: the plan goes by it.
func (c *call) run(total int) {
	switch {
	case c.n == 0:
	case isShort(total):
		c.short()
	default:
		c.runLong(isa(active.Load()), total)
	}
}

// short takes the step as one chunk, in the first plan.
func (c *call) short() {
	i := isa(active.Load())
	c.take(&plans[i][0], 0)
	runChunk(i, c)
}

// runLong takes the step chunk by chunk.
func (c *call) runLong(i isa, total int) {
	chosen, choosing := planOf(i, c.layout, total)
	for at := 0; at < c.n; at += chunk {
		end := min(at+chunk, c.n)
		part, left := c.part(at, end), c.n-end
		if choosing == nil || part.n < minTimed {
			part.take(&plans[i][chosen], left)
			runChunk(i, &part)
			continue
		}
		turn := choosing.next(len(plans[i]))
		part.take(&plans[i][turn], left)
		begun := clock()
		runChunk(i, &part)
		choosing.saw(plans[i], turn, clock()-begun, part.n, total)
	}
}

// part is the step on the elements from start to end, start < end. A call is
// copied, not changed: a pointer to a slice that is stored through a pointer would
// make the caller's slice escape.
func (c call) part(start, end int) call {
	c.theta, c.grad, c.s = behind(c.theta, start), behind(c.grad, start), behind(c.s, start)
	if c.m != nil {
		c.m = behind(c.m, start)
	}
	if c.b != nil {
		c.b = behind(c.b, start)
	}
	c.n = end - start
	return c
}

// behind is the element that many behind x.
func behind(x *float32, elements int) *float32 {
	return (*float32)(unsafe.Add(unsafe.Pointer(x), 4*elements))
}

// minRootEps is the smallest eps inside the root, and so the smallest v = s + eps,
// from which the kernels' square root in software is exact.
const minRootEps = 0x1p-100

// never is a stop at which nothing is prefetched.
const never = chunk + 1

// take makes c use a plan. left is how many elements of the same slices lie behind
// the chunk: what does not exist is not prefetched. It would not fault, but be
// looked for each time.
func (c *call) take(p *plan, left int) {
	c.vectors, c.software, c.ahead, c.stop = p.vectors, p.software, p.ahead, p.ahead/4-left
	if p.software > 0 && c.p.eps < minRootEps {
		c.software = 0
	}
	if p.ahead == 0 {
		c.stop = never
	}
}

// generic takes the step in Go.
func (c *call) generic() {
	theta, grad, s := c.slice(c.theta), c.slice(c.grad), c.slice(c.s)
	if c.layout == layoutUpdate {
		updateGeneric(theta, grad, s, c.p)
	} else {
		familyGeneric(theta, grad, s, c.slice(c.m), c.slice(c.b), c.p)
	}
}

// slice is the chunk's part of an array, empty where there is none.
func (c *call) slice(x *float32) []float32 {
	if x == nil {
		return nil
	}
	return unsafe.Slice(x, c.n)
}
