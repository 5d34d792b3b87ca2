package main

import (
	"strings"
	"testing"
)

// A loop of two vectors in llvm-objdump's syntax, with a rare branch out of it, a branch over a part
// of it, and a loop of one vector after it.
const amd64Loop = `
00000000005bb480 <example.com/kernel.updateAVX2.abi0>:
  5bb480:      	movq	0x8(%rsp), %rdi
  5bb485:      	vbroadcastss	0x84452(%rip), %ymm15 # 0x64fb50 <example.com/kernel.minNormal>
  5bb490:      	vmovups	(%rsi), %ymm1
  5bb499:      	vaddps	(%rdi), %ymm1, %ymm1
  5bb4a2:      	vptest	%ymm1, %ymm15
  5bb4a7:      	jne	0x5bb4f0 <example.com/kernel.updateAVX2.abi0+0x70>
  5bb4a8:      	jmp	0x5bb4ad <example.com/kernel.updateAVX2.abi0+0x2d>
  5bb4a9:      	vsubps	%ymm3, %ymm3, %ymm3
  5bb4ad:      	vmovups	%ymm1, (%rdi)
  5bb4b1:      	vmovups	%ymm2, 0x20(%rdi)
  5bb4b6:      	vmovups	%ymm1, (%rdx)
  5bb4b8:      	vmovups	%ymm3, 0x10(%rsp)
  5bb4ba:      	vmovups	%ymm2, 0x20(%rdx)
  5bb4cb:      	subq	$0x10, %rcx
  5bb4cf:      	jge	0x5bb490 <example.com/kernel.updateAVX2.abi0+0x10>
  5bb4d4:      	vmovups	(%rsi), %ymm1
  5bb4d8:      	vmovups	%ymm1, (%rdi)
  5bb4e4:      	jge	0x5bb4d4 <example.com/kernel.updateAVX2.abi0+0x54>
  5bb4e6:      	retq
`

const arm64Loop = `
  1a36b4:      	mov	w5, #0x60000000         // =1610612736
  1a36cc:      	ld1	{ v1.4s, v2.4s }, [x1], #32
  1a36d4:      	tbnz	w5, #0x3, 0x1a3720 <example.com/kernel.updateNEON.abi0+0x90>
  1a36d8:      	str	q5, [sp, #0x20]
  1a36dc:      	st1	{ v1.4s, v2.4s }, [x2], #32
  1a36e0:      	stp	q1, q2, [x0], #0x20
  1a36e4:      	subs	x3, x3, #0x8
  1a36e8:      	b.ge	0x1a36cc <example.com/kernel.updateNEON.abi0+0x3c>
  1a36ec:      	ldr	s1, [x1], #0x4
  1a36f4:      	cbnz	x3, 0x1a36ec <example.com/kernel.updateNEON.abi0+0x5c>
  1a36f8:      	ret
`

func TestMainLoop(t *testing.T) {
	for _, test := range []struct {
		out                 string
		elements            int
		first, last, absent string
		length              int
		err                 string
	}{
		{amd64Loop, 16, "vmovups\t(%rsi), %ymm1", "jge\tloop", "vsubps", 10, ""},
		{arm64Loop, 8, "ld1\t{ v1.4s, v2.4s }, [x1], #32", "b.ge\tloop", "tbnz", 6, ""},
		{"", 0, "", "", "", 0, "no loop"},
		{strings.ReplaceAll(arm64Loop, "0x1a36", "0x1a37"), 0, "", "", "", 0, "no loop"},
		{strings.Replace(arm64Loop, "subs\tx3, x3, #0x8", "ret", 1), 0, "", "", "", 0, "not in one piece"},
		{strings.Replace(arm64Loop, "stp\tq1", "ldp\tq1", 1), 0, "", "", "", 0, "each array"},
		{strings.Replace(amd64Loop, "%ymm2, 0x20(%rdx)", "%xmm2, 0x20(%rdx)", 1), 0, "", "", "", 0, "each array"},
	} {
		loops, err := mainLoops(disassembly(test.out))
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, %v, want an error with %q:%s", loops, err, test.err, test.out)
			}
			continue
		}
		if err != nil || len(loops) != 1 {
			t.Errorf("%v, %v, want one loop:%s", loops, err, test.out)
			continue
		}
		l := loops[0]
		text := strings.Join(l.body, "\n")
		if n := len(l.body); l.elements != test.elements || n != test.length || l.body[0] != test.first ||
			l.body[n-1] != test.last || strings.Contains(text, test.absent) {
			t.Errorf("%d elements in %d instructions:\n%s", l.elements, len(l.body), text)
		}
	}
}

// The tool finds the loops of the kernel.
func TestPredict(t *testing.T) {
	if _, err := findLLVM(); err != nil {
		t.Skip(err)
	}
	var out strings.Builder
	if err := predict("updatePlain(AVX2|NEON)", &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" updatePlainAVX2+0x", " updatePlainNEON+0x", "neoverse-n1"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}
