package kernel

import (
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"testing"
)

// How the fuzz targets compare: every plan of every implementation that this CPU has
// against updateGeneric, bit for bit, except that all NaNs count as the same, whatever
// their sign and payload. Hyperparameters that Update does not allow must
// panic with an *ArgumentError and leave the slices as they were.
//
// The input's bytes are the slices: theta, grad and s of each element in turn,
// 4 bytes each, little-endian, so that any bit pattern occurs. A rest of fewer
// than 12 bytes is left out. FuzzMember has m and b besides, 20 bytes an
// element. The seeds in testdata/fuzz bracket the vector widths.

// eachPlan has every plan of every implementation in use, one after the other, and
// yields its name.
func eachPlan(t *testing.T) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range ISAs() {
			useISA(t, name)
			for _, plan := range append(Plans()[:1:1], otherPlans()...) {
				usePlan(t, plan)
				if !yield(name + " " + plan) {
					return
				}
			}
		}
	}
}

// decode returns the three slices, at the given offsets (0 to 15) from the start
// of an allocation.
func decode(data []byte, offsets [3]int) (theta, grad, s []float32) {
	n := len(data) / 12
	var out [3][]float32
	for j, offset := range offsets {
		out[j] = make([]float32, offset+n)[offset:]
		for i := range out[j] {
			out[j][i] = math.Float32frombits(binary.LittleEndian.Uint32(data[12*i+4*j:]))
		}
	}
	return out[0], out[1], out[2]
}

func FuzzUpdate(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte, offsets uint16, lr, rho, eps float64) {
		at := [3]int{int(offsets & 15), int(offsets >> 4 & 15), int(offsets >> 8 & 15)}
		theta, grad, s := decode(data, at)
		wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
		allowed := rateInRange(lr) && rho >= 0 && rho <= 1 && inRange(eps)
		if allowed {
			updateGeneric(wantTheta, grad, wantS, hyper{lr, rho, eps}.params())
		}
		for name := range eachPlan(t) {
			gotTheta, gotGrad, gotS := decode(data, at)
			err := recovered(func() { Update(gotTheta, gotGrad, gotS, lr, rho, eps) })
			if _, ok := errorAs[*ArgumentError](err); ok == allowed || err != nil && !ok {
				t.Fatalf("%s: lr = %v, rho = %v, eps = %v: panic value %v", name, lr, rho, eps, err)
			}
			requireSame(t, name+": theta", gotTheta, wantTheta)
			requireSame(t, name+": s", gotS, wantS)
			requireSame(t, name+": grad", gotGrad, grad)
		}
	})
}

// FuzzSplit cuts a call into pieces, each as long as the next byte of cuts says
// (0 is an empty call); the last piece is the rest.
func FuzzSplit(f *testing.F) {
	f.Fuzz(func(t *testing.T, data, cuts []byte, lr, rho, eps float64) {
		if !rateInRange(lr) || !(rho >= 0 && rho <= 1) || !inRange(eps) {
			return
		}
		for name := range eachPlan(t) {
			wantTheta, grad, wantS := decode(data, [3]int{})
			gotTheta, gotS := slices.Clone(wantTheta), slices.Clone(wantS)
			Update(wantTheta, grad, wantS, lr, rho, eps)
			at := 0
			for _, cut := range cuts {
				end := min(at+int(cut), len(grad))
				Update(gotTheta[at:end], grad[at:end], gotS[at:end], lr, rho, eps)
				at = end
			}
			Update(gotTheta[at:], grad[at:], gotS[at:], lr, rho, eps)
			requireSame(t, name+": theta", gotTheta, wantTheta)
			requireSame(t, name+": s", gotS, wantS)
		}
	})
}

// FuzzMember compares the members of the family: every implementation with
// familyGeneric, and what is checked first with Validate. The bits of options
// are the options that are on.
func FuzzMember(f *testing.F) {
	for i, n := range []int{0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 130} {
		r := generator(i)
		data := make([]byte, 0, 20*n)
		for range n {
			for range 5 {
				x := r.symmetric()
				if r.intn(8) == 0 {
					x = specials[r.intn(len(specials))]
				}
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
			}
		}
		// 97 is prime to 256, the number of sets of options.
		f.Add(data, uint32(r.next()), uint8(i*97), 0.001, 0.9, 1e-7, 0.9, 0.01, 0.5)
	}
	f.Fuzz(func(t *testing.T, data []byte, offsets uint32, options uint8, lr, rho, eps, momentum, decay, scale float64) {
		on := func(bit int) bool { return options>>bit&1 != 0 }
		o := RMSProp{LR: lr, Rho: rho, Eps: eps, Centered: on(0), Nesterov: on(1), DecoupledDecay: on(2), WeightDecay: decay,
			LossScale: scale, Maximize: on(3), EpsOutside: on(4), LROutside: on(5)}
		if on(6) {
			o.Momentum = momentum
		}
		if on(7) {
			o.ClipValue = decay
		}
		input := func() (d tensorData) {
			n := len(data) / 20
			for j := range sliceNames {
				if j == 3 && !o.Centered || j == 4 && o.Momentum == 0 {
					continue
				}
				offset := int(offsets >> (4 * j) & 15)
				x := make([]float32, offset+n)[offset:]
				*d.at(j) = x
				for i := range x {
					x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[20*i+4*j:]))
				}
			}
			return d
		}
		want := input()
		wrong := o.Validate()
		if wrong == nil {
			want.generic(&o)
		}
		for name := range eachPlan(t) {
			got := input()
			err := recovered(func() { o.Update(got.theta, got.grad, got.state()) })
			if _, ok := errorAs[*ArgumentError](err); ok != (wrong != nil) || err != nil && !ok {
				t.Fatalf("%s: %+v: panic value %v, Validate() = %v", name, o, err, wrong)
			}
			got.requireSame(t, name, want)
		}
	})
}
