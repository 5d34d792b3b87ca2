package main

import (
	"strings"
	"testing"
)

// An AVX2 loop of two vectors in llvm-objdump's words, with a rare branch out of
// it, the block that this leads to, and a loop of one vector for the rest.
const amd64Disassembly = `
/tmp/kernel.test:	file format elf64-x86-64

Disassembly of section .text:

00000000005bb480 <example.com/kernel.updateAVX2.abi0>:
  5bb480:      	movq	0x8(%rsp), %rdi
  5bb485:      	vbroadcastss	0x84452(%rip), %ymm15 # 0x64fb50 <example.com/kernel.minNormal>
  5bb48e:      	jl	0x5bb4d4 <example.com/kernel.updateAVX2.abi0+0x54>
  5bb490:      	vmovups	(%rsi), %ymm1
  5bb494:      	vmovups	0x20(%rsi), %ymm2
  5bb499:      	vaddps	(%rdi), %ymm1, %ymm1
  5bb49d:      	vaddps	0x20(%rdi), %ymm2, %ymm2
  5bb4a2:      	vptest	%ymm1, %ymm15
  5bb4a7:      	jne	0x5bb4f0 <example.com/kernel.updateAVX2.abi0+0x70>
  5bb4a9:      	vmovups	%ymm3, 0x10(%rsp)
  5bb4ad:      	vmovups	%ymm1, (%rdi)
  5bb4b1:      	vmovups	%ymm2, 0x20(%rdi)
  5bb4b6:      	vmovups	%ymm1, (%rdx)
  5bb4ba:      	vmovups	%ymm2, 0x20(%rdx)
  5bb4bf:      	addq	$0x40, %rdi
  5bb4c3:      	addq	$0x40, %rdx
  5bb4c7:      	addq	$0x40, %rsi
  5bb4cb:      	subq	$0x10, %rcx
  5bb4cf:      	jge	0x5bb490 <example.com/kernel.updateAVX2.abi0+0x10>
  5bb4d4:      	vmovups	(%rsi), %ymm1
  5bb4d8:      	vmovups	%ymm1, (%rdi)
  5bb4dc:      	vmovups	%ymm1, (%rdx)
  5bb4e0:      	subq	$0x8, %rcx
  5bb4e4:      	jge	0x5bb4d4 <example.com/kernel.updateAVX2.abi0+0x54>
  5bb4e6:      	retq
  5bb4f0:      	vsqrtps	%ymm1, %ymm1
  5bb4f4:      	vsqrtps	%ymm2, %ymm2
  5bb4f8:      	jmp	0x5bb4a9 <example.com/kernel.updateAVX2.abi0+0x29>
`

const arm64Disassembly = `
00000000001a3690 <example.com/kernel.updateNEON.abi0>:
  1a3690:      	ldr	x0, [sp, #0x8]
  1a36b4:      	mov	w5, #0x60000000         // =1610612736
  1a36cc:      	ld1	{ v1.4s, v2.4s }, [x1], #32
  1a36d0:      	fmul	v2.4s, v17.4s, v2.4s
  1a36d4:      	tbnz	w5, #0x3, 0x1a3720 <example.com/kernel.updateNEON.abi0+0x90>
  1a36d8:      	str	q5, [sp, #0x20]
  1a36dc:      	st1	{ v1.4s, v2.4s }, [x2], #32
  1a36e0:      	stp	q1, q2, [x0], #0x20
  1a36e4:      	subs	x3, x3, #0x8
  1a36e8:      	b.ge	0x1a36cc <example.com/kernel.updateNEON.abi0+0x3c>
  1a36ec:      	ldr	s1, [x1], #0x4
  1a36f0:      	str	s1, [x0], #0x4
  1a36f4:      	cbnz	x3, 0x1a36ec <example.com/kernel.updateNEON.abi0+0x5c>
  1a36f8:      	ret
`

func TestMainLoop(t *testing.T) {
	for _, test := range []struct {
		name, out   string
		elements    int
		first, last string
		length      int
	}{
		{"amd64", amd64Disassembly, 16, "vmovups\t(%rsi), %ymm1", "jge\tloop", 15},
		{"arm64", arm64Disassembly, 8, "ld1\t{ v1.4s, v2.4s }, [x1], #32", "b.ge\tloop", 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := mainLoop(disassembly(test.out))
			if err != nil {
				t.Fatal(err)
			}
			if got.elements != test.elements {
				t.Errorf("%d elements an iteration, want %d", got.elements, test.elements)
			}
			if n := len(got.body); n != test.length || got.body[0] != test.first || got.body[n-1] != test.last {
				t.Errorf("%d instructions, want %d, %q to %q:\n%s", n, test.length, test.first, test.last, strings.Join(got.body, "\n"))
			}
		})
	}
}

func TestMainLoopErrors(t *testing.T) {
	for _, test := range []struct{ name, out, want string }{
		{"nothing", "", "no loop"},
		{"no branch back", strings.ReplaceAll(arm64Disassembly, "0x1a36", "0x1a37"), "no loop"},
		{"a jump in it", strings.Replace(arm64Disassembly, "subs\tx3, x3, #0x8", "b\t0x1a36e8 <f+0x50>", 1), "not in one piece"},
		{"theta is not stored", strings.Replace(arm64Disassembly, "stp\tq1", "ldp\tq1", 1), "theta"},
	} {
		got, err := mainLoop(disassembly(test.out))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v, want an error with %q", test.name, got, err, test.want)
		}
	}
}

// The loops are found in the kernel as it is. Each stores whole vectors, so a
// wrong count would not be a multiple of a vector's lanes.
func TestKernelLoops(t *testing.T) {
	tools, err := findLLVM()
	if err != nil {
		t.Skip(err)
	}
	builds := builder{source: "..", dir: t.TempDir()}
	for _, p := range platforms {
		binary, err := builds.build("linux", p.goarch)
		if err != nil {
			t.Fatal(err)
		}
		for _, source := range p.loops {
			lanes := map[string]int{"avx512": 16, "avx2": 8}[source.name]
			if lanes == 0 {
				lanes = 4
			}
			l, err := tools.loopOf(binary, source)
			if err != nil || l.elements == 0 || l.elements%lanes != 0 {
				t.Errorf("%s: %d elements an iteration, %v, want a multiple of %d", source.name, l.elements, err, lanes)
				continue
			}
			core := p.cores[0]
			cycles, err := tools.simulate(p.triple, core, l.body)
			if err != nil || cycles <= 0 {
				t.Errorf("%s on %s: %g cycles, %v", source.name, core, cycles, err)
			}
		}
	}
}
