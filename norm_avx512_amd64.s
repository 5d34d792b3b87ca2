//go:build gc && !purego

#include "textflag.h"

// SumSquares in AVX-512. The 16 lanes are Z0 (0 to 7) and Z1 (8 to 15).

#define LANES DI
#define X     SI  // the next elements
#define N     CX  // the elements left
#define AHEAD R13 // the prefetch distance in bytes

#define MANTISSA Z31
#define UNIT     Z30 // 2^-149, what a subnormal number is counted in

// func addSquaresAVX512(lanes *[16]float64, x *float32, n, ahead int)
TEXT ·addSquaresAVX512(SB), NOSPLIT, $0-32
	MOVQ lanes+0(FP), LANES
	MOVQ x+8(FP), X
	MOVQ n+16(FP), N
	MOVQ ahead+24(FP), AHEAD
	VMOVUPD (LANES), Z0
	VMOVUPD 64(LANES), Z1

	MOVL         $0x007fffff, R8
	VPBROADCASTD R8, MANTISSA
	MOVQ         $0x36a0000000000000, R8
	VPBROADCASTQ R8, UNIT

loop:
	// K1: the subnormal elements, which may need microcode to convert
	VFPCLASSPSZ $0x20, (X), K1
	KORTESTW    K1, K1
	JNE         subnormal
	PREFETCHT0  (X)(AHEAD*1)
	VCVTPS2PD   (X), Z2
	VCVTPS2PD   32(X), Z3
	VFMADD231PD Z2, Z2, Z0
	VFMADD231PD Z3, Z3, Z1

next:
	ADDQ $64, X
	SUBQ $16, N
	JNE  loop

	VMOVUPD Z0, (LANES)
	VMOVUPD Z1, 64(LANES)
	VZEROUPPER
	RET

subnormal:
	// These are their mantissa, an integer, times 2^-149; the others are converted.
	// Each term is zero for the elements of the other.
	VMOVUPS       (X), Z2
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
