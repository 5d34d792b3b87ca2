package kernel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
	"unsafe"
)

// forEachSum is forEachISA, and also runs f with the code that an implementation uses on other
// CPUs.
func forEachSum(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	forEachISA(t, func(t *testing.T) {
		f(t)
		if other := otherSum[ISA()]; other != nil {
			t.Run("otherwise", func(t *testing.T) {
				other(t)
				f(t)
			})
		}
	})
}

// otherSum makes the named implementation add squares in its other way until the end of the
// test.
var otherSum = map[string]func(t testing.TB){}

// looksForSubnormals reports whether the AVX2 kernel checks for subnormal numbers.
var looksForSubnormals = func() bool { return false }

// sameSum compares bits. All NaNs are equal.
func sameSum(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}

func requireSum(t testing.TB, what string, got, want float64) {
	t.Helper()
	if !sameSum(got, want) {
		t.Fatalf("%s: %v (%#016x), want %v (%#016x)", what, got, math.Float64bits(got), want, math.Float64bits(want))
	}
}

// genericSum is SumSquares in the generic code.
func genericSum(x []float32) float64 {
	sum := 0.0
	for block := range slices.Chunk(x, normBlock) {
		sum += genericBlock(block)
	}
	return sum
}

// genericBlock returns the sum of a block's squares, computed in Go.
func genericBlock(x []float32) float64 {
	var lanes [normLanes]float64
	addSquaresGeneric(&lanes, x)
	return sumLanes(&lanes)
}

// sumKinds fill slices with finite data of different kinds.
var sumKinds = []struct {
	name string
	fill func(r *generator, x []float32)
}{
	{"ordinary", func(r *generator, x []float32) {
		unused := make([]float32, len(x))
		r.ordinary(unused, x, unused)
	}},
	{"finite bit patterns", func(r *generator, x []float32) {
		for i := range x {
			for {
				x[i] = math.Float32frombits(uint32(r.next()))
				if x[i]-x[i] == 0 {
					break
				}
			}
		}
	}},
	{"subnormal", func(r *generator, x []float32) {
		for i := range x {
			x[i] = math.Float32frombits(uint32(r.next()) & 0x807fffff)
		}
	}},
	{"around the smallest normal number, and zeros", func(r *generator, x []float32) {
		for i := range x {
			x[i] = math.Float32frombits(0x00800000 + uint32(r.intn(5)) - 2)
			if r.intn(2) == 0 {
				x[i] = -x[i]
			}
			if r.intn(4) == 0 {
				x[i] *= 0
			}
		}
	}},
	{"few subnormal", func(r *generator, x []float32) {
		for i := range x {
			x[i] = r.symmetric() * 0x1p-120
			if r.intn(50) == 0 {
				x[i] = math.Float32frombits(1 + uint32(r.intn(0x007fffff)))
			}
		}
	}},
	{"the greatest", func(r *generator, x []float32) {
		for i := range x {
			x[i] = -math.MaxFloat32
		}
	}},
}

// sumDefinition computes the sum in another way: with exact squares, and additions that round to
// 53 bits, in math/big, whose exponents have no bounds.
func sumDefinition(x []float32) float64 {
	rounded := func() *big.Float { return new(big.Float).SetPrec(53).SetMode(big.ToNearestEven) }
	total := rounded()
	for start := 0; start < len(x); start += 4096 {
		var lanes [16]*big.Float
		for j := range lanes {
			lanes[j] = rounded()
			for i := start + j; i < min(start+4096, len(x)); i += 16 {
				v := big.NewFloat(float64(x[i]))
				lanes[j].Add(lanes[j], v.Mul(v, v))
			}
		}
		// The sum of lanes j, j+step, j+2*step, …: of every other one, and of those between.
		var tree func(j, step int) *big.Float
		tree = func(j, step int) *big.Float {
			if step == 16 {
				return lanes[j]
			}
			return rounded().Add(tree(j, 2*step), tree(j+step, 2*step))
		}
		total.Add(total, tree(0, 1))
	}
	sum, _ := total.Float64()
	return sum
}

func TestSumSquaresDefinition(t *testing.T) {
	type test struct {
		name string
		x    []float32
		want float64
	}
	var tests []test
	r := random(t, 31)
	for _, kind := range sumKinds {
		for _, n := range []int{0, 1, 15, 16, 17, 31, 100, 4095, 4096, 4097, 4111, 4112, 8192, 3*4096 + 37} {
			x := make([]float32, n)
			kind.fill(&r, x)
			tests = append(tests, test{fmt.Sprintf("%s, %d elements", kind.name, n), x, sumDefinition(x)})
		}
	}
	forEachSum(t, func(t *testing.T) {
		for _, test := range tests {
			requireSum(t, test.name, SumSquares(test.x), test.want)
		}
	})
}

// Squares are added to what the lanes hold.
func TestAddSquares(t *testing.T) {
	x := make([]float32, 3*normLanes)
	r := random(t, 37)
	sumKinds[0].fill(&r, x)
	forEachSum(t, func(t *testing.T) {
		var lanes, want [normLanes]float64
		for i := range lanes {
			lanes[i] = float64(i + 1)
		}
		want = lanes
		if done := addSquares(&lanes, x, len(x)); done == 0 && ISA() == "generic" {
			t.Skip("Go adds all of them")
		}
		addSquaresGeneric(&want, x)
		if lanes != want {
			t.Errorf("%v, want %v", lanes, want)
		}
	})
}

// The order of the additions shows in the ones that are lost: 2^54 + 1 and 2^54 + 2 round to
// 2^54, and 2^54 + 3 to 2^54 + 4.
func TestSumSquaresOrder(t *testing.T) {
	const great, lost, kept = 0x1p27, 0x1p54, 0x1p54 + 4
	tests := []struct {
		ones []int // indices of ones; great is the first element
		want float64
	}{
		{[]int{16, 32, 48}, lost},         // in great's lane
		{[]int{1, 17, 33}, kept},          // in another lane
		{[]int{4093, 4077, 4061}, kept},   // in lane 13, the last ones
		{[]int{8, 4, 2}, lost},            // each added to great's lane by itself
		{[]int{8, 4, 1, 2}, lost},         // so with 1's
		{[]int{1, 9, 5}, kept},            // 1+9, then 5
		{[]int{1, 3, 11}, kept},           // 3+11, then 1
		{[]int{4, 12, 2, 10}, lost},       // 4+12, 2+10
		{[]int{2, 6, 14}, kept},           // 6+14, then 2
		{[]int{8, 1, 9}, lost},            // 8 is lost, 1+9
		{[]int{4096, 4097, 4098}, kept},   // in another block
		{[]int{4096, 8192, 12288}, lost},  // in a block each
		{[]int{4096, 4112, 12288}, lost},  // 2 and 1
		{[]int{16384, 16400, 4104}, lost}, // 1 and 2
		{[]int{16384, 16385, 20479}, kept},
	}
	forEachSum(t, func(t *testing.T) {
		for _, test := range tests {
			x := make([]float32, 5*4096)
			x[0] = great
			for _, i := range test.ones {
				x[i] = 1
			}
			requireSum(t, fmt.Sprint("ones at ", test.ones), SumSquares(x), test.want)
		}
	})
}

// The sum is as near to the true sum as its additions allow. Each of them is off by at most
// 2^-53 of its result, and a square goes through 256 additions in its lane, 4 between lanes and
// one for each block.
func TestSumSquaresAccuracy(t *testing.T) {
	const n = 20*normBlock + 1234
	r := random(t, 32)
	x := make([]float32, n)
	sumKinds[0].fill(&r, x)
	exact := new(big.Float).SetPrec(2000)
	for _, v := range x {
		square := big.NewFloat(float64(v))
		exact.Add(exact, square.Mul(square, square))
	}
	forEachSum(t, func(t *testing.T) {
		off := new(big.Float).Sub(big.NewFloat(SumSquares(x)), exact)
		relative, _ := off.Quo(off, exact).Float64()
		if bound := (256 + 4 + 21) * 0x1p-53; !(math.Abs(relative) <= bound) {
			t.Errorf("off by %g of itself, want at most %g", relative, bound)
		}
	})
}

func TestSumSquaresAgainstGeneric(t *testing.T) {
	var lengths []int
	for n := range 301 {
		lengths = append(lengths, n)
	}
	for blocks := 1; blocks <= 5; blocks++ {
		for _, more := range []int{-17, -16, -1, 0, 1, 15, 16, 17, 511, 512, 513} {
			lengths = append(lengths, blocks*normBlock+more)
		}
	}
	offsets := 16
	if testing.Short() {
		offsets = 2
	}
	memory := make([]float32, 16+16+slices.Max(lengths)+16)
	forEachSum(t, func(t *testing.T) {
		r := random(t, 33)
		for _, n := range lengths {
			kind := sumKinds[r.intn(len(sumKinds))]
			x := make([]float32, n)
			kind.fill(&r, x)
			if n > 0 && r.intn(4) == 0 {
				x[r.intn(n)] = specials[r.intn(len(specials))]
			}
			want := genericSum(x)
			first := r.intn(16)
			for i := range offsets {
				offset := (first + i) % 16
				placed := memory[offset:][:16+n+16]
				for i := range 16 { // reading beside x makes the sum NaN
					placed[i], placed[16+n+i] = nan, nan
				}
				placed = placed[16 : 16+n : 16+n]
				copy(placed, x)
				requireSum(t, fmt.Sprintf("%s, %d elements, offset %d", kind.name, n, offset), SumSquares(placed), want)
			}
		}
	})
}

func TestSumSquaresSpecials(t *testing.T) {
	forEachSum(t, func(t *testing.T) {
		requireSum(t, "nil", SumSquares(nil), 0)
		requireSum(t, "no elements", SumSquares([]float32{}), 0)
		requireSum(t, "-0", SumSquares([]float32{float32(math.Copysign(0, -1))}), 0)
		requireSum(t, "3, 4", SumSquares([]float32{3, 4}), 25)
		requireSum(t, "the smallest", SumSquares([]float32{-0x1p-149}), 0x1p-298)
		requireSum(t, "the greatest", SumSquares([]float32{math.MaxFloat32}), math.MaxFloat32*math.MaxFloat32)
		for _, n := range []int{1, 5, 16, 100, normBlock, normBlock + 33} {
			x := make([]float32, n)
			r := random(t, n)
			for at := 0; at < n; at += 1 + n/100 {
				sumKinds[r.intn(len(sumKinds))].fill(&r, x)
				for _, c := range []struct{ special, want float32 }{{inf, inf}, {-inf, inf}, {nan, nan}, {math.Float32frombits(0xff800001), nan}} {
					x[at] = c.special
					requireSum(t, fmt.Sprintf("%d elements, %v at %d", n, c.special, at), SumSquares(x), float64(c.want))
				}
				x[r.intn(n)] = inf
				x[at] = nan
				requireSum(t, fmt.Sprintf("%d elements, an infinity, NaN at %d", n, at), SumSquares(x), float64(nan))
			}
		}
	})
}

// Workers that divide a slice between any two blocks get the bits of one call.
func TestBlockSums(t *testing.T) {
	forEachSum(t, func(t *testing.T) {
		r := random(t, 34)
		for _, n := range []int{0, 1, normBlock - 1, normBlock, normBlock + 1, 7 * normBlock, 20*normBlock + 100} {
			x := make([]float32, n)
			sumKinds[r.intn(len(sumKinds))].fill(&r, x)
			blocks := (n + normBlock - 1) / normBlock
			for _, workers := range []int{1, 2, 3, 8} {
				sums := make([]float64, blocks+1) // one more than there are
				sums[blocks] = canary
				var wg waitGroup
				for w := range workers {
					from, to := blocks*w/workers, blocks*(w+1)/workers
					wg.Go(func() { blockSums(sums[from:to], x[from*normBlock:min(to*normBlock, n)]) })
				}
				wg.Wait()
				sum := 0.0
				for i := range blocks {
					requireSum(t, fmt.Sprintf("%d elements, block %d", n, i), sums[i], genericSum(x[i*normBlock:min((i+1)*normBlock, n)]))
					sum += sums[i]
				}
				requireSum(t, fmt.Sprintf("%d elements, %d workers", n, workers), sum, SumSquares(x))
				if sums[blocks] != canary {
					t.Fatalf("%d elements: wrote a sum after the last one", n)
				}
			}
		}
	})
}

// Many goroutines may read one slice, with any implementations.
func TestSumSquaresConcurrent(t *testing.T) {
	const n = 5*normBlock + 77
	x := make([]float32, n)
	r := random(t, 35)
	sumKinds[0].fill(&r, x)
	want := genericSum(x)
	defer SetISA(ISA())
	var wg waitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 50 {
				if err := SetISA(ISAs()[i%len(ISAs())]); err != nil {
					t.Error(err)
				}
				if got := SumSquares(x); !sameSum(got, want) {
					t.Errorf("%v, want %v", got, want)
				}
			}
		})
	}
	wg.Wait()
}

// The hash of the sums of all kinds of data and many lengths.
func TestSumSquaresGolden(t *testing.T) {
	const want = "28be52c722070bdacd77f65d9e836cc7290f47a7228de6a236deb6704ae49aee"
	forEachSum(t, func(t *testing.T) {
		r := generator(2013)
		hash := sha256.New()
		for _, kind := range sumKinds {
			x := make([]float32, 3*normBlock+300)
			kind.fill(&r, x)
			for n := range 100 {
				for _, blocks := range []int{0, 1, 3} {
					binary.Write(hash, binary.LittleEndian, SumSquares(x[:blocks*normBlock+n]))
				}
			}
		}
		if got := fmt.Sprintf("%x", hash.Sum(nil)); got != want {
			t.Errorf("the sums' hash is %s, want %s", got, want)
		}
	})
}

// FuzzSumSquares compares every implementation with the generic code, bit for bit, except that
// all NaNs count as equal, in one call and in two parts. The elements are those of data, 4 bytes
// each, little-endian, repeated up to the length.
func FuzzSumSquares(f *testing.F) {
	for i, n := range []uint16{0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097, 8192, 12300} {
		r := generator(i)
		var data []byte
		for range 1 + r.intn(50) {
			x := r.symmetric()
			if r.intn(4) == 0 {
				x = specials[r.intn(len(specials))]
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(x))
		}
		f.Add(data, n, uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, length uint16, offset, cut uint8) {
		n := int(length) % (4 * normBlock)
		if len(data) < 4 {
			n = 0
		}
		x := make([]float32, int(offset%16)+n)[offset%16:]
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[i%(len(data)/4)*4:]))
		}
		want := genericSum(x)
		blocks := (n + normBlock - 1) / normBlock
		first := int(cut) % (blocks + 1)
		for _, name := range ISAs() {
			useISA(t, name)
			requireSum(t, name, SumSquares(x), want)
			sums := make([]float64, blocks)
			blockSums(sums[:first], x[:min(first*normBlock, n)])
			blockSums(sums[first:], x[min(first*normBlock, n):])
			sum := 0.0
			for _, s := range sums {
				sum += s
			}
			requireSum(t, name+" in two parts", sum, want)
		}
	})
}

// ---- Benchmarks ----

var sumSizes = []int{1, 16, 100, 1 << 10, 4 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}

// sumData returns ordinary gradients, on huge pages if there are any.
func sumData(b *testing.B, n int) []float32 {
	x := make([]float32, n)
	if err := AdviseHugePages(x); err != nil {
		b.Log(err)
	}
	r := generator(37)
	for i := range x {
		x[i] = r.symmetric()
	}
	return x
}

func BenchmarkSumSquares(b *testing.B) {
	for _, n := range sumSizes {
		x := sumData(b, n)
		for _, name := range ISAs() {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				useISA(b, name)
				b.SetBytes(4 * int64(n))
				for b.Loop() {
					SumSquares(x)
				}
				perElement(b, n)
			})
		}
	}
}

// BenchmarkSumSquaresRead measures the limit: it only reads the same slices, with a loop over
// 64-bit words, and with the standard library's search for a byte that is missing, which is in
// assembly on some architectures.
func BenchmarkSumSquaresRead(b *testing.B) {
	for _, n := range sumSizes {
		x := sumData(b, n)
		for i := range x {
			x[i] = 1 // 0x3f800000
		}
		b.Run(fmt.Sprintf("%d/words", n), func(b *testing.B) {
			words := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(x))), n/2)
			b.SetBytes(4 * int64(n))
			var all uint64
			for b.Loop() {
				rest := words
				for ; len(rest) >= 16; rest = rest[16:] {
					w := (*[16]uint64)(rest)
					all |= w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7] |
						w[8] | w[9] | w[10] | w[11] | w[12] | w[13] | w[14] | w[15]
				}
			}
			if n >= 32 && all != 0x3f8000003f800000 {
				b.Error(all)
			}
			perElement(b, n)
		})
		b.Run(fmt.Sprintf("%d/search", n), func(b *testing.B) {
			b.SetBytes(4 * int64(n))
			for b.Loop() {
				if bytes.IndexByte(bytesOf(x), 0xff) >= 0 {
					b.Fatal("found")
				}
			}
			perElement(b, n)
		})
	}
}

// BenchmarkSumSquaresData has a subnormal number in one of that many elements. Some CPUs are slow
// to convert one. On those the AVX2 kernel checks for them. This measures it both ways.
func BenchmarkSumSquaresData(b *testing.B) {
	const n = 32 << 10
	for _, every := range []int{0, 1, 100, 10_000} {
		x := sumData(b, n)
		if every > 0 {
			for i := every - 1; i < n; i += every {
				x[i] = math.Float32frombits(uint32(1 + i))
			}
		}
		for _, name := range ISAs() {
			run := func(b *testing.B) {
				useISA(b, name)
				b.SetBytes(4 * n)
				for b.Loop() {
					SumSquares(x)
				}
				perElement(b, n)
			}
			b.Run(fmt.Sprintf("subnormal-1-of-%d/%s", every, name), run)
			if other := otherSum[name]; other != nil {
				b.Run(fmt.Sprintf("subnormal-1-of-%d/%s-otherwise", every, name), func(b *testing.B) {
					other(b)
					run(b)
				})
			}
		}
	}
}
