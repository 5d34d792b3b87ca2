//go:build (amd64 || arm64) && gc && !purego

package kernel

import "unsafe"

// few is a vector's worth of elements.
type few struct{ theta, grad, s, m, b [8]float32 }

// runVectors takes the step with a kernel that takes whole vectors only, so that
// it is the formula alone. What is left behind them is copied to memory of our
// own, with zeros behind it, and back.
func (c *call) runVectors(lanes int) {
	n := c.n
	rest := n & (lanes - 1)
	whole := n - rest
	if whole > 0 {
		c.n = whole
		familyVectors(c)
		c.n = n
	}
	if rest == 0 {
		return
	}
	var f few
	last := *c
	last.n, last.stop = lanes, never
	last.theta = load(&f.theta, c.theta, whole, rest)
	last.grad = load(&f.grad, c.grad, whole, rest)
	last.s = load(&f.s, c.s, whole, rest)
	if c.m != nil {
		last.m = load(&f.m, c.m, whole, rest)
	}
	if c.b != nil {
		last.b = load(&f.b, c.b, whole, rest)
	}
	familyVectors(&last)
	store(c.theta, &f.theta, whole, rest)
	store(c.s, &f.s, whole, rest)
	if c.m != nil {
		store(c.m, &f.m, whole, rest)
	}
	if c.b != nil {
		store(c.b, &f.b, whole, rest)
	}
}

// load copies the rest of an array behind its whole vectors.
func load(to *[8]float32, from *float32, whole, rest int) *float32 {
	copy(to[:], unsafe.Slice(behind(from, whole), rest))
	return &to[0]
}

// store copies it back.
func store(to *float32, from *[8]float32, whole, rest int) {
	copy(unsafe.Slice(behind(to, whole), rest), from[:])
}
