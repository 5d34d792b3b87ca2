//go:build gc && !purego

#include "textflag.h"
#include "go_asm.h"
#include "norm_amd64.h"

// The kernel computes what sumSquaresGeneric computes, of a slice's first block.
// The 16 lanes are Z0 (0 to 7) and Z1 (8 to 15).


#define MANTISSA Z31
#define UNIT     Z30 // 2^-149, what a subnormal number is counted in

// func sumSquaresAVX512(x *float32, n int) float64
TEXT ·sumSquaresAVX512(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), X
	MOVQ n+8(FP), N

	VXORPD Z0, Z0, Z0
	VXORPD Z1, Z1, Z1

	KXNORW       K7, K7, K7
	MOVL         $0x007fffff, R8
	VPBROADCASTD R8, MANTISSA
	MOVQ         $0x36a0000000000000, R8
	VPBROADCASTQ R8, UNIT

	BLOCK
	SUBQ    $16, N
	JLT     tail

loop:
	// K1: the subnormal elements, which may need microcode to convert.
	VFPCLASSPSZ $0x20, (X), K1
	KORTESTW    K1, K1
	JNE         masked
	PREFETCHT0  (X)(AHEAD*1)
	VCVTPS2PD   (X), Z2
	VCVTPS2PD   32(X), Z3
	VFMADD231PD Z2, Z2, Z0
	VFMADD231PD Z3, Z3, Z1

next:
	ADDQ $64, X
	SUBQ $16, N
	JGE  loop

tail:
	// N + 16 elements are left, 0 to 15: K7 has a bit for each. Masked loads do
	// not touch the other lanes' memory, and make zeros of them, whose squares
	// change no sum.
	ADDQ  $16, N
	JEQ   done
	MOVL  $1, AX
	SHLL  CX, AX
	DECL  AX
	KMOVW AX, K7
	XORL  N, N

masked:
	// K7's elements, some of which may be subnormal. Those are their mantissa, an
	// integer, times 2^-149; the others are converted. In either term are zeros
	// for what the other has.
	VMOVUPS.Z     (X), K7, Z2
	VFPCLASSPSZ   $0x20, Z2, K1
	KNOTW         K1, K2
	VPANDD.Z      MANTISSA, Z2, K1, Z4
	VMOVAPS.Z     Z2, K2, Z2
	VEXTRACTF32X8 $1, Z2, Y3
	VEXTRACTI32X8 $1, Z4, Y5
	VCVTPS2PD     Y2, Z2
	VCVTPS2PD     Y3, Z3
	VCVTDQ2PD     Y4, Z4
	VCVTDQ2PD     Y5, Z5
	VFMADD231PD   UNIT, Z4, Z2
	VFMADD231PD   UNIT, Z5, Z3
	VFMADD231PD   Z2, Z2, Z0
	VFMADD231PD   Z3, Z3, Z1
	JMP           next

done:
	// Lanes j and j+8, then j+4, j+2, j+1.
	VADDPD        Z1, Z0, Z0
	VEXTRACTF64X4 $1, Z0, Y1
	VADDPD        Y1, Y0, Y0
	TREE
	VMOVSD        X0, ret+16(FP)
	VZEROUPPER
	RET
