//go:build goexperiment.simd && amd64 && linux

// Command archsimd takes RMSProp steps with Go's own vectors, 16 lanes wide, for
// the benchmark, which builds and starts it.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"runtime"
	"simd/archsimd"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	log.SetFlags(0)
	if !archsimd.X86.AVX512() {
		log.Fatal("this CPU has no AVX-512")
	}
	if len(os.Args) != 5 {
		log.Fatal("usage: archsimd LR RHO EPS HUGEPAGES")
	}
	lr, rho, eps := parse(os.Args[1]), parse(os.Args[2]), parse(os.Args[3])
	hugePages := os.Args[4] == "1"
	fmt.Println("ready", runtime.Version())

	var theta, grad, s []float32
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		command, rest, _ := strings.Cut(input.Text(), " ")
		switch command {
		case "prepare":
			count, file, _ := strings.Cut(rest, " ")
			n := number(count)
			theta, grad, s = floats(n, hugePages), floats(n, hugePages), floats(n, hugePages)
			f, err := os.Open(file)
			check(err)
			for _, part := range [][]float32{theta, grad, s} {
				check(binary.Read(f, binary.LittleEndian, part))
			}
			f.Close()
			fmt.Println("ok")
		case "run":
			steps := number(rest)
			start := time.Now()
			for range steps {
				update(theta, grad, s, float32(lr), float32(rho), float32(1-rho), float32(eps))
			}
			fmt.Println(time.Since(start).Nanoseconds())
		case "save":
			f, err := os.Create(rest)
			check(err)
			for _, part := range [][]float32{theta, s} {
				check(binary.Write(f, binary.LittleEndian, part))
			}
			check(f.Close())
			fmt.Println("ok")
		case "quit":
			return
		default:
			log.Fatalf("unknown command %q", command)
		}
	}
	check(input.Err())
}

func update(theta, grad, s []float32, lr, rho, c, eps float32) {
	lrs, rhos := archsimd.BroadcastFloat32x16(lr), archsimd.BroadcastFloat32x16(rho)
	cs, epss := archsimd.BroadcastFloat32x16(c), archsimd.BroadcastFloat32x16(eps)
	const lanes = 16
	for len(theta) >= lanes && len(grad) >= lanes && len(s) >= lanes {
		g := archsimd.LoadFloat32x16Slice(grad)
		mean := rhos.Mul(archsimd.LoadFloat32x16Slice(s)).Add(cs.Mul(g.Mul(g)))
		mean.StoreSlice(s)
		step := lrs.Div(mean.Add(epss).Sqrt()).Mul(g)
		archsimd.LoadFloat32x16Slice(theta).Sub(step).StoreSlice(theta)
		theta, grad, s = theta[lanes:], grad[lanes:], s[lanes:]
	}
	g := archsimd.LoadFloat32x16SlicePart(grad)
	mean := rhos.Mul(archsimd.LoadFloat32x16SlicePart(s)).Add(cs.Mul(g.Mul(g)))
	mean.StoreSlicePart(s)
	step := lrs.Div(mean.Add(epss).Sqrt()).Mul(g)
	archsimd.LoadFloat32x16SlicePart(theta).Sub(step).StoreSlicePart(theta)
}

// floats makes n of them, aligned as the benchmark aligns its own.
func floats(n int, hugePages bool) []float32 {
	align := 64
	if 4*n >= 2<<20 {
		align = 2 << 20
	}
	memory := make([]byte, (4*n+align-1)/align*align+align)
	memory = memory[-uintptr(unsafe.Pointer(unsafe.SliceData(memory)))%uintptr(align):]
	memory = memory[:(4*n+align-1)/align*align]
	if hugePages && align > 64 {
		syscall.Madvise(memory, syscall.MADV_HUGEPAGE) // where that fails, the pages are small
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(memory))), n)
}

func parse(text string) float64 {
	x, err := strconv.ParseFloat(text, 64)
	check(err)
	return x
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
