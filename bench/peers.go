package main

import (
	"fmt"
	"log"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
	"github.com/nlpodyssey/spago/optimizers/rmsprop"
	"github.com/seed57504d97/kernel"
	"github.com/viterin/vek/vek32"
)

// A peer is a program that people use for the step instead of kernel. It accepts any data and returns
// its result, so that its result can be checked.
type peer interface {
	runner
	// load replaces the peer's data. The peer may change them.
	load(theta, grad, s []float32) error
	result() (theta, s []float32, err error)
}

// A promise says what a peer computes.
type promise struct {
	update    func(theta, grad, s []float32)
	tolerance float64 // the largest relative error; 0: the same bits
	note      string  // what a reader of its times has to know
}

var (
	// The same operations as kernel's.
	exact = promise{update: updateInside}
	// The same formula, with operations reordered or fused: a few units in the last place.
	reordered = promise{update: updateInside, tolerance: 1e-6}
	// The same formula, with root and quotient refined from the CPU's estimates.
	approximate = promise{update: updateInside, tolerance: 1e-5, note: " (approximate)"}
	// Another formula: theta -= lr/(sqrt(s)+eps)*grad.
	outside = promise{update: updateOutside, tolerance: 1e-6, note: " (eps outside)"}
)

func updateInside(theta, grad, s []float32) { kernel.Update(theta, grad, s, lr, rho, eps) }

func updateOutside(theta, grad, s []float32) {
	for i := range theta {
		g := float64(grad[i])
		mean := rho*float64(s[i]) + (1-rho)*g*g
		s[i] = float32(mean)
		theta[i] = float32(float64(theta[i]) - lr/(math.Sqrt(mean)+eps)*g)
	}
}

// theCLoop is the candidate that kernel is compared with.
const theCLoop = "c-o3"

// A candidate is a peer that a machine may have. open starts it and returns its version. The peer may
// use the workspace.
type candidate struct {
	label string
	promise
	open func(w *workspace) (p peer, version string, err error)
}

var candidates = []candidate{
	{"go-loop", exact, openGo},
	{"vek", reordered, openVek},
	{"spago", outside, openSpago},
	{"numpy", exact, openPython("numpy")},
	{"torch", outside, openPython("torch")},
	{"torch-foreach", outside, openPython("torch-foreach")},
	{"torch-compile", outside, openPython("torch-compile")},
	{"tensorflow", reordered, openPython("tensorflow")},
	{"jax", reordered, openPython("jax")},
}

// findPeers returns the named peers that this machine has and whose results are right. It warns of
// each that is missing or wrong.
func findPeers(names string, w *workspace, warnings *log.Logger) (found []contender) {
	if names == "none" {
		return nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if !slices.ContainsFunc(candidates, func(c candidate) bool { return c.named(name) }) {
			warnings.Printf("-peers: unknown peer %q", name)
		}
	}
	for _, c := range candidates {
		if !slices.ContainsFunc(strings.Split(names, ","), c.named) {
			continue
		}
		p, version, err := c.open(w)
		if err == nil {
			if err = check(p, c.promise); err != nil {
				p.close()
			}
		}
		if err != nil {
			warnings.Printf("%s is left out: %v", c.label, err)
			continue
		}
		found = append(found, newContender(isPeer, c.label+" "+version+c.note, 3, p))
	}
	return found
}

func (c candidate) named(name string) bool { return name == "all" || strings.HasPrefix(c.label, name) }

// check runs a few steps. It returns an error if an element of theta or s differs from the promise
// by more than its tolerance.
func check(p peer, want promise) error {
	const n, steps = 1003, 3 // no multiple of a vector's length
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	fillData(theta, grad, s)
	for i := range n {
		// A step is so much smaller than most of theta that few of its bits survive the
		// subtraction. From zero, all of them do.
		if i%2 == 0 {
			theta[i] = 0
		}
		// s is the limit of the steps. Start there, above it, below it and at zero, so that a
		// wrong update of s shows.
		s[i] *= float32(i/2%4) / 2
	}
	start := slices.Clone(theta)
	if err := p.load(slices.Clone(theta), slices.Clone(grad), slices.Clone(s)); err != nil {
		return err
	}
	if _, err := p.run(steps); err != nil {
		return err
	}
	gotTheta, gotS, err := p.result()
	if err != nil {
		return err
	}
	for range steps {
		want.update(theta, grad, s)
	}
	for _, x := range []struct {
		name             string
		got, want, start []float32
	}{{"theta", gotTheta, theta, start}, {"s", gotS, s, s}} {
		for i := range x.want {
			// Also relative to theta before the steps, which may end close to zero.
			got, wanted := float64(x.got[i]), float64(x.want[i])
			e := math.Abs(got-wanted) / max(math.Abs(float64(x.start[i])), math.Abs(wanted))
			if !(e <= want.tolerance) { // or NaN
				return fmt.Errorf("wrong result: %s[%d] = %g after %d steps, want %g within %g of that",
					x.name, i, got, steps, wanted, want.tolerance)
			}
		}
	}
	return nil
}

// openGo opens the formula in plain Go. The conversions to float32 keep the compiler from fusing
// operations, as it does on arm64.
func openGo(w *workspace) (peer, string, error) {
	return &local{workspace: w, take: each(func() {
		goUpdate(w.theta, w.grad, w.s, lr, rho, 1-rho, eps)
	})}, runtime.Version(), nil
}

func goUpdate(theta, grad, s []float32, lr, rho, c, eps float32) {
	for i, g := range grad {
		s[i] = float32(rho*s[i]) + float32(c*float32(g*g))
		theta[i] -= float32(lr / float32(math.Sqrt(float64(s[i]+eps))) * g)
	}
}

// openVek opens that library's operations on whole slices, in AVX2. They make twelve passes over
// memory, because each operation Into another slice is a copy and an operation.
func openVek(w *workspace) (peer, string, error) {
	var root, step []float32
	return &local{workspace: w, take: each(func() {
		if len(root) != len(w.theta) {
			root, step = newArray(len(w.theta), 0), newArray(len(w.theta), 0)
		}
		vek32.Mul_Into(root, w.grad, w.grad)
		vek32.MulNumber_Inplace(root, 1-rho)
		vek32.MulNumber_Inplace(w.s, rho)
		vek32.Add_Inplace(w.s, root)
		vek32.AddNumber_Into(root, w.s, eps)
		vek32.Sqrt_Inplace(root)
		vek32.Div_Into(step, w.grad, root)
		vek32.MulNumber_Inplace(step, lr)
		vek32.Sub_Inplace(w.theta, step)
	})}, moduleVersion("github.com/viterin/vek"), nil
}

// openSpago opens that library's optimizer, on one parameter. Each step copies the gradients, because
// the step before dropped them.
func openSpago(w *workspace) (peer, string, error) {
	optimizer := rmsprop.New[float32](rmsprop.NewConfig(lr, eps, rho))
	return &local{workspace: w, take: func(steps int) error {
		matrix := func(x []float32) mat.Matrix { return mat.NewDense[float32](mat.WithBacking(x)) }
		param, grad := &nn.Param{Matrix: matrix(w.theta), State: &rmsprop.State{V: matrix(w.s)}}, matrix(w.grad)
		param.SetRequiresGrad(true)
		for range steps {
			param.AccGrad(grad)
			if err := optimizer.OptimizeParams(param); err != nil {
				return err
			}
		}
		return nil
	}}, moduleVersion("github.com/nlpodyssey/spago"), nil
}

// moduleVersion returns the version of a module in this program, if the build recorded it.
func moduleVersion(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}
