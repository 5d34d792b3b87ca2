package main

import (
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/seed57504d97/kernel"
)

// A peer is what a user would pick instead of kernel. Unlike other runners it
// can be given any data and be asked for the result, so that it can be checked.
type peer interface {
	// load makes the slices the data, in place of what was loaded before. The
	// peer may keep and change them.
	load(theta, grad, s []float32) error
	run(steps int) (time.Duration, error)
	result() (theta, s []float32, err error)
	close() error
}

// A promise is what a peer says it computes.
type promise struct {
	update    func(theta, grad, s []float32)
	tolerance float64 // the largest relative error; 0: the same bits
	note      string  // what else a reader of its times has to know
}

var (
	// The same operations as kernel's.
	exact = promise{update: updateInside}
	// The same formula, with operations reordered or fused: a few units in the
	// last place.
	reordered = promise{update: updateInside, tolerance: 1e-6}
	// The same formula, its root and quotient refined from the CPU's estimates.
	approximate = promise{update: updateInside, tolerance: 1e-5, note: "approximate"}
	// Another formula: theta -= lr/(sqrt(s)+eps)*grad.
	outside = promise{update: updateOutside, tolerance: 1e-6, note: "eps outside"}
)

func updateInside(theta, grad, s []float32) {
	kernel.Update(theta, grad, s, lr, rho, eps)
}

func updateOutside(theta, grad, s []float32) {
	for i := range theta {
		g := float64(grad[i])
		mean := rho*float64(s[i]) + (1-rho)*g*g
		s[i] = float32(mean)
		theta[i] = float32(float64(theta[i]) - lr/(math.Sqrt(mean)+eps)*g)
	}
}

// candidates are the peers that a machine may have. open starts one and tells
// its version.
var candidates = []struct {
	label string
	promise
	open func() (p peer, version string, err error)
}{
	{"go-loop", exact, openGoLoop},
	{"vek", reordered, openVek},
	{"spago", outside, openSpago},
	{"archsimd", exact, openArchsimd},
	{"c-o3", exact, openC(widest)},
	{"c-avx2", exact, openC(avx2)},
	{"c-fast-math", approximate, openC(widest, "-ffast-math")},
	{"numpy", exact, openPython("numpy")},
	{"torch", outside, openPython("torch")},
	{"torch-foreach", outside, openPython("torch-foreach")},
	{"torch-compile", outside, openPython("torch-compile")},
	{"tensorflow", reordered, openPython("tensorflow")},
	{"jax", reordered, openPython("jax")},
}

// findPeers returns the peers that this machine has, each checked against
// kernel's result; warn is told of each that is missing or wrong.
func findPeers(warn func(format string, args ...any)) []runner {
	var found []runner
	for _, c := range candidates {
		p, version, err := c.open()
		if err != nil {
			warn("%s: left out: %v", c.label, err)
			continue
		}
		if _, err := check(p, c.promise); err != nil {
			warn("%s: left out: %v", c.label, err)
			p.close()
			continue
		}
		label := c.label + " " + version
		if c.note != "" {
			label += " (" + c.note + ")"
		}
		found = append(found, checked{p, label})
	}
	return found
}

// checked is a peer that keeps its promise, as a runner.
type checked struct {
	peer
	label string
}

func (c checked) name() string { return c.label }

func (c checked) prepare(n int) error {
	// Memory in huge pages has to be fresh.
	debug.FreeOSMemory()
	return c.load(newData(n))
}

// check runs a few steps and returns the largest relative error of an element
// of theta or s, and an error where that is more than promised.
func check(p peer, want promise) (worst float64, err error) {
	const n, steps = 1003, 3 // no multiple of a vector's length
	theta, grad, s := newData(n)
	// A step is so much smaller than most of theta that few of its bits
	// survive the subtraction. From zero, all do.
	for i := 0; i < n; i += 2 {
		theta[i] = 0
	}
	// s of newData is where the steps lead to. Start there, above, below and at
	// zero, so that what happens to s tells.
	for i := range s {
		s[i] *= float32(i/2%4) / 2
	}
	start := slices.Clone(theta)
	if err := p.load(slices.Clone(theta), slices.Clone(grad), slices.Clone(s)); err != nil {
		return 0, err
	}
	if _, err := p.run(steps); err != nil {
		return 0, err
	}
	gotTheta, gotS, err := p.result()
	if err != nil {
		return 0, err
	}
	for range steps {
		want.update(theta, grad, s)
	}
	for i := range n {
		// Relative to theta before the steps too: they may end close to zero.
		scale := math.Max(math.Abs(float64(start[i])), math.Abs(float64(theta[i])))
		for _, value := range []struct {
			name      string
			got, want float32
			scale     float64
		}{
			{"theta", gotTheta[i], theta[i], scale},
			{"s", gotS[i], s[i], float64(s[i])},
		} {
			e := math.Abs(float64(value.got)-float64(value.want)) / value.scale
			if !(e <= want.tolerance) { // or NaN
				return e, fmt.Errorf("wrong result: %s[%d] = %g after %d steps, want %g within %g of that",
					value.name, i, value.got, steps, value.want, want.tolerance)
			}
			worst = max(worst, e)
		}
	}
	return worst, nil
}
