package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// ---- What the tests share ----

// forEachISA runs f as a subtest on every implementation that this CPU has, with
// that one in use, and once more in each of its plans but the first, which short
// calls take anyway.
func forEachISA(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, name := range ISAs() {
		t.Run(name, func(t *testing.T) {
			useISA(t, name)
			f(t)
			for _, plan := range otherPlans() {
				t.Run(plan, func(t *testing.T) {
					usePlan(t, plan)
					f(t)
				})
			}
		})
	}
}

// otherPlans are those of the implementation in use but the first. In short tests
// one for each kind of block has to do, each with another prefetching.
func otherPlans() (names []string) {
	all := plans[active.Load()]
	for i, p := range all[1:] {
		kinds := len(all) / 3 // aheadToo
		if kind := (i + 1) % max(kinds, 1); !testing.Short() || kind > 0 && (i+1)/kinds == (kind+1)%3 {
			names = append(names, p.String())
		}
	}
	return names
}

// usePlan has the implementation in use take every step in one plan.
func usePlan(t testing.TB, name string) {
	t.Helper()
	before := fixed.Load()
	if err := SetPlan(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fixed.Store(before) })
}

func useISA(t testing.TB, name string) {
	t.Helper()
	before := ISA()
	if err := SetISA(name); err != nil {
		t.Fatal(err)
	}
	if ISA() != name {
		t.Fatalf("ISA() = %q after SetISA(%q)", ISA(), name)
	}
	t.Cleanup(func() { SetISA(before) })
}

// same compares bits, and NaNs as a class: their sign and payload are the CPU's.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// bytesOf is x as it lies in memory.
func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
}

func requireSame(t testing.TB, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) {
			t.Fatalf("%s[%d] of %d = %g (%#08x), want %g (%#08x)", what, i, len(want),
				got[i], math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}

// generator is SplitMix64 (Steele, Lea, Flood, 2014): integers alone, so that
// it gives the same numbers everywhere.
type generator uint64

func (r *generator) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *generator) intn(n int) int { return int(r.next() % uint64(n)) }

// symmetric is uniform in [-1, 1), a multiple of 2^-23.
func (r *generator) symmetric() float32 { return float32(int32(r.next()>>40)-1<<23) * 0x1p-23 }

// ordinary fills slices as they look in training: theta around 1, gradients of
// 2^-20 to 1, every seventh element dead, s of the gradients' square.
func (r *generator) ordinary(theta, grad, s []float32) {
	for i := range theta {
		scale := math.Float32frombits(uint32(127-r.intn(20)) << 23)
		theta[i] = r.symmetric()
		grad[i] = float32(r.symmetric() * scale)
		s[i] = float32(float32(r.symmetric()*scale) * scale)
		s[i] = max(s[i], -s[i])
		if r.intn(7) == 0 {
			grad[i] = 0
		}
	}
}

// hyper is a set of hyperparameters.
type hyper struct{ lr, rho, eps float64 }

func (h hyper) params() *params {
	var p params
	p.roundUpdate(h.lr, h.rho, h.eps)
	return &p
}

var usual = hyper{lr: 0.001, rho: 0.9, eps: 1e-7}

// hypers has the usual ones and each extreme.
var hypers = []hyper{
	usual,
	{lr: 0.01, rho: 0.99, eps: 1e-8},
	{lr: 0.001, rho: 0.999, eps: 1e-20},
	{lr: 0, rho: 0.9, eps: 1e-7},
	{lr: 0.001, rho: 0, eps: 1e-7},
	{lr: 0.001, rho: 1, eps: 1e-7},
	{lr: 0.001, rho: 0.9, eps: 0},
	{lr: 0.001, rho: 1, eps: 0},
	{lr: 0, rho: 0, eps: 0},
	{lr: 1, rho: 1 - 0x1p-25, eps: 0}, // rho rounds to 1, c = 2^-25
	{lr: maxRate, rho: 0.5, eps: 0x1p-149},
	{lr: 0x1p-149, rho: 0.9, eps: 1},
	{lr: 1e10, rho: 0.9, eps: 1e-35},
	{lr: 0.1, rho: 0.9, eps: math.MaxFloat32},
}

// specials are the values at which something changes, their neighbours, and
// some between.
var specials = func() []float32 {
	values := []float32{0, 0x1p-149, 5.6e-45, 1e-40, 1e-30, 1e-20, 1e-7, 0.1, 1, 1.5, 3, 1e10, 1e30,
		float32(math.Inf(1))}
	for _, v := range []float32{minNormal, minRoot, 0x1p64, 0x1p-100, math.MaxFloat32} {
		values = append(values, v, math.Nextafter32(v, 0), math.Nextafter32(v, float32(math.Inf(1))))
	}
	for _, v := range slices.Clone(values) {
		values = append(values, -v)
	}
	for _, nan := range []uint32{0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001} { // quiet, signalling
		values = append(values, math.Float32frombits(nan))
	}
	return values
}()

// allSpecials is the product of specials with itself, for the three slices.
func allSpecials() (theta, grad, s []float32) {
	for _, a := range specials {
		for _, b := range specials {
			for _, c := range specials {
				theta, grad, s = append(theta, a), append(grad, b), append(s, c)
			}
		}
	}
	return theta, grad, s
}

// atThresholds are gradients and means on either side of where they begin to
// count, every one with every other.
func (h hyper) atThresholds() (theta, grad, s []float32) {
	p := h.params()
	around := func(x float32) []float32 {
		return []float32{math.Nextafter32(x, 0), x, math.Nextafter32(x, float32(math.Inf(1))), 2 * x}
	}
	nan := float32(math.NaN())
	for _, g := range append(around(p.minGrad.float()), 0, nan) {
		for _, m := range append(around(p.minMean.float()), 0, nan, float32(math.Inf(1)), -1) {
			for _, t := range []float32{1, 0, 1e-20} {
				theta, grad, s = append(theta, t, t), append(grad, g, -g), append(s, m, m)
			}
		}
	}
	return theta, grad, s
}

// ---- Bits ----

func testOracle(t *testing.T, theta, grad, s []float32, h hyper) {
	t.Helper()
	gotTheta, gotS := slices.Clone(theta), slices.Clone(s)
	Update(gotTheta, grad, gotS, h.lr, h.rho, h.eps)
	for i := range theta {
		wantTheta, wantS := h.oracle(theta[i], grad[i], s[i])
		if !same(gotTheta[i], wantTheta) || !same(gotS[i], wantS) {
			t.Fatalf("%+v, theta = %g, grad = %g, s = %g: theta = %g, s = %g, want %g, %g",
				h, theta[i], grad[i], s[i], gotTheta[i], gotS[i], wantTheta, wantS)
		}
	}
}

func TestOracle(t *testing.T) {
	r := random(t, 1)
	const n = 20000
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	specialTheta, specialGrad, specialS := allSpecials()
	forEachISA(t, func(t *testing.T) {
		for i, h := range hypers {
			at, part := 0, len(specialTheta)
			if testing.Short() { // another seventh of them each time
				part /= 7
				at = i % 7 * part
			}
			testOracle(t, specialTheta[at:][:part], specialGrad[at:][:part], specialS[at:][:part], h)
			r.ordinary(theta, grad, s)
			testOracle(t, theta, grad, s, h)
			for i := range theta { // every bit pattern is equally likely
				theta[i] = math.Float32frombits(uint32(r.next()))
				grad[i] = math.Float32frombits(uint32(r.next()))
				s[i] = math.Float32frombits(uint32(r.next()))
			}
			testOracle(t, theta, grad, s, h)
			nearTheta, nearGrad, nearS := h.atThresholds()
			testOracle(t, nearTheta, nearGrad, nearS, h)
		}
	})
}

// On ordinary data the input rules change nothing: this is the formula as it
// is published.
func TestTextbookFormula(t *testing.T) {
	const n = 1000
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	r := random(t, 2)
	forEachISA(t, func(t *testing.T) {
		r.ordinary(theta, grad, s)
		wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
		lr, rho, c, eps := float32(usual.lr), float32(usual.rho), float32(1-usual.rho), float32(usual.eps)
		for range 10 {
			Update(theta, grad, s, usual.lr, usual.rho, usual.eps)
			for i, g := range grad {
				wantS[i] = float32(rho*wantS[i]) + float32(c*float32(g*g))
				d := float32(math.Sqrt(float64(wantS[i] + eps)))
				wantTheta[i] -= float32(float32(lr/d) * g)
			}
		}
		requireSame(t, "theta", theta, wantTheta)
		requireSame(t, "s", s, wantS)
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
		wantTheta, wantS := hyper{float64(lr), float64(rho), float64(eps)}.oracle(1, 0.1, 0.5)
		if theta32[0] != wantTheta || s32[0] != wantS {
			t.Errorf("float32: theta = %g, s = %g, want %g, %g", theta32[0], s32[0], wantTheta, wantS)
		}
		if c := float32(0.001); s64[1] != c*9 {
			t.Errorf("float64: s = %g, want 0.001 * 9 = %g", s64[1], c*9)
		}
		if s32[1] == s64[1] {
			t.Errorf("1 - rho does not depend on rho's type: %g", s32[1])
		}
	})
}

// arena is memory with a slice of any offset in it and a canary around.
type arena []float32

const canary = 12345.678

func (a arena) place(offset int, values []float32) []float32 {
	slice := a[16+offset:][:len(values):len(values)]
	copy(slice, values)
	for i := range 16 {
		a[offset+i], a[16+offset+len(values)+i] = canary, canary
	}
	return slice
}

func (a arena) intact(offset, n int) bool {
	for i := range 16 {
		if a[offset+i] != canary || a[16+offset+n+i] != canary {
			return false
		}
	}
	return true
}

func TestAgainstGeneric(t *testing.T) {
	var lengths []int
	for n := range 301 {
		lengths = append(lengths, n)
	}
	lengths = append(lengths, 1000, 4099, chunk-1, chunk, chunk+1, 3*chunk+17)
	longest := slices.Max(lengths)
	arenas := [3]arena{}
	for i := range arenas {
		arenas[i] = make(arena, longest+16+32)
	}
	forEachISA(t, func(t *testing.T) {
		r := random(t, 3)
		for _, n := range lengths {
			theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
			r.ordinary(theta, grad, s)
			for i := range n / 16 { // every block may have a special value
				at := 16*i + r.intn(16)
				theta[at], grad[at], s[at] = specials[r.intn(len(specials))], specials[r.intn(len(specials))], specials[r.intn(len(specials))]
			}
			wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
			h := hypers[n%len(hypers)]
			updateGeneric(wantTheta, grad, wantS, h.params())

			check := func(a, b, c int) {
				t1, g1, s1 := arenas[0].place(a, theta), arenas[1].place(b, grad), arenas[2].place(c, s)
				Update(t1, g1, s1, h.lr, h.rho, h.eps)
				where := func(slice string) string {
					return fmt.Sprintf("%+v, offsets %d, %d, %d: %s", h, a, b, c, slice)
				}
				if !bytes.Equal(bytesOf(t1), bytesOf(wantTheta)) { // unequal NaNs are the same
					requireSame(t, where("theta"), t1, wantTheta)
				}
				if !bytes.Equal(bytesOf(s1), bytesOf(wantS)) {
					requireSame(t, where("s"), s1, wantS)
				}
				if !bytes.Equal(bytesOf(g1), bytesOf(grad)) {
					t.Fatal(where("grad was written"))
				}
				if !arenas[0].intact(a, n) || !arenas[1].intact(b, n) || !arenas[2].intact(c, n) {
					t.Fatal(where("memory beside a slice was written"))
				}
			}
			if n <= 300 && !testing.Short() {
				for abc := range 16 * 16 * 16 {
					check(abc>>8, abc>>4&15, abc&15)
				}
			} else {
				for range 16 {
					check(r.intn(16), r.intn(16), r.intn(16))
				}
			}
		}
	})
}

func TestSplits(t *testing.T) {
	const n = 2*chunk + 1000
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	r := random(t, 4)
	r.ordinary(theta, grad, s)
	forEachISA(t, func(t *testing.T) {
		wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
		Update(wantTheta, grad, wantS, usual.lr, usual.rho, usual.eps)
		for longest := 1; longest < n; longest *= 7 {
			gotTheta, gotS := slices.Clone(theta), slices.Clone(s)
			for at := 0; at < n; {
				end := min(n, at+1+r.intn(longest))
				Update(gotTheta[at:end], grad[at:end], gotS[at:end], usual.lr, usual.rho, usual.eps)
				at = end
			}
			requireSame(t, "theta", gotTheta, wantTheta)
			requireSame(t, "s", gotS, wantS)
		}
	})
}

func TestConcurrent(t *testing.T) {
	const n = chunk + 1003
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	r := random(t, 5)
	r.ordinary(theta, grad, s)
	forEachISA(t, func(t *testing.T) {
		wantTheta, wantS := slices.Clone(theta), slices.Clone(s)
		gotTheta, gotS := slices.Clone(theta), slices.Clone(s)
		Update(wantTheta, grad, wantS, usual.lr, usual.rho, usual.eps)
		var wg waitGroup
		for at := 0; at < n; at += 101 { // neighbours share a cache line and a vector
			end := min(n, at+101)
			wg.Go(func() {
				Update(gotTheta[at:end], grad[at:end], gotS[at:end], usual.lr, usual.rho, usual.eps)
			})
		}
		wg.Wait()
		requireSame(t, "theta", gotTheta, wantTheta)
		requireSame(t, "s", gotS, wantS)
	})
}

var updateGolden = flag.Bool("update", false, "write testdata/golden.txt anew, from the generic code")

// goldenSums takes 100 steps over 10,007 elements with new gradients in each.
func goldenSums() string {
	const n = 10007
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	r := generator(2012)
	r.ordinary(theta, grad, s)
	unused := make([]float32, n)
	for range 100 {
		r.ordinary(unused, grad, unused)
		Update(theta, grad, s, usual.lr, usual.rho, usual.eps)
	}
	sum := func(x []float32) [32]byte {
		h := sha256.New()
		binary.Write(h, binary.LittleEndian, x)
		return [32]byte(h.Sum(nil))
	}
	return fmt.Sprintf("theta %x\ns     %x\n", sum(theta), sum(s))
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
			t.Errorf("after 100 steps:\n%swant\n%s", got, want)
		}
	})
}

// ---- Arguments ----

func TestPanics(t *testing.T) {
	memory := make([]float32, 12)
	apart := func() (theta, grad, s []float32) { return memory[0:4], memory[4:8], memory[8:12] }
	type call struct {
		theta, grad, s []float32
		hyper
	}
	with := func(change func(c *call)) call {
		theta, grad, s := apart()
		c := call{theta, grad, s, usual}
		change(&c)
		return c
	}
	inf, nan := math.Inf(1), math.NaN()
	tests := []struct {
		call
		want string
	}{
		{with(func(c *call) { c.grad = c.grad[:3] }), "len(grad) = 3, len(theta) = 4: lengths must be equal"},
		{with(func(c *call) { c.s = c.s[:2] }), "len(s) = 2, len(theta) = 4: lengths must be equal"},
		{with(func(c *call) { c.s = nil }), "len(s) = 0, len(theta) = 4: lengths must be equal"},
		{with(func(c *call) { c.theta = nil }), "len(grad) = 4, len(theta) = 0: lengths must be equal; len(s) = 4, len(theta) = 0: lengths must be equal"},
		{with(func(c *call) { c.lr = -1 }), "lr = -1: must be in [0, 2^64]"},
		{with(func(c *call) { c.lr = nan }), "lr = NaN: must be in [0, 2^64]"},
		{with(func(c *call) { c.lr = inf }), "lr = +Inf: must be in [0, 2^64]"},
		{with(func(c *call) { c.lr = 1e39 }), "lr = 1e+39: must be in [0, 2^64]"},
		{with(func(c *call) { c.eps = -1e-7 }), "eps = -1e-07: must be finite in float32 and not negative"},
		{with(func(c *call) { c.eps = nan }), "eps = NaN: must be finite in float32 and not negative"},
		{with(func(c *call) { c.eps = inf }), "eps = +Inf: must be finite in float32 and not negative"},
		{with(func(c *call) { c.rho = -0.1 }), "rho = -0.1: must be in [0, 1]"},
		{with(func(c *call) { c.rho = 1.5 }), "rho = 1.5: must be in [0, 1]"},
		{with(func(c *call) { c.rho = nan }), "rho = NaN: must be in [0, 1]"},
		{with(func(c *call) { c.grad = c.theta }), "theta and grad overlap: grad begins 0 bytes from theta, len(theta) = 4: they must be apart in memory"},
		{with(func(c *call) { c.s = c.theta }), "theta and s overlap: s begins 0 bytes from theta, len(theta) = 4: they must be apart in memory"},
		{with(func(c *call) { c.grad = c.s }), "grad and s overlap: s begins 0 bytes from grad, len(grad) = 4: they must be apart in memory"},
		{with(func(c *call) { c.grad = memory[1:5] }), "theta and grad overlap: grad begins 4 bytes from theta, len(theta) = 4: they must be apart in memory"},
		{with(func(c *call) { c.theta, c.s = memory[3:7], memory[0:4]; c.grad = memory[8:12] }), "s and theta overlap: theta begins 12 bytes from s, len(s) = 4: they must be apart in memory"},
		{with(func(c *call) { c.grad = memory[5:9] }), "grad and s overlap: s begins 12 bytes from grad, len(grad) = 4: they must be apart in memory"},
	}
	forEachISA(t, func(t *testing.T) {
		for _, test := range tests {
			for i := range memory {
				memory[i] = float32(i + 1)
			}
			err := recovered(func() {
				Update(test.theta, test.grad, test.s, test.lr, test.rho, test.eps)
			})
			argument, ok := errorAs[*ArgumentError](err)
			if !ok {
				t.Errorf("panic value %v, want an *ArgumentError: %s", err, test.want)
			} else if want := "kernel: " + test.want; argument.Error() != want {
				t.Errorf("message:\n%s\nwant\n%s", err, want)
			}
			for i, x := range memory {
				if x != float32(i+1) {
					t.Errorf("element %d was written before the panic: %s", i, test.want)
				}
			}
		}
	})
	// Side by side is not an overlap.
	theta, grad, s := apart()
	Update(theta, grad, s, usual.lr, usual.rho, usual.eps)
}

// recovered returns the error that f panics with, if it does.
func recovered(f func()) (err error) {
	defer func() { err, _ = recover().(error) }()
	f()
	return nil
}

func TestEmpty(t *testing.T) {
	forEachISA(t, func(t *testing.T) {
		Update(nil, nil, nil, 0.1, 0.9, 1e-7)
		Update([]float32{}, nil, []float32{}, 0.1, 0.9, 1e-7)
		one := []float32{1}
		Update(one[:0], one[:0], one[:0], 0.1, 0.9, 1e-7)
		if one[0] != 1 {
			t.Errorf("an empty call wrote %g", one[0])
		}
	})
}

// ---- Dispatch ----

func TestISAs(t *testing.T) {
	names := ISAs()
	if names[len(names)-1] != "generic" {
		t.Errorf("ISAs() = %q: the last must be generic", names)
	}
	if os.Getenv("KERNEL_ISA") == "" && ISA() != names[0] {
		t.Errorf("ISA() = %q, want the best of %q", ISA(), names)
	}
	order := binary.NativeEndian.AppendUint16(nil, 1)
	t.Logf("%s/%s, byte order %s: %s", runtime.GOOS, runtime.GOARCH,
		map[byte]string{1: "little", 0: "big"}[order[0]], strings.Join(names, " "))
	names[0] = "changed"
	if ISAs()[0] == "changed" {
		t.Error("ISAs() hands out its own memory")
	}
}

func TestSetISA(t *testing.T) {
	useISA(t, "generic")
	for _, name := range []string{"", "sse9", "AVX2", "generic "} {
		err := SetISA(name)
		if err == nil || !strings.Contains(err.Error(), strings.Join(ISAs(), ", ")) {
			t.Errorf("SetISA(%q) = %v, want an error that lists %q", name, err, ISAs())
		}
		if ISA() != "generic" {
			t.Errorf("SetISA(%q) failed and changed ISA to %q", name, ISA())
		}
	}
}

// TestEnvironment starts this test binary again: KERNEL_ISA is read at start.
func TestEnvironment(t *testing.T) {
	all := strings.Join(ISAs(), ", ")
	if want := os.Getenv("KERNEL_TEST_WANT_ISA"); want != "" {
		fmt.Printf("of %s\n", all)
		if ISA() != want {
			t.Fatalf("ISA() = %q, want %q", ISA(), want)
		}
		return
	}
	start := func(name, want string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), "KERNEL_ISA="+name, "KERNEL_TEST_WANT_ISA="+want)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := start("", ISAs()[0])
	if _, exited := errorAs[*exec.ExitError](err); err != nil && !exited ||
		strings.HasPrefix(out, "of ") && !strings.HasPrefix(out, "of "+all+"\n") {
		t.Skip("an emulator runs this test, but not what it starts:", err)
	}
	if err != nil {
		t.Errorf("KERNEL_ISA empty: %v\n%s", err, out)
	}
	for _, name := range ISAs() {
		if out, err := start(name, name); err != nil {
			t.Errorf("KERNEL_ISA=%s: %v\n%s", name, err, out)
		}
	}
	last := ISAs()[len(ISAs())-1]
	for list, want := range map[string]string{
		"sse9":                      ISAs()[0], // as if it were not set
		"sse9, " + last:             last,
		last + "," + ISAs()[0]:      last, // the list's order counts
		",,sse9,AVX2," + last + ",": last,
	} {
		if out, err := start(list, want); err != nil {
			t.Errorf("KERNEL_ISA=%s: %v\n%s", list, err, out)
		} else if !strings.HasPrefix(out, "of "+all+"\nPASS\n") {
			t.Errorf("KERNEL_ISA=%s: printed %q", list, out)
		}
	}
}
