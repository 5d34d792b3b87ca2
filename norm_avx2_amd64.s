//go:build gc && !purego

#include "textflag.h"
#include "go_asm.h"
#include "norm_amd64.h"

// The kernel computes what sumSquaresGeneric computes, of a slice's first block.
// The 16 lanes are Y0 (0 to 3), Y1, Y2 and Y3 (12 to 15).

#define CAREFUL AX  // not 0: subnormal numbers may need microcode to convert

#define MINUS_ONE Y15 // of 8 elements as integers
#define NORMAL    Y14 // the bits of 2^-126, the smallest normal number, times 2, less 1
#define EXPONENT  X13 // the bits of 4 exponents
#define MANTISSA  X12
#define UNIT      Y11 // 2^-149, what a subnormal number is counted in

// ADD_SUBNORMAL: lanes += x² for 4 elements, some of them subnormal. Those are
// their mantissa, an integer, times 2^-149; the others are converted. In either
// term are zeros for what the other has.
#define ADD_SUBNORMAL(at, lanes) \
	VMOVUPS     at(X), X4         \
	VPAND       EXPONENT, X4, X5  \
	VPCMPEQD    X7, X5, X5        \ // X7 is 0
	VPANDN      X4, X5, X6        \
	VPAND       MANTISSA, X4, X4  \
	VPAND       X5, X4, X4        \
	VCVTPS2PD   X6, Y6            \
	VCVTDQ2PD   X4, Y4            \
	VFMADD231PD UNIT, Y4, Y6      \
	VFMADD231PD Y6, Y6, lanes

// func sumSquaresAVX2(x *float32, n int) float64
TEXT ·sumSquaresAVX2(SB), NOSPLIT, $64-24
	MOVQ x+0(FP), X
	MOVQ n+8(FP), N

	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3

	MOVBLZX      ·subnormalAssist(SB), CAREFUL
	VPCMPEQD     MINUS_ONE, MINUS_ONE, MINUS_ONE
	VPSRLD       $8, MINUS_ONE, NORMAL
	VPSLLD       $24, X15, EXPONENT
	VPSRLD       $1, EXPONENT, EXPONENT
	VPSRLD       $9, X15, MANTISSA
	MOVQ         $0x36a0000000000000, R8
	VMOVQ        R8, X11
	VBROADCASTSD X11, UNIT

	BLOCK
	SUBQ    $16, N
	JLT     tail

loop:
	TESTL CAREFUL, CAREFUL
	JNE   look

add:
	// One of four additions is fused with its multiplication. The bits are the
	// same, since squares are exact, and a first-generation Zen is fastest so: it
	// takes 295 ns for 1,000 elements with all of them fused, 248 with none.
	PREFETCHT0  (X)(AHEAD*1)
	VCVTPS2PD   (X), Y4
	VCVTPS2PD   16(X), Y5
	VCVTPS2PD   32(X), Y6
	VCVTPS2PD   48(X), Y7
	VFMADD231PD Y4, Y4, Y0
	VMULPD      Y5, Y5, Y5
	VMULPD      Y6, Y6, Y6
	VMULPD      Y7, Y7, Y7
	VADDPD      Y5, Y1, Y1
	VADDPD      Y6, Y2, Y2
	VADDPD      Y7, Y3, Y3

next:
	ADDQ $64, X
	SUBQ $16, N
	JGE  loop

tail:
	// N + 16 elements are left, 0 to 15: they are copied to the stack, before
	// zeros, whose squares change no sum.
	ADDQ    $16, N
	JEQ     done
	VXORPS  Y4, Y4, Y4
	VMOVUPS Y4, rest-64(SP)
	VMOVUPS Y4, rest-32(SP)
	LEAQ    rest-64(SP), DI

element:
	DECQ N
	MOVL (X)(N*4), R8
	MOVL R8, (DI)(N*4)
	JNE  element
	MOVQ DI, X
	JMP  loop

done:
	// Lanes j and j+8, then j+4, j+2, j+1.
	VADDPD       Y2, Y0, Y0
	VADDPD       Y3, Y1, Y1
	VADDPD       Y1, Y0, Y0
	TREE
	VMOVSD       X0, ret+16(FP)
	VZEROUPPER
	RET

look:
	// The bits times 2, less 1: that drops the sign and makes 2^32 - 1 of zero, so
	// that only subnormal numbers are below NORMAL.
	VMOVUPS   (X), Y4
	VMOVUPS   32(X), Y5
	VPADDD    Y4, Y4, Y4
	VPADDD    Y5, Y5, Y5
	VPADDD    MINUS_ONE, Y4, Y4
	VPADDD    MINUS_ONE, Y5, Y5
	VPMINUD   Y5, Y4, Y4
	VPMAXUD   NORMAL, Y4, Y5
	VPCMPEQD  Y4, Y5, Y5
	VPMOVMSKB Y5, R8
	CMPL      R8, $-1
	JEQ       add

	VPXOR X7, X7, X7
	ADD_SUBNORMAL(0, Y0)
	ADD_SUBNORMAL(16, Y1)
	ADD_SUBNORMAL(32, Y2)
	ADD_SUBNORMAL(48, Y3)
	JMP next
