package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/seed57504d97/kernel"
)

// What -family measures: the members of the RMSProp family, each against the
// traffic of the slices that it has.

// A layout is which slices a member has beside theta, grad and s.
type layout struct{ m, b bool }

var layouts = []layout{{}, {b: true}, {m: true}, {m: true, b: true}}

func (l layout) String() string {
	switch l {
	case layout{b: true}:
		return "momentum"
	case layout{m: true}:
		return "centered"
	case layout{m: true, b: true}:
		return "centered momentum"
	}
	return "plain"
}

// traffic is the bytes an element that a step loads and stores: all slices
// twice but grad.
func (l layout) traffic() int {
	bytes := 20
	if l.m {
		bytes += 8
	}
	if l.b {
		bytes += 8
	}
	return bytes
}

// only returns nil in place of what the layout lacks.
func (l layout) only(m, b []float32) ([]float32, []float32) {
	if !l.m {
		m = nil
	}
	if !l.b {
		b = nil
	}
	return m, b
}

// familySpace is a workspace with what the members need besides.
type familySpace struct {
	workspace
	m, b []float32
	zero []float32 // a gradient
}

func (w *familySpace) prepare(n int) error {
	if len(w.theta) != n {
		w.m, w.b, w.zero = nil, nil, nil
		w.workspace.prepare(n)
		w.m, w.b, w.zero = newSlice(n), newSlice(n), newSlice(n)
		if useHugePages {
			_ = kernel.AdviseHugePages(w.m, w.b, w.zero)
		}
		fill(0, w.m, w.b, w.zero) // touches the pages
	}
	return nil
}

func (w *familySpace) close() error {
	w.m, w.b, w.zero = nil, nil, nil
	return w.workspace.close()
}

func fill(value float32, all ...[]float32) {
	for _, x := range all {
		for i := range x {
			x[i] = value
		}
	}
}

// A familyTraffic is the traffic of a layout alone.
type familyTraffic struct {
	*familySpace
	layout layout
	trafficLoop
}

func (t familyTraffic) name() string {
	name := "traffic, " + t.isa
	if bytes := t.layout.traffic(); bytes != (layout{}).traffic() {
		name += fmt.Sprintf(", %d bytes", bytes)
	}
	return name
}

func (t familyTraffic) run(steps int) (time.Duration, error) {
	m, b := t.layout.only(t.m, t.b)
	return t.time(steps, func() { t.pass(t.theta, t.grad, t.s, m, b) }), nil
}

// A member of the family as an implementation takes it. The empty label is the
// function Update.
type member struct {
	*familySpace
	isa, label string
	options    kernel.RMSProp
	renew      float32 // what all of the state is set to before each step; 0: as the last step left it
}

// A step leaves dead state zero: it has to be made anew for each, and what that
// costs the caches shows beside ordinary state that is made anew as well.
const (
	ordinary, ordinarySuffix = 1e-3, ", renewed"
	dead, deadSuffix         = 1e-40, ", dead"
)

func (m member) layout() layout { return layout{m.options.Centered, m.options.Momentum != 0} }

func (m member) name() string {
	if m.label == "" {
		return m.isa
	}
	return m.isa + ", " + m.label
}

func (m member) run(steps int) (time.Duration, error) {
	if err := kernel.SetISA(m.isa); err != nil {
		return 0, err
	}
	mean, momentum := m.layout().only(m.m, m.b)
	st := &kernel.State{MeanSquare: m.s, MeanGrad: mean, Momentum: momentum}
	if m.label == "" {
		return m.time(steps, func() { kernel.Update(m.theta, m.grad, m.s, lr, rho, eps) }), nil
	}
	if m.renew == 0 {
		return m.time(steps, func() { m.options.Update(m.theta, m.grad, st) }), nil
	}
	grad := m.grad
	if m.renew == dead {
		grad = m.zero
	}
	// The bare traffic leaves the caches about as a step does.
	warm := trafficLoops()[0]
	var took time.Duration
	for range steps {
		fill(m.renew, m.s, mean, momentum)
		warm.pass(m.theta, grad, m.s, mean, momentum)
		took += m.time(1, func() { m.options.Update(m.theta, grad, st) })
	}
	// Whoever comes next wants ordinary state.
	m.options.Update(m.theta, m.grad, st)
	return took, nil
}

// familyContenders are the best traffic loop of each layout, and for each
// implementation Update, the members, and them on renewed and dead state. The
// presets differ by no more than options, so that one implementation tells.
func familyContenders() ([]contender, *workspace) {
	space := new(familySpace)
	var contenders []contender
	for _, l := range layouts[:2] { // centered has the same traffic as momentum
		contenders = append(contenders, contender{familyTraffic{space, l, trafficLoops()[0]}, isLimit})
	}
	contenders = append(contenders, contender{familyTraffic{space, layouts[3], trafficLoops()[0]}, isLimit})

	options := func(l layout) kernel.RMSProp {
		o := kernel.RMSProp{LR: lr, Rho: rho, Eps: eps, Centered: l.m}
		if l.b {
			o.Momentum = 0.9
		}
		return o
	}
	for i, isa := range kernel.ISAs() {
		add := func(label string, o kernel.RMSProp) {
			contenders = append(contenders, contender{member{space, isa, label, o, 0}, isKernel})
		}
		addDead := func(l layout) {
			contenders = append(contenders,
				contender{member{space, isa, l.String() + ordinarySuffix, options(l), ordinary}, isKernel},
				contender{member{space, isa, l.String() + deadSuffix, options(l), dead}, isKernel})
		}
		add("", options(layout{}))
		addDead(layout{})
		scaled := options(layout{})
		scaled.LossScale, scaled.WeightDecay = 2, 0.01
		add("scale and L2", scaled)
		for _, l := range layouts[1:] {
			add(l.String(), options(l))
			addDead(l)
		}
		if i > 0 {
			continue
		}
		add("Keras", kernel.Keras())
		add("PyTorch", kernel.PyTorch())
		add("TensorFlow", kernel.TensorFlow())
		add("Optax", kernel.Optax())
	}
	return contenders, &space.workspace
}

// trafficOf is the bytes an element that a contender loads and stores.
func trafficOf(c contender) int {
	switch r := c.runner.(type) {
	case familyTraffic:
		return r.layout.traffic()
	case member:
		return r.layout().traffic()
	}
	return 0
}

// writeFamily prints what was measured at one size.
func writeFamily(w io.Writer, rows []row) {
	if len(rows) == 0 {
		return // all were warned of
	}
	byName := map[string]row{}
	limits := map[int]row{} // by their traffic
	for _, r := range rows {
		byName[r.Name] = r
		if r.Kind == isLimit {
			limits[r.Traffic] = r
		}
	}
	ratio := func(r, to row) string {
		if to.Median == 0 {
			return "" // it was left out
		}
		return fmt.Sprintf("%.2f", r.Median/to.Median)
	}
	n := rows[0].Elements
	fmt.Fprintf(w, "\n%s elements, %s to %s\n", formatCount(n), formatBytes(4*3*n), formatBytes(4*5*n))
	var t table
	t.line("", "bytes", "ns/1000", "quartiles", "GB/s", "of limit", "time/Update", "dead/renewed")
	for _, r := range rows {
		isa, _, _ := strings.Cut(r.Name, ", ")
		update, deadTo := "", ""
		if r.Kind == isKernel {
			update = ratio(r, byName[isa])
		}
		if name, ok := strings.CutSuffix(r.Name, deadSuffix); ok {
			deadTo = ratio(r, byName[name+ordinarySuffix])
		}
		ofLimit := ""
		if limit := limits[r.Traffic]; limit.Median != 0 {
			ofLimit = fmt.Sprintf("%.0f%%", 100*limit.Median/r.Median)
		}
		t.line(r.Name, fmt.Sprint(r.Traffic), digits(r.Median), digits(r.Q1)+" to "+digits(r.Q3),
			digits(r.gigabytesPerSecond()), ofLimit, update, deadTo)
	}
	t.write(w)
}
