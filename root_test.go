package kernel

import (
	"flag"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
)

// The square root in software equals the hardware's. Three tests say so:
// TestExhaustive runs the kernels on the very v = s + eps that they take the
// root of, TestRootModel shows that the result does not hang on the estimate
// that this CPU happens to make, and TestRootSpecials is about what lies
// outside the range.

var exhaustive = flag.Bool("exhaustive", false, "check every float32, not a sample (a minute)")

// rootsInSoftware tells whether the implementation in use has any.
func rootsInSoftware() bool {
	return slices.ContainsFunc(plans[active.Load()], func(p plan) bool { return p.software > 0 })
}

// sqrt is the square root in hardware.
func sqrt(x float32) float32 { return float32(math.Sqrt(float64(x))) }

// Every v that the software root is used for, from 2^-100 to the greatest
// float32, goes through Update. Its root d is seen in the step lr/d: with rho
// = 1, grad = 1 and theta = 0, theta becomes -lr/d.
func TestExhaustive(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		if *exhaustive && plans[active.Load()][max(0, int(fixed.Load()&0xff)-1)].ahead > 0 {
			t.Skip("what is prefetched changes no root")
		}
		low, high := 0, 1 // [1, 4) has all mantissas and both parities of the exponent
		share := uint32(1)
		if *exhaustive && rootsInSoftware() {
			low, high = -100, 127
		} else if testing.Short() {
			share = 16
		}
		bad := badEstimates(t)
		exponents := make(chan int)
		var wg waitGroup
		for range runtime.GOMAXPROCS(0) {
			wg.Go(func() {
				b := rootBatch{bad: bad}
				for e := range exponents {
					b.binade(t, e, share)
				}
			})
		}
		for e := low; e <= high; e++ {
			exponents <- e
		}
		close(exponents)
		wg.Wait()
	})
}

// A rootBatch is some consecutive v in a call of Update, whose roots lie so
// close to each other that one lr keeps the steps of all of them apart.
type rootBatch struct {
	theta, grad, s, want []float32
	bad                  func(v float32) bool // v to leave out
}

// binade checks all v in [2^e, 2^(e+1)), or one batch in so many.
func (b *rootBatch) binade(t *testing.T, e int, share uint32) {
	const longest = 1 << 14
	first := math.Float32bits(float32(math.Ldexp(1, e)))
	for done := uint32(0); done < 1<<23 && !t.Failed(); {
		n := uint32(min(longest, 1<<23-done))
		v := math.Float32frombits(first + done)
		d := sqrt(v)
		// lr/d just below 2 in units of d's exponent has the finest steps there
		// are. The quotients of neighbours differ while d² < lr.
		_, exponent := math.Frexp(float64(d))
		unit := float32(math.Ldexp(1, exponent-1)) // d/unit is in [1, 2)
		lr, finest := math.Nextafter32(2*(d/unit), 0)*unit, unit
		if lr > maxRate { // lr/d just below 1 is as fine
			lr, finest = lr/2, unit/2
		}
		for {
			last := sqrt(math.Float32frombits(first + done + n - 1))
			if q := last / unit; q*q < lr/finest || n == 1 {
				break
			}
			n /= 2
		}
		b.check(t, first+done, int(n), lr, math.Ldexp(1, max(-100, e-23)))
		done += n * share
	}
}

// check compares the steps of the n floats from the one with the given bits.
// eps is a multiple of the last place of each of them, or they are of its last
// place, so that v - eps is a float32 and s + eps is v again.
func (b *rootBatch) check(t *testing.T, bits uint32, n int, lr float32, eps float64) {
	v := func(i int) float32 { return math.Float32frombits(bits + uint32(i)) }
	b.want = b.want[:0]
	for i := range n {
		b.want = append(b.want, -(lr / sqrt(v(i))))
	}
	// Were a root one place off, or more, its step would differ.
	from, to := sqrt(v(0)), sqrt(v(n-1))
	before := lr / math.Nextafter32(from, 0)
	after := func(d float32) float32 { return math.Nextafter32(d, inf) }
	for d := from; d <= after(to); d = after(d) {
		q := lr / d
		if q >= before {
			t.Errorf("lr = %g does not tell a root of %g from the one below it", lr, d)
			return
		}
		before = q
	}

	// Whole blocks, so that none of the values is left for the code behind them.
	// A block has some of its roots in hardware: the second time all values
	// stand elsewhere in it.
	size := (n+63)/64*64 + 64
	for _, shift := range []int{0, 24} {
		b.theta = append(b.theta[:0], make([]float32, size)...)
		if len(b.grad) < size {
			b.grad, b.s = make([]float32, size), make([]float32, size)
			for i := range b.grad {
				b.grad[i] = 1
			}
		}
		s := b.s[:size]
		for i := range s {
			s[i] = 1
		}
		for i := range n {
			s[shift+i] = v(i) - float32(eps)
		}
		Update(b.theta, b.grad[:size], s, float64(lr), 1, eps)
		if got := b.theta[shift:][:n]; !slices.Equal(got, b.want) {
			for i := range n {
				if got[i] != b.want[i] && !b.bad(v(i)) {
					t.Errorf("v = %g (%#08x), place %d: lr/sqrt(v) = %g, want %g", v(i), bits+uint32(i), shift+i, -got[i], -b.want[i])
					return
				}
			}
		}
	}
}

// fma is x*y + z rounded once. In float64 the product is exact. The sum is
// rounded to odd, its last bit set where anything was cut off, which leaves
// the second rounding right (Boldo and Melquiond, Emulation of a FMA and
// correctly rounded sums: proved algorithms using rounding to odd, 2008).
func fma(x, y, z float32) float32 {
	p, z64 := float64(x)*float64(y), float64(z)
	sum := p + z64
	t := sum - p // Knuth's two-sum: what the rounding of sum cut off
	cut := (p - (sum - t)) + (z64 - t)
	if bits := math.Float64bits(sum); cut != 0 && bits&1 == 0 {
		if (cut > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
		sum = math.Float64frombits(bits)
	}
	return float32(sum)
}

func TestFMA(t *testing.T) {
	for _, test := range []struct{ x, y, z, want float32 }{
		{2, 3, 4, 10},
		{1 + 0x1p-23, 1 + 0x1p-23, -1 - 0x1p-22, 0x1p-46}, // the product is not rounded
		{1, 1 + 0x1p-23, 0x1p-24, 1 + 0x1p-22},            // a tie, to even
		{1, 1, 0x1p-24, 1},                                // a tie, to even
		{0x1p-30, 0x1p-30, 1 + 0x1p-23, 1 + 0x1p-23},
		{1 + 0x1p-12, 1 + 0x1p-12, 0, 1 + 0x1p-11}, // 2^-24 more is a tie
		{1 + 0x1p-12, 1 + 0x1p-12, 0x1p-60, 1 + 0x1p-11 + 0x1p-23},
		{1 + 0x1p-12, 1 + 0x1p-12, -0x1p-60, 1 + 0x1p-11},
	} {
		if got := fma(test.x, test.y, test.z); got != test.want {
			t.Errorf("fma(%g, %g, %g) = %g, want %g", test.x, test.y, test.z, got, test.want)
		}
	}
}

// rootModel is the kernels' square root of v in Go, from an estimate y of
// 1/sqrt(v): the letters are those of kernel_amd64.s.
func rootModel(v, y float32, iterations int) float32 {
	a, h := v*y, 0.5*y
	for range iterations {
		r := fma(-a, h, 0.5)
		a, h = fma(a, r, a), fma(h, r, h)
	}
	d := fma(-a, a, v)
	return fma(d, h, a)
}

// The manuals bound the estimates' relative error, and leave the table to each
// CPU: VRSQRT14PS "less than 2^-14" (Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 2), RSQRTPS at most 1.5 * 2^-12 (there, and in AMD64
// Architecture Programmer's Manual, volume 4). So the root must be right for any
// estimate within: here 17, from one bound to the other. [1, 4) stands for all v:
// multiplied by a power of 4, every step of the root scales, and from 2^-100 up
// nothing is subnormal.
func TestRootModel(t *testing.T) {
	stride := uint32(1009)
	if *exhaustive {
		stride = 1
	}
	for _, test := range []struct {
		name       string
		bound      float64
		iterations int
	}{
		{"VRSQRT14PS", 0x1p-14, 1},
		{"RSQRTPS", 1.5 * 0x1p-12, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			const one, four = 0x3f800000, 0x40800000
			var wg waitGroup
			workers := uint32(runtime.GOMAXPROCS(0))
			for w := range workers {
				wg.Go(func() {
					for bits := one + w*stride; bits < four; bits += workers * stride {
						v := math.Float32frombits(bits)
						exact := 1 / math.Sqrt(float64(v))
						want := sqrt(v)
						for i := -8.0; i <= 8; i++ {
							y := float32(exact * (1 + i/8*test.bound))
							if got := rootModel(v, y, test.iterations); got != want {
								t.Errorf("v = %g, estimate %g: root %g, want %g", v, y, got, want)
								return
							}
						}
					}
				})
			}
			wg.Wait()
		})
	}
	// From an estimate of 5 bits one iteration is not enough, and the model tells.
	wrong := 0
	for v := float32(1); v < 2; v += 0x1p-7 {
		if rootModel(v, float32(1/math.Sqrt(float64(v))*(1+0x1p-5)), 1) != sqrt(v) {
			wrong++
		}
	}
	if wrong == 0 {
		t.Error("the model finds the root from any estimate")
	}
}

// A value that the software root must not or barely get, alone in each lane of
// a block, among ordinary ones.
func TestRootSpecials(t *testing.T) {
	const n = 3 * 64
	type element struct{ theta, grad, s float32 }
	elements := []element{
		{1, 1, inf},                  // v infinite
		{1, 1e30, 1},                 // grad² infinite
		{1, 1, math.MaxFloat32},      // s near the end of the range
		{1, 1.8e19, math.MaxFloat32}, // s overflows in the sum
		{1, inf, 1},                  // lr/d = 0, times infinity
		{1, nan, 1}, {1, 1, nan},     // v is NaN
		{1, 0, nan}, {1, 0, inf}, // and the element dead
		{1, 0, 0}, {1, minRoot, 0}, // v is eps or little more
		{1, 0, minNormal}, {1, 1e-15, 1e-30}, // around 2^-100
		{nan, 1, 1}, {inf, 1, 1}, {-inf, 1e30, 1},
		{1, 1, -1}, {1, 1, -inf},
	}
	epsilons := []float64{1e-7, 0x1p-100, float64(math.Nextafter32(0x1p-100, 0)), 1e-35, 0x1p-149, 0,
		1, 1e38, math.MaxFloat32}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 8)
		for _, eps := range epsilons {
			m := member{RMSProp{LR: 0.01, Rho: 0.9, Eps: eps}, byUpdate}
			d := m.allocate(n)
			for _, special := range elements {
				for lane := range 64 {
					if testing.Short() && lane%7 != 0 {
						continue
					}
					r.training(d)
					at := 64 + lane
					d.theta[at], d.grad[at], d.s[at] = special.theta, special.grad, special.s
					if lane%2 == 1 { // and a NaN beside it
						d.grad[at-1] = nan
					}
					want := d.clone()
					m.generic(want)
					m.step(d)
					d.requireSame(t, fmt.Sprintf("%v, %+v in lane %d", m, special, lane), want)
				}
			}
		}
	})
}
