//go:build goexperiment.simd && amd64

package main

import (
	"errors"
	"runtime"
	"simd/archsimd"
)

func init() { candidates = append(candidates, candidate{"archsimd", exact, openArchsimd}) }

// openArchsimd opens the formula in Go's own vectors of 8 lanes. 16 lanes are no faster, because the
// divider needs twice as long for them.
func openArchsimd(w *workspace) (peer, string, error) {
	if !archsimd.X86.AVX2() {
		return nil, "", errors.ErrUnsupported
	}
	return &local{workspace: w, take: each(func() {
		archsimdUpdate(w.theta, w.grad, w.s, lr, rho, 1-rho, eps)
	})}, runtime.Version(), nil
}

func archsimdUpdate(theta, grad, s []float32, lr, rho, rest, eps float32) {
	const lanes = 8
	lrs, rhos := archsimd.BroadcastFloat32x8(lr), archsimd.BroadcastFloat32x8(rho)
	rests, epss := archsimd.BroadcastFloat32x8(rest), archsimd.BroadcastFloat32x8(eps)
	for len(theta) >= lanes && len(grad) >= lanes && len(s) >= lanes {
		g := archsimd.LoadFloat32x8Slice(grad)
		mean := rhos.Mul(archsimd.LoadFloat32x8Slice(s)).Add(rests.Mul(g.Mul(g)))
		mean.StoreSlice(s)
		step := lrs.Div(mean.Add(epss).Sqrt()).Mul(g)
		archsimd.LoadFloat32x8Slice(theta).Sub(step).StoreSlice(theta)
		theta, grad, s = theta[lanes:], grad[lanes:], s[lanes:]
	}
	archsimd.ClearAVXUpperBits()
	goUpdate(theta, grad, s, lr, rho, rest, eps)
}
