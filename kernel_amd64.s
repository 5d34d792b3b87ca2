//go:build gc && !purego

#include "textflag.h"

// Both kernels compute what updateGeneric computes, a vector at a time:
//
//	live = |g| >= 2^-63 or NaN      s = s < 2^-126 ? 0 : s
//	s' = rho*s + c*g²               theta' = theta - (live ? lr/sqrt(s'+eps) * g : 0)
//
// Each operation rounds once and none are fused. Where a lane is dead the step
// is +0, which leaves every theta as it is, -0 included.
//
// Go checked the arguments: n > 0, and no two of the slices overlap.

// The float32s and masks that both kernels compare with.
DATA ·liveBits+0(SB)/4, $0x60000000 // set in g's exponent where |g| >= 2^-63
GLOBL ·liveBits(SB), RODATA|NOPTR, $4
DATA ·minNormal+0(SB)/4, $0x00800000 // 2^-126
GLOBL ·minNormal(SB), RODATA|NOPTR, $4

// ---- AVX-512: 16 lanes, masks in K registers ----

#define LR        Z31
#define RHO       Z30
#define C         Z29 // 1 - rho
#define EPS       Z28
#define LIVE_BITS Z27
#define MIN_S     Z26

// LIVE: live = g has one of the exponent bits of 2^-63 and above, of infinities
// and NaN.
#define LIVE(g, live) \
	VPTESTMD LIVE_BITS, g, live

// MEAN: s = rho*(s < 2^-126 ? 0 : s) + c*(live ? g : 0)². The comparison is
// "not less than", which holds for NaN.
#define MEAN(g, s, live, keep, gg) \
	VCMPPS   $0x15, MIN_S, s, keep \
	VMULPS.Z g, g, live, gg        \
	VMULPS.Z RHO, s, keep, s       \
	VMULPS   C, gg, gg             \
	VADDPS   gg, s, s

// ROOT: d = sqrt(s + eps)
#define ROOT(s, d) \
	VADDPS  EPS, s, d \
	VSQRTPS d, d

// STEP: theta = theta - (live ? lr/d * g : 0)
#define STEP(theta, g, live, d) \
	VDIVPS   d, LR, d       \
	VMULPS.Z g, d, live, d  \
	VSUBPS   d, theta, theta

// func updateAVX512(theta, grad, s *float32, n int, k *constants)
TEXT ·updateAVX512(SB), NOSPLIT, $0-40
#define THETA DI // the next elements
#define GRAD  SI
#define S     DX
#define N     CX // elements left
#define K     BX
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	MOVQ k+32(FP), K

	VBROADCASTSS 0(K), LR
	VBROADCASTSS 4(K), RHO
	VBROADCASTSS 8(K), C
	VBROADCASTSS 12(K), EPS
	VPBROADCASTD ·liveBits(SB), LIVE_BITS
	VBROADCASTSS ·minNormal(SB), MIN_S

	SUBQ $16, N
	JLT  tail

loop:
	VMOVUPS (GRAD), Z1
	VMOVUPS (S), Z2
	VMOVUPS (THETA), Z0
	LIVE(Z1, K1)
	MEAN(Z1, Z2, K1, K2, Z3)
	ROOT(Z2, Z4)
	STEP(Z0, Z1, K1, Z4)
	VMOVUPS Z2, (S)
	VMOVUPS Z0, (THETA)
	ADDQ    $64, GRAD
	ADDQ    $64, S
	ADDQ    $64, THETA
	SUBQ    $16, N
	JGE     loop

tail:
	// N + 16 elements are left, 0 to 15: K7 has a bit for each. Masked loads
	// and stores do not touch the other lanes' memory.
	ADDQ $16, N
	JEQ  done
	MOVL $1, AX
	SHLL CX, AX
	DECL AX
	KMOVW AX, K7

	VMOVUPS.Z (GRAD), K7, Z1
	VMOVUPS.Z (S), K7, Z2
	VMOVUPS.Z (THETA), K7, Z0
	LIVE(Z1, K1)
	MEAN(Z1, Z2, K1, K2, Z3)
	ROOT(Z2, Z4)
	STEP(Z0, Z1, K1, Z4)
	VMOVUPS Z2, K7, (S)
	VMOVUPS Z0, K7, (THETA)

done:
	VZEROUPPER
	RET

#undef LR
#undef RHO
#undef C
#undef EPS
#undef LIVE_BITS
#undef MIN_S
#undef LIVE
#undef MEAN
#undef ROOT
#undef STEP

// ---- AVX2: 8 lanes, masks in YMM registers ----

#define LR        Y15
#define RHO       Y14
#define C         Y13 // 1 - rho
#define EPS       Y12
#define LIVE_BITS Y11
#define MIN_S     Y10
#define ZERO      Y9

// LIVE: dead = g has none of the exponent bits of 2^-63 and above, of
// infinities and NaN; g = dead ? 0 : g
#define LIVE(g, dead) \
	VPAND    LIVE_BITS, g, dead  \
	VPCMPEQD ZERO, dead, dead    \
	VANDNPS  g, dead, g

// MEAN: s = rho*(s < 2^-126 ? 0 : s) + c*g². The comparison is "not less
// than", which holds for NaN.
#define MEAN(g, s, gg) \
	VCMPPS $0x15, MIN_S, s, gg \
	VANDPS gg, s, s  \
	VMULPS RHO, s, s \
	VMULPS g, g, gg  \
	VMULPS C, gg, gg \
	VADDPS gg, s, s

// ROOT: d = sqrt(s + eps)
#define ROOT(s, d) \
	VADDPS  EPS, s, d \
	VSQRTPS d, d

// STEP: theta = theta - (dead ? 0 : lr/d * g)
#define STEP(theta, g, dead, d) \
	VDIVPS  d, LR, d    \
	VMULPS  g, d, d     \
	VANDNPS d, dead, d  \
	VSUBPS  d, theta, theta

// laneMasks+4*(8-n) is a mask of the first n of 8 lanes.
DATA ·laneMasks+0(SB)/8, $-1
DATA ·laneMasks+8(SB)/8, $-1
DATA ·laneMasks+16(SB)/8, $-1
DATA ·laneMasks+24(SB)/8, $-1
DATA ·laneMasks+32(SB)/8, $0
DATA ·laneMasks+40(SB)/8, $0
DATA ·laneMasks+48(SB)/8, $0
DATA ·laneMasks+56(SB)/8, $0
GLOBL ·laneMasks(SB), RODATA|NOPTR, $64

// func updateAVX2(theta, grad, s *float32, n int, k *constants)
TEXT ·updateAVX2(SB), NOSPLIT, $0-40
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	MOVQ k+32(FP), K

	VBROADCASTSS 0(K), LR
	VBROADCASTSS 4(K), RHO
	VBROADCASTSS 8(K), C
	VBROADCASTSS 12(K), EPS
	VPBROADCASTD ·liveBits(SB), LIVE_BITS
	VBROADCASTSS ·minNormal(SB), MIN_S
	VPXOR        ZERO, ZERO, ZERO

	SUBQ $8, N
	JLT  tail

loop:
	VMOVUPS (GRAD), Y1
	VMOVUPS (S), Y2
	VMOVUPS (THETA), Y0
	LIVE(Y1, Y5)
	MEAN(Y1, Y2, Y3)
	ROOT(Y2, Y4)
	STEP(Y0, Y1, Y5, Y4)
	VMOVUPS Y2, (S)
	VMOVUPS Y0, (THETA)
	ADDQ    $32, GRAD
	ADDQ    $32, S
	ADDQ    $32, THETA
	SUBQ    $8, N
	JGE     loop

tail:
	// N + 8 elements are left, 0 to 7: Y7 has a lane for each. Masked loads
	// and stores do not touch the other lanes' memory.
	ADDQ $8, N
	JEQ  done
	LEAQ ·laneMasks+32(SB), AX
	SHLQ $2, N
	SUBQ N, AX
	VMOVDQU (AX), Y7

	VMASKMOVPS (GRAD), Y7, Y1
	VMASKMOVPS (S), Y7, Y2
	VMASKMOVPS (THETA), Y7, Y0
	LIVE(Y1, Y5)
	MEAN(Y1, Y2, Y3)
	ROOT(Y2, Y4)
	STEP(Y0, Y1, Y5, Y4)
	VMASKMOVPS Y2, Y7, (S)
	VMASKMOVPS Y0, Y7, (THETA)

done:
	VZEROUPPER
	RET
