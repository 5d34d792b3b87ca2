package asmcheck

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// The problems of a few lines of code. The instruction in line n is at address 0xn0.
func TestPaths(t *testing.T) {
	for _, test := range []struct {
		goarch, code, want string
	}{
		{"amd64", "vmovups (%rdi),%xmm0; ret", ""},
		{"amd64", "vmovups (%rdi),%ymm0; vzeroupper; ret", ""},
		{"amd64", "vmovups (%rdi),%ymm0; ret", "0x10: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "test %rcx,%rcx; je 40; vmovups (%rdi),%zmm0; vzeroupper; ret", ""},
		{"amd64", "vmovups (%rdi),%zmm0; je 30; vzeroupper; ret", "0x30: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "jmp 30; vmovups (%rdi),%ymm0; ret; dec %rcx; jne 10; ret", "0x20: ret: VZEROUPPER is missing on a way to here"},
		{"amd64", "vmovups (%rdi),%ymm0; jmp 900", "0x10: jmp 900: VZEROUPPER is missing on a way to here"},
		{"amd64", "vmovups (%rdi),%ymm0; movss (%rsi),%xmm1; vzeroupper; ret", "0x10: movss (%rsi),%xmm1: SSE while the upper halves are in use, which is slow"},
		{"amd64", "jmp *%rax", "0x0: jmp *%rax: where does it go?"},
		{"amd64", "nop", "0x0: nop: runs off the function's end"},
		{"amd64", "ret; nop", "0x10: nop: no way leads here"},

		{"amd64", "mov 0x8(%rsp),%rax; movl $0x0,0x10(%rsp); ret", ""},
		{"amd64", "movl $0x0,-0x4(%rsp); ret", "0x0: movl $0x0,-0x4(%rsp): the stack is used, and not for an argument"},
		{"amd64", "movl $0x0,(%rsp); ret", "0x0: movl $0x0,(%rsp): the stack is used, and not for an argument"},
		{"amd64", "mov %eax,0x20(%rsp,%rcx,4); ret", "0x0: mov %eax,0x20(%rsp,%rcx,4): the stack is used, and not for an argument"},
		{"amd64", "sub $0x40,%rsp; ret", "0x0: sub $0x40,%rsp: the stack is used, and not for an argument"},
		{"amd64", "push %rbp; ret", "0x0: push %rbp: the stack is used, and not for an argument"},

		{"amd64", "vaddps %xmm1,%xmm2,%xmm0; ret", "0x0: vaddps %xmm1,%xmm2,%xmm0: %xmm1 is read and was not written on a way to here\n0x0: vaddps %xmm1,%xmm2,%xmm0: %xmm2 is read and was not written on a way to here"},
		{"amd64", "je 20; vxorps %xmm1,%xmm1,%xmm1; vsqrtps %xmm1,%xmm2; ret", "0x20: vsqrtps %xmm1,%xmm2: %xmm1 is read and was not written on a way to here"},
		{"amd64", "vmovups (%rdi),%xmm1; vfmadd231ps %xmm1,%xmm1,%xmm0; ret", "0x10: vfmadd231ps %xmm1,%xmm1,%xmm0: %xmm0 is read and was not written on a way to here"},
		{"amd64", "kxnorw %k1,%k1,%k1; vmovups (%rdi),%zmm1{%k1}{z}; vzeroupper; ret", ""},
		{"amd64", "vmovups (%rdi),%zmm1{%k1}{z}; vzeroupper; ret", "0x0: vmovups (%rdi),%zmm1{%k1}{z}: %k1 is read and was not written on a way to here"},
		{"amd64", "kmovw %eax,%k1; vmovups (%rdi),%zmm1{%k1}; vzeroupper; ret", "0x10: vmovups (%rdi),%zmm1{%k1}: %zmm1 is read and was not written on a way to here"},
		{"amd64", "vmovups %xmm7,(%rdi); ret", "0x0: vmovups %xmm7,(%rdi): %xmm7 is read and was not written on a way to here"},

		{"arm64", "ldr x7, [sp, #8]; ld1 {v0.4s}, [x0], #16; cbnz x1, 0; ret", ""},
		{"arm64", "str x30, [sp, #-32]!; ret", "0x0: str x30, [sp, #-32]!: the stack is used, and not for an argument"},
		{"arm64", "stur s0, [sp, #-4]; ret", "0x0: stur s0, [sp, #-4]: the stack is used, and not for an argument"},
		{"arm64", "mov x9, sp; ret", "0x0: mov x9, sp: the stack is used, and not for an argument"},
		{"arm64", "br x9", "0x0: br x9: where does it go?"},
		{"arm64", "bl 900; ret", "0x0: bl 900: a call"},
	} {
		for _, m := range Machines {
			if m.GOARCH != test.goarch {
				continue
			}
			if got := strings.Join(m.paths(listing(strings.Split(test.code, "; ")...)), "\n"); got != test.want {
				t.Errorf("%s: %s\n%s\nwant\n%s", m.GOARCH, test.code, got, test.want)
			}
		}
	}
}

// listing parses lines as objdump would show them.
func listing(lines ...string) []instruction {
	var text strings.Builder
	for n, line := range lines {
		fmt.Fprintf(&text, "  %x:\t90 \t%s\n", 16*n, line)
	}
	return parseListing(text.String())
}

// For the kernel's name, the assembler accepts the first instruction of a line and refuses the
// second.
func TestGates(t *testing.T) {
	if testing.Short() {
		t.Skip("starts GNU's assembler")
	}
	for _, test := range []struct{ name, known, unknown string }{
		{"updateAVX512", "vaddps %zmm1,%zmm2,%zmm3{%k1}{z}", "vpdpbusd %zmm1,%zmm2,%zmm3"}, // VNNI
		{"updateAVX512", "vrsqrt14ps %ymm17,%ymm18", "vrsqrt28ps %zmm1,%zmm2"},             // VL, ER
		{"updateAVX512", "vandps %zmm1,%zmm2,%zmm3", "vpermb %zmm1,%zmm2,%zmm3"},           // DQ, VBMI
		{"updateAVX512", "vpaddb %zmm1,%zmm2,%zmm3", "andn %eax,%ecx,%edx"},                // BW, BMI1
		{"updateAVX2", "vpaddd %ymm1,%ymm2,%ymm3", "vpaddd %ymm1,%ymm2,%ymm16"},            // VL
		{"updateAVX2", "vfmadd231ps %ymm1,%ymm2,%ymm3", "vrsqrt14ps %ymm1,%ymm2"},          // FMA3, VL
		{"updateAVX2", "addps %xmm1,%xmm2", "vcvtph2ps %xmm1,%ymm2"},                       // SSE, F16C
		{"updateAVX2", "vbroadcastss %xmm1,%ymm2", "kmovw %eax,%k1"},                       // AVX2, F
		{"floatMode", "stmxcsr 0x8(%rsp)", "vstmxcsr 0x8(%rsp)"},                           // SSE, AVX
		{"updateNEON", "fadd v0.4s, v1.4s, v2.4s", "fadd v0.8h, v1.8h, v2.8h"},             // half precision
		{"updateNEON", "cmtst v0.4s, v1.4s, v2.4s", "udot v0.4s, v1.16b, v2.16b"},          // dot products
		{"updateNEON", "ldr q0, [x0], #16", "ldadd x0, x1, [x2]"},                          // LSE
		{"updateNEON", "frsqrte v0.4s, v1.4s", "ld1w z0.s, p0/z, [x0]"},                    // SVE
	} {
		m := Machines[0]
		if strings.Contains(test.name, "NEON") {
			m = Machines[1]
		}
		_, march, _ := m.gate(test.name)
		as, err := m.tool("as")
		if errors.Is(err, ErrNoTools) {
			t.Log(err)
			continue
		}
		got, err := unknownInstructions(listing(test.known, test.unknown), as, march)
		if err != nil || len(got) != 1 || !strings.HasPrefix(got[0], "0x10: ") {
			t.Errorf("%s: %s; %s: %q, %v", test.name, test.known, test.unknown, got, err)
		}
	}
	if _, _, ok := Machines[0].gate("updateAVX2AVX512"); ok {
		t.Error("a function for two instruction sets passes")
	}
	evex := parseListing("  0:\t62 f1 74 28 58 c2 \tvaddps %ymm2,%ymm1,%ymm0\n  6:\tc5 f4 58 c2 \tvaddps %ymm2,%ymm1,%ymm0\n")
	if got := evexEncodings(evex); len(got) != 1 {
		t.Errorf("EVEX encodings: %q", got)
	}
}

func TestRootIterations(t *testing.T) {
	root := []string{"vrsqrt14ps %zmm1,%zmm2", "vfnmadd231ps %zmm1,%zmm1,%zmm1", "vfnmadd231ps %zmm1,%zmm1,%zmm1", "vfnmadd231ps %zmm1,%zmm1,%zmm1", "vfnmadd231ps %zmm1,%zmm1,%zmm1"}
	if got := rootIterations(listing(root...)); got != nil {
		t.Errorf("%q", got)
	}
	if got := rootIterations(listing(root[:4]...)); len(got) != 1 {
		t.Errorf("one step too few: %q", got)
	}
}
