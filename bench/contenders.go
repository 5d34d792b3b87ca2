package main

import (
	"fmt"

	"github.com/seed57504d97/kernel"
	"github.com/seed57504d97/kernel/internal/tuning"
)

// This file lists what each mode measures. All contenders share the workspace's arrays, so the
// places of the arrays favor none of them.

// newUpdate returns a runner of Update in an implementation. Without the name of a plan, kernel
// chooses one.
func newUpdate(w *workspace, isa, plan string) *local {
	return &local{workspace: w, isa: isa, plan: plan, update: true, take: each(func() {
		kernel.Update(w.theta, w.grad, w.s, lr, rho, eps)
	})}
}

// updateContenders returns the traffic loops, and kernel by default and in each implementation: with
// the plan that it chooses and, with allPlans, with each of its plans.
func updateContenders(w *workspace, allPlans bool) []contender {
	contenders := trafficContenders(w, 3)
	for _, isa := range append([]string{byDefault}, kernel.ISAs()...) {
		contenders = append(contenders, newContender(isKernel, isa, 3, newUpdate(w, isa, "")))
		if !allPlans || kernel.SetISA(isa) != nil || len(tuning.Plans()) == 1 {
			continue
		}
		for _, plan := range tuning.Plans() {
			contenders = append(contenders, newContender(isKernel, plan, 3, newUpdate(w, isa, plan)))
		}
	}
	return contenders
}

// trafficContenders returns the loops over that many arrays.
func trafficContenders(w *workspace, arrays int) (contenders []contender) {
	for _, loop := range trafficLoops() {
		name := loop.name
		if arrays > 3 {
			name += fmt.Sprintf(", %d arrays", arrays)
		}
		contenders = append(contenders, newContender(isLimit, name, arrays, &local{workspace: w, take: each(func() {
			loop.pass(w.grad, [][]float32{w.theta, w.s, w.m, w.b}[:arrays-1]...)
		})}))
	}
	return contenders
}

// optionContenders returns the traffic loops of each count of arrays and, for each implementation,
// Update and the options of RMSProp that differ in their arrays or in their work. Adam and AdamW are
// at a later step than the first, so that the old state counts.
func optionContenders(w *workspace) (contenders []contender) {
	for arrays := 3; arrays <= 5; arrays++ {
		contenders = append(contenders, trafficContenders(w, arrays)...)
	}
	for _, isa := range append([]string{byDefault}, kernel.ISAs()...) {
		contenders = append(contenders, newContender(isKernel, isa+", Update", 3, newUpdate(w, isa, "")))
		for _, m := range []struct {
			name   string
			arrays int
			kernel.RMSProp
		}{
			{"plain", 3, kernel.RMSProp{}},
			{"loss scale and L2", 3, kernel.RMSProp{LossScale: 2, WeightDecay: 0.01}},
			{"momentum", 4, kernel.RMSProp{Momentum: 0.9}},
			{"centered", 4, kernel.RMSProp{Centered: true}},
			{"centered momentum", 5, kernel.RMSProp{Centered: true, Momentum: 0.9}},
			{"Adam", 4, kernel.Adam()},
			{"AdamW", 4, kernel.AdamW()},
		} {
			m.LR, m.Rho, m.Eps = lr, rho, eps
			step := func() {
				st := kernel.State{Step: 10, MeanSquare: w.s}
				if m.Centered || m.FirstMoment != 0 {
					st.MeanGrad = w.m
				}
				if m.Momentum != 0 {
					st.MomentumBuffer = w.b
				}
				m.Update(w.theta, w.grad, &st)
			}
			r := &local{workspace: w, isa: isa, take: each(step)}
			contenders = append(contenders, newContender(isKernel, isa+", "+m.name, m.arrays, r))
		}
	}
	return contenders
}
