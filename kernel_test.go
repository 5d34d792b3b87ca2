package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// ---- Bits ----

// The generic code against the definition, of which every other implementation is
// compared with the generic code.
func TestOracle(t *testing.T) {
	r := random(t, 1)
	for _, m := range members {
		d := r.values(&m.RMSProp)
		got := d.clone()
		m.generic(got)
		at := func(d tensorData, i int) (x [slicesPerTensor]float32) {
			for j, y := range d.all() {
				if y != nil {
					x[j] = y[i]
				}
			}
			return x
		}
		for i := range d.theta {
			in, out := at(d, i), at(got, i)
			want := m.oracle(new(rounding), in)
			for j := range out {
				if !same(out[j], want[j]) {
					t.Fatalf("%v, of %g: %s = %g, want %g", m, in, sliceNames[j], out[j], want[j])
				}
			}
		}
	}
}

// Long enough that values of each kind meet in every lane and in every block.
func TestValues(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		r := random(t, 13)
		for _, m := range members {
			got := r.values(&m.RMSProp)
			want := got.clone()
			m.generic(want)
			m.step(got)
			got.requireSame(t, m, want)
		}
	})
}

// Every length of a few blocks and what is left of them, and some that are
// prefetched for or cut into chunks, at any offset from a vector's boundary.
func TestAgainstGeneric(t *testing.T) {
	const longest = 3*chunk + 17
	var arenas [slicesPerTensor]arena
	for i := range arenas {
		arenas[i] = make(arena, longest+16+32)
	}
	tries := 8
	if testing.Short() {
		tries = 1
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 3)
		for i, m := range members {
			lengths := []int{200, 256, 300, 577, 1000}
			if i == 0 { // the chunks are every member's
				lengths = append(lengths, 4099, chunk-1, chunk, chunk+1, longest)
			}
			for n := range 131 {
				lengths = append(lengths, n)
			}
			for _, n := range lengths {
				d := m.allocate(n)
				r.training(d)
				for i := range n / 16 { // every block may have a special value
					d.put(16*i+r.intn(16), r.special)
				}
				want := d.clone()
				m.generic(want)
				for range tries {
					var offsets [slicesPerTensor]int
					got := d.replace(func(i int, x []float32) []float32 {
						offsets[i] = r.intn(16)
						return arenas[i].place(offsets[i], x)
					})
					m.step(got)
					got.requireSame(t, fmt.Sprintf("%v, offsets %d", m, offsets), want)
					for i, x := range d.all() {
						if x != nil && !arenas[i].intact(offsets[i], n) {
							t.Fatalf("%v, %d elements, offsets %d: memory beside %s was written", m, n, offsets, sliceNames[i])
						}
					}
				}
			}
		}
	})
}

func TestSplits(t *testing.T) {
	const n = chunk + 1000
	longest := []int{2, 5, 175, 6125}
	if testing.Short() {
		longest = longest[2:]
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 4)
		for _, m := range members {
			d := m.allocate(n)
			r.training(d)
			whole, want := d.clone(), d.clone()
			m.generic(want)
			m.step(whole)
			whole.requireSame(t, m, want)
			for _, longest := range longest {
				got := d.clone()
				for at := 0; at < n; {
					end := min(n, at+1+r.intn(longest))
					m.step(got.slice(at, end))
					at = end
				}
				got.requireSame(t, m, want)
			}
		}
	})
}

func TestConcurrent(t *testing.T) {
	const n = chunk + 1003
	forEachISA(t, func(t *testing.T) {
		r := random(t, 5)
		for _, m := range []member{{usual, byUpdate}, {everything, byMethod}} {
			got := m.allocate(n)
			r.training(got)
			want := got.clone()
			m.generic(want)
			var wg waitGroup
			for at := 0; at < n; at += 101 { // neighbours share a cache line and a vector
				wg.Go(func() { m.step(got.slice(at, min(n, at+101))) })
			}
			wg.Wait()
			got.requireSame(t, m, want)
		}
	})
}

// On ordinary data the input rules change nothing: this is the formula as it
// is published.
func TestTextbookFormula(t *testing.T) {
	r := random(t, 2)
	forEachISA(t, func(t *testing.T) {
		d := usual.allocate(1000)
		r.training(d)
		want := d.clone()
		lr, rho, c, eps := float32(usual.LR), float32(usual.Rho), float32(1-usual.Rho), float32(usual.Eps)
		for range 10 {
			Update(d.theta, d.grad, d.s, usual.LR, usual.Rho, usual.Eps)
			for i, g := range d.grad {
				want.s[i] = float32(rho*want.s[i]) + float32(c*float32(g*g))
				root := float32(math.Sqrt(float64(want.s[i] + eps)))
				want.theta[i] -= float32(float32(lr/root) * g)
			}
		}
		d.requireSame(t, "the textbook", want)
	})
}

// Hyperparameters are rounded once, 1 - rho after the subtraction.
func TestFloatTypes(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		theta64, s64, grad := []float32{1, 2}, []float32{0.5, 0}, []float32{0.1, -3}
		theta32, s32 := slices.Clone(theta64), slices.Clone(s64)
		Update(theta64, grad, s64, 0.01, 0.999, 1e-8)
		lr, rho, eps := float32(0.01), float32(0.999), float32(1e-8)
		Update(theta32, grad, s32, lr, rho, eps)
		// As float64, float32(0.999) is another number than 0.999, and so is its 1 - rho.
		o := RMSProp{LR: float64(lr), Rho: float64(rho), Eps: float64(eps)}
		want := o.oracle(new(rounding), [slicesPerTensor]float32{1, 0.1, 0.5})
		if theta32[0] != want[0] || s32[0] != want[2] {
			t.Errorf("float32: theta = %g, s = %g, want %g, %g", theta32[0], s32[0], want[0], want[2])
		}
		if c := float32(0.001); s64[1] != c*9 {
			t.Errorf("float64: s = %g, want 0.001 * 9 = %g", s64[1], c*9)
		}
		if s32[1] == s64[1] {
			t.Errorf("1 - rho does not depend on rho's type: %g", s32[1])
		}
	})
}

var updateGolden = flag.Bool("update", false, "write testdata/golden.txt anew, from the generic code")

// goldenSums takes steps of Update and of the family, with new gradients in each,
// and returns a line for each member: the hash of theta, s, m and b in the end.
func goldenSums() string {
	golden := []member{{usual, byUpdate}}
	for i, o := range []RMSProp{Keras(), PyTorch(), TensorFlow(), Optax()} {
		golden = append(golden, member{o, byMethod})
		for variant := range 3 {
			o.Centered = variant > 0
			o.Momentum = 0.9
			o.WeightDecay = 0.01
			o.DecoupledDecay = i%2 == 0
			o.Nesterov = variant == 2
			o.Maximize = variant == 1
			o.LossScale = 2
			golden = append(golden, member{o, byMethod})
		}
	}
	var out strings.Builder
	const n, steps = 1009, 100
	for _, m := range golden {
		d, unused := m.allocate(n), m.allocate(n)
		r := generator(2012)
		r.ordinary(d.theta, unused.grad, d.s)
		for range steps {
			r.ordinary(unused.theta, d.grad, unused.s)
			m.step(d)
		}
		sum := sha256.New()
		for _, x := range [][]float32{d.theta, d.s, d.m, d.b} {
			binary.Write(sum, binary.LittleEndian, x)
		}
		fmt.Fprintf(&out, "%x %v\n", sum.Sum(nil), m)
	}
	return out.String()
}

func TestGolden(t *testing.T) {
	const file = "testdata/golden.txt"
	if *updateGolden {
		useISA(t, "generic")
		if err := os.WriteFile(file, []byte(goldenSums()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forEachISA(t, func(t *testing.T) {
		if got := goldenSums(); got != string(want) {
			t.Errorf("after the last step:\n%swant\n%s", got, want)
		}
	})
}
