package kernel

// A State is what an optimizer remembers of one tensor from step to step. Each of its
// slices has as many elements as the tensor. A State is plain data: save it with
// encoding/gob or, if it has no NaN or infinity, with encoding/json. Training
// resumed from it continues bit for bit, on any CPU and with any number of workers.
type State struct {
	Step           int       // the number of steps so far, which BiasCorrection uses
	MeanSquare     []float32 // s: running mean of grad²
	MeanGrad       []float32 // m: running mean of grad, only with Centered or FirstMoment
	MomentumBuffer []float32 // b: momentum buffer, required with Momentum
}

// needs reports which slices a state must have besides MeanSquare.
func (r *RMSProp) needs() (meanGrad, momentumBuffer bool) {
	return r.Centered || r.FirstMoment != 0, r.Momentum != 0
}

// NewState returns the initial state of a tensor of n elements. It panics with
// an [*ArgumentError] if n is negative or r is not valid.
func (r *RMSProp) NewState(n int) *State {
	r.check(nil).notNegative("n", n).panic()
	st := &State{MeanSquare: staggered(n, 1)}
	r.begin(st.MeanSquare)
	r.Adapt(st)
	return st
}

// Adapt makes st fit r after Momentum, Centered or FirstMoment changed: it adds the
// slices that r needs and st lacks, and removes those that r does not need. A new
// momentum buffer starts at zero, as for the first step. So does a new mean gradient,
// which takes about 1/(1-Rho) steps to become accurate. Adapt changes no other value.
//
// Adapt panics with an [*ArgumentError] if r is not valid or st is nil.
func (r *RMSProp) Adapt(st *State) {
	wrong := r.check(nil)
	if st == nil {
		wrong = wrong.add("st", nil, "a State (NewState makes one)")
	}
	wrong.panic()
	meanGrad, momentumBuffer := r.needs()
	n := len(st.MeanSquare)
	st.MeanGrad = adapted(st.MeanGrad, meanGrad, n, 2)
	st.MomentumBuffer = adapted(st.MomentumBuffer, momentumBuffer, n, 3)
}

func adapted(x []float32, needed bool, n, quarters int) []float32 {
	switch {
	case !needed:
		return nil
	case len(x) == 0:
		return staggered(n, quarters)
	default:
		return x
	}
}

// begin fills a new mean square, which is zero.
func (r *RMSProp) begin(s []float32) {
	if r.InitialMeanSquare != 0 {
		for i := range s {
			s[i] = float32(r.InitialMeanSquare)
		}
	}
}

// isNew reports whether st still has to be allocated: it is nil or empty.
func (st *State) isNew() bool {
	return st == nil || len(st.MeanSquare) == 0 && st.Step == 0 && len(st.MeanGrad) == 0 && len(st.MomentumBuffer) == 0
}

// ---- Where states lie in memory ----

const (
	lineSize  = 64 // bytes in a cache line of the CPUs that the assembly is for
	lineFloat = lineSize / 4
	pageSize  = 4096
	// Caches place memory by its address within a page. If several long slices begin at
	// the same place in their pages, they displace each other, which costs some percent.
	// So the slices of a long tensor are apart by a quarter of a page.
	stagger = pageSize / 4
	long    = chunk
)

// staggered allocates n elements. A long slice begins that many quarters into a page: theta
// and the gradient begin a page if Go allocated them.
func staggered(n, quarters int) []float32 {
	at := 0
	if n >= long {
		at = quarters * stagger / 4
	}
	return make([]float32, at+n)[at:][:n:n]
}

// A stateMemory is one allocation for the states of many tensors. A slice begins at the same
// place in a cache line as its Theta, and no two slices share a line.
type stateMemory struct {
	memory []float32 // begins a cache line
}

// room returns how many elements the slices of a state may need for a tensor of n elements.
func (r *RMSProp) room(n int) int {
	slices := 1
	meanGrad, momentumBuffer := r.needs()
	for _, needed := range [...]bool{meanGrad, momentumBuffer} {
		if needed {
			slices++
		}
	}
	each := n + 2*lineFloat
	if n >= long {
		each += pageSize / 4
	}
	return slices * each
}

func newStateMemory(elements int) stateMemory {
	if elements == 0 {
		return stateMemory{}
	}
	memory := make([]float32, lineFloat+elements)
	start, _ := extent(memory)
	return stateMemory{memory[-start%lineSize/4:]}
}

// fill makes the slices that r needs in a state for theta.
func (m *stateMemory) fill(st *State, r *RMSProp, theta []float32) {
	like, _ := extent(theta)
	take := func() []float32 {
		n := len(theta)
		start, _ := extent(m.memory)
		at := int((like-start)%lineSize) / 4
		if n >= long {
			like += stagger
			at = int((like-start)%pageSize) / 4
		}
		x := m.memory[at:][:n:n]
		m.memory = m.memory[(at+n+lineFloat-1)/lineFloat*lineFloat:]
		return x
	}
	st.MeanSquare = take()
	r.begin(st.MeanSquare)
	meanGrad, momentumBuffer := r.needs()
	if meanGrad {
		st.MeanGrad = take()
	}
	if momentumBuffer {
		st.MomentumBuffer = take()
	}
}
