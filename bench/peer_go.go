package main

import (
	"math"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/nlpodyssey/spago/mat"
	"github.com/nlpodyssey/spago/nn"
	"github.com/nlpodyssey/spago/optimizers/rmsprop"
	"github.com/viterin/vek/vek32"
)

// data is what a peer in this process works on.
type data struct{ theta, grad, s []float32 }

func (d *data) load(theta, grad, s []float32) error {
	*d = data{theta, grad, s}
	return nil
}

func (d *data) result() (theta, s []float32, err error) { return d.theta, d.s, nil }

func (d *data) close() error {
	*d = data{}
	return nil
}

// A goLoop is the formula as one writes it in Go. The conversions to float32
// keep the compiler from fusing, as it does on arm64.
type goLoop struct{ data }

func openGoLoop() (peer, string, error) { return new(goLoop), runtime.Version(), nil }

func (p *goLoop) run(steps int) (time.Duration, error) {
	start := time.Now()
	for range steps {
		goUpdate(p.theta, p.grad, p.s, lr, rho, 1-rho, eps)
	}
	return time.Since(start), nil
}

func goUpdate(theta, grad, s []float32, lr, rho, c, eps float32) {
	for i, g := range grad {
		s[i] = float32(rho*s[i]) + float32(c*float32(g*g))
		theta[i] -= float32(lr / float32(math.Sqrt(float64(s[i]+eps))) * g)
	}
}

// vek has the operations on whole slices, in AVX2: twelve passes over memory,
// since those Into another slice are a copy and the operation.
type vek struct {
	data
	root, step []float32
}

func openVek() (peer, string, error) {
	return new(vek), moduleVersion("github.com/viterin/vek"), nil
}

func (p *vek) load(theta, grad, s []float32) error {
	p.root, p.step, _ = newData(len(theta)) // for their pages, not for their values
	return p.data.load(theta, grad, s)
}

func (p *vek) run(steps int) (time.Duration, error) {
	start := time.Now()
	for range steps {
		vek32.Mul_Into(p.root, p.grad, p.grad)
		vek32.MulNumber_Inplace(p.root, 1-rho)
		vek32.MulNumber_Inplace(p.s, rho)
		vek32.Add_Inplace(p.s, p.root)
		vek32.AddNumber_Into(p.root, p.s, eps)
		vek32.Sqrt_Inplace(p.root)
		vek32.Div_Into(p.step, p.grad, p.root)
		vek32.MulNumber_Inplace(p.step, lr)
		vek32.Sub_Inplace(p.theta, p.step)
	}
	return time.Since(start), nil
}

func (p *vek) close() error {
	*p = vek{}
	return nil
}

// spago is that library's optimizer, on one parameter.
type spago struct {
	optimizer *rmsprop.RMSProp[float32]
	param     *nn.Param
	grad      mat.Matrix
}

func openSpago() (peer, string, error) {
	p := &spago{optimizer: rmsprop.New[float32](rmsprop.NewConfig(lr, eps, rho))}
	return p, moduleVersion("github.com/nlpodyssey/spago"), nil
}

func (p *spago) load(theta, grad, s []float32) error {
	p.param = nn.NewParam(mat.NewDense[float32](mat.WithBacking(theta)))
	p.param.State = &rmsprop.State{V: mat.NewDense[float32](mat.WithBacking(s))}
	p.grad = mat.NewDense[float32](mat.WithBacking(grad))
	return nil
}

func (p *spago) run(steps int) (time.Duration, error) {
	var took time.Duration
	for range steps {
		p.param.AccGrad(p.grad) // the step drops it; only the step counts
		start := time.Now()
		if err := p.optimizer.OptimizeParams(p.param); err != nil {
			return 0, err
		}
		took += time.Since(start)
	}
	runtime.GC() // now, not in the next runner's time: each step leaves garbage
	return took, nil
}

func (p *spago) result() (theta, s []float32, err error) {
	mean := p.param.State.(*rmsprop.State).V
	return p.param.Data().F32(), mean.Data().F32(), nil
}

func (p *spago) close() error {
	p.param, p.grad = nil, nil
	return nil
}

// moduleVersion is that of a module in this program, where the build told it.
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
