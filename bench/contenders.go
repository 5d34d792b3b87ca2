package main

import (
	"fmt"

	"github.com/seed57504d97/kernel"
)

// What each mode measures. All work on the workspace's arrays in turns, so that
// none is favoured by where its own happen to lie.

func updateOf(w *workspace) (take func(steps int) error) {
	return each(func() error {
		kernel.Update(w.theta, w.grad, w.s, lr, rho, eps)
		return nil
	})
}

// updateContenders are the traffic loops and kernel's implementations, each with
// the plan that it chooses and, where they are asked for, with every plan.
func updateContenders(w *workspace, allPlans bool) []contender {
	update := updateOf(w)
	contenders := trafficContenders("Update", w, 3)
	for _, isa := range kernel.ISAs() {
		contenders = append(contenders, newContender("Update", isKernel, isa, 3, &local{workspace: w, isa: isa, update: true, take: update}))
		if !allPlans || kernel.SetISA(isa) != nil || len(kernel.Plans()) == 1 {
			continue
		}
		for _, plan := range kernel.Plans() {
			contenders = append(contenders, newContender("Update", isKernel, isa+":"+plan, 3,
				&local{workspace: w, isa: isa, plan: plan, update: true, take: update}))
		}
	}
	return contenders
}

// trafficContenders are the loops over so many arrays.
func trafficContenders(bench string, w *workspace, arrays int) (contenders []contender) {
	for _, loop := range trafficLoops() {
		name := loop.name
		if arrays > 3 {
			name += fmt.Sprintf(", %d arrays", arrays)
		}
		step := func() error {
			loop.pass(w.grad, [][]float32{w.theta, w.s, w.m, w.b}[:arrays-1]...)
			return nil
		}
		contenders = append(contenders, newContender(bench, isLimit, name, arrays, &local{workspace: w, take: each(step)}))
	}
	return contenders
}

// familyContenders are the traffic loops of each count of arrays, and for each
// implementation Update and the members of the family that differ in their
// arrays, or in how much they do with them.
func familyContenders(w *workspace) (contenders []contender) {
	for arrays := 3; arrays <= 5; arrays++ {
		contenders = append(contenders, trafficContenders("Family", w, arrays)...)
	}
	for _, isa := range kernel.ISAs() {
		contenders = append(contenders, newContender("Family", isKernel, isa+", Update", 3, &local{workspace: w, isa: isa, update: true, take: updateOf(w)}))
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
		} {
			m.LR, m.Rho, m.Eps = lr, rho, eps
			step := func() error {
				st := kernel.State{MeanSquare: w.s}
				if m.Centered {
					st.MeanGrad = w.m
				}
				if m.Momentum != 0 {
					st.Momentum = w.b
				}
				m.Update(w.theta, w.grad, &st)
				return nil
			}
			contenders = append(contenders, newContender("Family", isKernel, isa+", "+m.name, m.arrays,
				&local{workspace: w, isa: isa, take: each(step)}))
		}
	}
	return contenders
}

// stepContenders are Optimizer with each count of workers, on one tensor.
func stepContenders(w *workspace, workers []int) (contenders []contender) {
	for _, count := range workers {
		p := kernel.Optimizer{Options: kernel.RMSProp{LR: lr, Rho: rho, Eps: eps}, Workers: count}
		params := []kernel.Param{{State: new(kernel.State)}}
		step := func() error {
			params[0].Theta, params[0].Grad, params[0].State.MeanSquare = w.theta, w.grad, w.s
			_, err := p.Step(params)
			return err
		}
		by := fmt.Sprint(kernel.ISA(), ", workers ", count)
		contenders = append(contenders, newContender("Step", isKernel, by, 3,
			&local{workspace: w, isa: kernel.ISA(), take: each(step), workers: count}))
	}
	return contenders
}
