package kernel

import (
	"encoding/binary"
	"math"
	"testing"
)

// FuzzUpdate compares every plan of every implementation that this CPU supports with the
// generic code, bit for bit, except that all NaNs count as equal. It runs Update and every
// variant of the options in one call, and again in pieces. A byte of cuts is the length of a
// piece (0 is an empty call); the last piece is the rest. Wrong arguments must panic with an
// *ArgumentError and leave the slices as they were.
//
// The bytes of data are theta, grad, s, m and b of each element in turn, 4 bytes each,
// little-endian, so any bit pattern occurs. A rest of fewer than 20 bytes is ignored. Four bits
// of offsets are the distance of a slice from the start of its allocation. The bits of options
// are the options that are on.
func FuzzUpdate(f *testing.F) {
	const byUpdateOption = uint16(1 << 8)
	for i, n := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 130} { // around the vectors
		r := generator(i)
		for _, value := range []func() float32{r.symmetric, r.special} {
			var data []byte
			for range slicesPerTensor * n {
				x := value()
				if r.intn(8) == 0 {
					x = r.special()
				}
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
			}
			cuts := []byte{byte(r.intn(9)), 0, byte(r.intn(40))}
			// 97 is prime to 256, the number of sets of options.
			f.Add(data, cuts, uint32(r.next()), uint16(i*97)&0xff|uint16(i%3/2)<<9, 0.001, 0.9, 1e-7, 0.9, 0.01, 0.5)
			o := numbers[i%len(numbers)]
			f.Add(data, cuts, uint32(r.next()), byUpdateOption, o.LR, o.Rho, o.Eps, 0.0, 0.0, 0.0)
		}
	}
	for _, wrong := range []RMSProp{{LR: -1}, {LR: 1e39}, {Rho: math.NaN()}, {Eps: math.Inf(1)}} {
		f.Add(make([]byte, 40), []byte{1}, uint32(0), byUpdateOption, wrong.LR, wrong.Rho, wrong.Eps, 0.0, 0.0, 0.0)
	}
	f.Fuzz(func(t *testing.T, data, cuts []byte, offsets uint32, options uint16, lr, rho, eps, momentum, decay, scale float64) {
		on := func(bit int) bool { return options>>bit&1 != 0 }
		v := variant{RMSProp{LR: lr, Rho: rho, Eps: eps}, byUpdate}
		if options&byUpdateOption == 0 {
			v.by = byMethod
			v.WeightDecay, v.LossScale = decay, scale
			v.Centered, v.Nesterov, v.DecoupledDecay = on(0), on(1), on(2)
			v.Maximize, v.EpsOutside, v.LROutside = on(3), on(4), on(5)
			if on(6) {
				v.Momentum = momentum
			}
			if on(7) {
				v.ClipValue = decay
			}
			if on(9) {
				v.FirstMoment, v.Centered, v.Momentum, v.Nesterov = momentum, false, 0, false
			}
		}
		input := func() (d tensorData) {
			n := len(data) / (4 * slicesPerTensor)
			for j := range sliceNames {
				if j == 3 && !v.Centered && v.FirstMoment == 0 || j == 4 && v.Momentum == 0 {
					continue
				}
				offset := int(offsets >> (4 * j) & 15)
				x := make([]float32, offset+n)[offset:]
				*d.at(j) = x
				for i := range x {
					x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*(slicesPerTensor*i+j):]))
				}
			}
			return d
		}
		want := input()
		wrong := v.Validate()
		if wrong == nil {
			v.generic(want)
		}
		for name := range eachPlan(t) {
			got := input()
			err := recovered(func() { v.step(got) })
			if _, ok := errorAs[*ArgumentError](err); ok != (wrong != nil) || err != nil && !ok {
				t.Fatalf("%s: %v: panic value %v, Validate() = %v", name, v, err, wrong)
			}
			got.requireSame(t, name, want)
			if wrong != nil {
				continue
			}
			pieces, at := input(), 0
			for _, cut := range cuts {
				end := min(at+int(cut), len(want.theta))
				v.step(pieces.slice(at, end))
				at = end
			}
			v.step(pieces.slice(at, len(want.theta)))
			pieces.requireSame(t, name+", in pieces", want)
		}
	})
}
