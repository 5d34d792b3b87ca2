package kernel

import (
	"cmp"
	"slices"
	"unsafe"
)

// places remembers where the tensors of the last step lie, which do not overlap. It
// holds addresses as numbers, so it keeps no memory alive.
type places struct {
	known      bool
	tensors    []place // by their index in params
	written    []span  // theta and states, sorted
	grads      []span  // gradients, sorted, if they must not overlap
	gradsApart bool
	order      []int32 // indices in params by address of theta, those without elements at the end
	elements   int     // of all Thetas whose gradients are whole
	moved      []int32 // indices in params of the gradients that moved

	newStates []newState // of the last step, sorted by theta
}

// A place has the addresses of a tensor's slices, 0 for empty ones.
type place struct {
	theta, grad, s, m, b uintptr
	n                    int
	rows                 int // elements of a table's gradient, or notATable
}

func placeOf(p *Param) place {
	k := place{theta: address(p.Theta), grad: address(p.Grad), n: len(p.Theta), rows: notATable}
	if p.Width != 0 {
		k.rows = len(p.Grad)
	}
	if st := p.State; st != nil {
		k.s, k.m, k.b = address(st.MeanSquare), address(st.MeanGrad), address(st.MomentumBuffer)
	}
	return k
}

// A newState is a state that a step allocated.
type newState struct {
	theta uintptr
	n     int
	again bool // the step before also allocated one for this Theta
}

// address returns the address of x's first element, or 0 if x is empty.
func address(x []float32) uintptr {
	if len(x) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(unsafe.SliceData(x)))
}

// matches reports whether the tensor lies where it did, apart from its gradient.
func (k *place) matches(p *Param) bool {
	if len(p.Theta) != k.n || address(p.Theta) != k.theta || (p.Width != 0) != (k.rows >= 0) {
		return false
	}
	st := p.State
	if st == nil {
		return k.s == 0
	}
	return address(st.MeanSquare) == k.s && address(st.MeanGrad) == k.m && address(st.MomentumBuffer) == k.b
}

// apart reports whether no written slice overlaps another one. If same is true, only
// the gradients in moved changed.
func (p *places) apart(params []Param, same, zeroGrad bool) bool {
	if same {
		p.known = p.follow(params)
	} else {
		p.known = p.learn(params)
	}
	if p.known && zeroGrad && !p.gradsApart {
		p.known = p.gradientsApart(params)
	}
	return p.known
}

// learn finds where all slices lie, and reports whether they are apart.
func (p *places) learn(params []Param) bool {
	p.tensors = slices.Grow(p.tensors[:0], len(params))[:len(params)]
	p.written, p.gradsApart, p.elements = p.written[:0], false, 0
	for i := range params {
		param, k := &params[i], &p.tensors[i]
		*k = placeOf(param)
		p.written = appendTensor(p.written, i, param.Theta, nil, param.State, false)
		if k.rows == notATable {
			p.elements += k.n
		}
	}
	sortSpans(p.written)
	if !apart(p.written) {
		return false
	}
	for i := range params {
		if meets(params[i].Grad, p.written) {
			return false
		}
	}
	p.order = p.order[:0]
	for _, s := range p.written {
		if s.slice%slicesPerTensor == 0 {
			p.order = append(p.order, s.slice/slicesPerTensor)
		}
	}
	for i := range params {
		if p.tensors[i].n == 0 {
			p.order = append(p.order, int32(i))
		}
	}
	return true
}

// follow does the same if only gradients moved.
func (p *places) follow(params []Param) bool {
	for _, i := range p.moved {
		grad := params[i].Grad
		if meets(grad, p.written) {
			return false
		}
		p.tensors[i] = placeOf(&params[i])
		p.gradsApart = false
	}
	return true
}

// gradientsApart reports whether no two gradients overlap.
func (p *places) gradientsApart(params []Param) bool {
	p.grads = p.grads[:0]
	for i := range params {
		p.grads = appendSpan(p.grads, params[i].Grad, i, true)
	}
	sortSpans(p.grads)
	p.gradsApart = apart(p.grads)
	return p.gradsApart
}

// made reports whether the last step allocated a state for theta, and whether the step
// before it also did.
func (p *places) made(theta []float32) (made, again bool) {
	at, found := slices.BinarySearchFunc(p.newStates, address(theta), func(s newState, a uintptr) int { return cmp.Compare(s.theta, a) })
	if !found || p.newStates[at].n != len(theta) {
		return false, false
	}
	return true, p.newStates[at].again
}
