package kernel

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"unsafe"
)

var sumSizes = []int{1, 16, 100, 1 << 10, 4 << 10, 32 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20}

// sumData is ordinary gradients, on huge pages where there are any.
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

// BenchmarkSumSquaresRead is what there is to reach: the same slices only read,
// by a loop over 64-bit words, and by the standard library's search for a byte
// that is not there, which is in assembly on some architectures.
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

// BenchmarkSumSquaresData has a subnormal number in one of so many elements. Some
// CPUs may take long to convert one; the AVX2 kernel trials for them there, and is
// measured here both ways.
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
