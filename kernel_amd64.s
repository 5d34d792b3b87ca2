//go:build gc && !purego

#include "textflag.h"
#include "kernel_amd64.h"

// Both kernels compute what updateGeneric computes, a vector at a time:
//
//	live = |g| >= 2^-63 or NaN      s = s < 2^-126 ? 0 : s
//	s' = rho*s + c*g²               theta' = theta - (live ? lr/sqrt(s'+eps) * g : 0)
//
// Each operation rounds once and none are fused, but inside the square root,
// whose result is proven to be the rounded one. Where a lane is dead the step is
// +0, which leaves every theta as it is, -0 included.
//
// Square root and division share one slow unit, the divider. So three of four
// AVX-512 vectors take the root in software, on the FMA units, and the others in
// hardware; of AVX2's every second one where the CPU gains by it (minEpsAVX2).
// With v = s + eps and an estimate y of 1/sqrt(v),
//
//	A = v*y, H = y/2                    A is near sqrt(v), H near 1/(2*sqrt(v))
//	R = 1/2 - A*H, A += A*R, H += H*R   Goldschmidt's iteration
//	D = v - A*A, sqrt(v) = A + D*H      one last step of Newton's
//
// is sqrt(v) rounded to nearest for every v from 2^-100 up, which the tests
// prove: TestExhaustive with the CPU's own estimates, TestRootModel with any
// estimate that the manuals allow. Infinity needs care: y would be 0 and A
// NaN. So y and the first A are taken of the greatest float32 instead; D is
// then infinite, and so is the root. NaN stays NaN in D. Below 2^-100, where D
// would be subnormal, all roots are taken in hardware: eps decides, once a call,
// whether v can be that small.
//
// Go checked the arguments: n > 0, and no two of the slices overlap.

// The float32s and masks that both kernels use, as wide as the wider YMM
// operands that read them from memory.
#define WORDS8(name, bits) \
	DATA name+0(SB)/4, bits \
	DATA name+4(SB)/4, bits \
	DATA name+8(SB)/4, bits \
	DATA name+12(SB)/4, bits \
	DATA name+16(SB)/4, bits \
	DATA name+20(SB)/4, bits \
	DATA name+24(SB)/4, bits \
	DATA name+28(SB)/4, bits \
	GLOBL name(SB), RODATA|NOPTR, $32

WORDS8(·liveBits, $0x60000000) // set in g's exponent where |g| >= 2^-63
WORDS8(·minS, $0x00800000)     // 2^-126
WORDS8(·minV, $0x0d800000)     // 2^-100
WORDS8(·maxV, $0x7f7fffff)     // the greatest float32
WORDS8(·half, $0x3f000000)     // 1/2
WORDS8(·zero, $0)
WORDS8(·exponent, $0x7f800000) // set in all but zeros and subnormal numbers

// ---- AVX-512: 16 lanes, masks in K registers ----

#include "kernel_avx512.h"

// BLOCK_MEAN: the mean of 16 elements, v = s + eps
#define BLOCK_MEAN(at, g, v, live, keep, gg) \
	PREFETCH(at, GRAD)              \
	PREFETCH(at, S)                 \
	PREFETCH(at, THETA)             \
	VMOVUPS at(GRAD), g             \
	VMOVUPS at(S), v                \
	LIVE(g, live)                   \
	MEAN(g, v, live, keep, gg)      \
	VMOVUPS v, at(S)                \
	VADDPS  EPS, v, v

// BLOCK_STEP: the step of 16 elements
#define BLOCK_STEP(at, theta, g, live, d) \
	VMOVUPS at(THETA), theta  \
	STEP(theta, g, live, d)   \
	VMOVUPS theta, at(THETA)

// func updateAVX512(theta, grad, s *float32, n int, k *constants)
TEXT ·updateAVX512(SB), NOSPLIT, $0-40
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
	VBROADCASTSS ·minS(SB), MIN_S
	VBROADCASTSS ·maxV(SB), MAX_V
	VBROADCASTSS ·half(SB), HALF

	VMOVSS   12(K), X0
	VUCOMISS ·minV(SB), X0
	JCS      vector           // eps < 2^-100: no root in software
	SUBQ     $64, N
	JLT      rest

block:
	// 64 elements: the root of the first 16 in hardware, of the others in
	// software.
	SET_DISTANCE
	BLOCK_MEAN(0, Z0, Z4, K1, K5, Z16)
	VSQRTPS Z4, Z8
	BLOCK_MEAN(64, Z1, Z5, K2, K6, Z17)
	BLOCK_MEAN(128, Z2, Z6, K3, K5, Z18)
	BLOCK_MEAN(192, Z3, Z7, K4, K6, Z19)
	ROOT_ESTIMATE(Z5, Z9, Z13)
	ROOT_ESTIMATE(Z6, Z10, Z14)
	ROOT_ESTIMATE(Z7, Z11, Z15)
	ROOT_ITERATE(Z9, Z13, Z17)
	ROOT_ITERATE(Z10, Z14, Z18)
	ROOT_ITERATE(Z11, Z15, Z19)
	ROOT_CORRECT(Z5, Z9, Z13)
	ROOT_CORRECT(Z6, Z10, Z14)
	ROOT_CORRECT(Z7, Z11, Z15)
	BLOCK_STEP(0, Z16, Z0, K1, Z8)
	BLOCK_STEP(64, Z17, Z1, K2, Z9)
	BLOCK_STEP(128, Z18, Z2, K3, Z10)
	BLOCK_STEP(192, Z19, Z3, K4, Z11)
	ADDQ    $256, GRAD
	ADDQ    $256, S
	ADDQ    $256, THETA
	SUBQ    $64, N
	JGE     block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	// 16 elements, or the last 1 to 15: K7 has a bit for each. Masked loads
	// and stores do not touch the other lanes' memory. The root is taken in
	// hardware, which knows every v.
	KXNORW K7, K7, K7
	CMPQ   N, $16
	JGE    whole
	MOVL   $1, AX
	SHLL   CX, AX
	DECL   AX
	KMOVW  AX, K7

whole:
	VMOVUPS.Z (GRAD), K7, Z1
	VMOVUPS.Z (S), K7, Z2
	VMOVUPS.Z (THETA), K7, Z0
	LIVE(Z1, K1)
	MEAN(Z1, Z2, K1, K2, Z3)
	VMOVUPS   Z2, K7, (S)
	VADDPS    EPS, Z2, Z2
	VSQRTPS   Z2, Z2
	STEP(Z0, Z1, K1, Z2)
	VMOVUPS   Z0, K7, (THETA)
	ADDQ      $64, GRAD
	ADDQ      $64, S
	ADDQ      $64, THETA
	SUBQ      $16, N
	JGT       vector

done:
	VZEROUPPER
	RET

#undef LR
#undef RHO
#undef C
#undef EPS
#undef LIVE_BITS
#undef MIN_S
#undef MAX_V
#undef HALF
#undef LIVE
#undef MEAN
#undef ROOT_ESTIMATE
#undef U
#undef STEP
#undef BLOCK_MEAN
#undef BLOCK_STEP

// ---- AVX2: 8 lanes, masks in YMM registers ----

#define LR        Y15
#define RHO       Y14
#define C         Y13 // 1 - rho
#define EPS       Y12
#define MIN_S     Y11
#define HALF      Y10
#define LIVE_BITS Y9
#define ZERO      ·zero(SB)

#include "kernel_avx2.h"

// ROOT_ESTIMATE: A = min(v, the greatest float32)*y, H = y/2. This estimate has
// 12 bits, so that Goldschmidt's iteration follows twice.
#define ROOT_ESTIMATE(v, a, h) \
	VMINPS   ·maxV(SB), v, a \
	VRSQRTPS a, h            \
	VMULPS   h, a, a         \
	VMULPS   HALF, h, h

// STEP: theta = theta - (dead ? 0 : lr/d * g)
#define STEP(theta, g, dead, d) \
	VDIVPS  d, LR, d   \
	VMULPS  g, d, d    \
	VANDNPS d, dead, d \
	VSUBPS  d, theta, theta

// BLOCK_MEAN: the mean of 8 elements, v = s + eps
#define BLOCK_MEAN(at, g, v, dead, gg) \
	VMOVUPS at(GRAD), g \
	VMOVUPS at(S), v    \
	LIVE(g, dead)       \
	MEAN(g, v, gg)      \
	VMOVUPS v, at(S)    \
	VADDPS  EPS, v, v

// BLOCK_STEP: the step of 8 elements
#define BLOCK_STEP(at, theta, g, dead, d) \
	VMOVUPS at(THETA), theta \
	STEP(theta, g, dead, d)  \
	VMOVUPS theta, at(THETA)

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
	VMOVUPS      ·minS(SB), MIN_S
	VMOVUPS      ·half(SB), HALF
	VMOVUPS      ·liveBits(SB), LIVE_BITS

	XORL     AX, AX
	VUCOMISS ·minEpsAVX2(SB), X12
	SETCC    AX                   // whether to take roots in software
	SUBQ     $16, N
	JLT      eight

block:
	// 16 elements: the root of the first 8 in hardware, of the others in
	// software where that pays.
	SET_DISTANCE
	PREFETCH(0, GRAD)
	PREFETCH(0, S)
	PREFETCH(0, THETA)
	BLOCK_MEAN(0, Y0, Y1, Y2, Y3)
	VSQRTPS Y1, Y1
	BLOCK_MEAN(32, Y4, Y5, Y6, Y3)
	TESTL   AX, AX
	JNE     software
	VSQRTPS Y5, Y7

rooted:
	BLOCK_STEP(0, Y3, Y0, Y2, Y1)
	BLOCK_STEP(32, Y8, Y4, Y6, Y7)
	ADDQ $64, GRAD
	ADDQ $64, S
	ADDQ $64, THETA
	SUBQ $16, N
	JGE  block

eight:
	// N + 16 elements are left, 0 to 15.
	ADDQ $8, N
	JLT  rest
	BLOCK_MEAN(0, Y0, Y1, Y2, Y3)
	VSQRTPS Y1, Y1
	BLOCK_STEP(0, Y3, Y0, Y2, Y1)
	ADDQ $32, GRAD
	ADDQ $32, S
	ADDQ $32, THETA
	SUBQ $8, N

rest:
	// N + 8 elements are left, 0 to 7. Loads and stores of 4 lanes, then of one,
	// do not touch the memory behind them; the other lanes are zero.
	ADDQ $4, N
	JLT  fewer
	VMOVUPS (GRAD), X1
	VMOVUPS (S), X2
	VMOVUPS (THETA), X0
	LIVE(Y1, Y5)
	MEAN(Y1, Y2, Y3)
	VMOVUPS X2, (S)
	VADDPS  EPS, Y2, Y2
	VSQRTPS Y2, Y2
	STEP(Y0, Y1, Y5, Y2)
	VMOVUPS X0, (THETA)
	ADDQ    $16, GRAD
	ADDQ    $16, S
	ADDQ    $16, THETA
	SUBQ    $4, N

fewer:
	ADDQ $4, N
	JEQ  done

element:
	VMOVSS (GRAD), X1
	VMOVSS (S), X2
	VMOVSS (THETA), X0
	LIVE(Y1, Y5)
	MEAN(Y1, Y2, Y3)
	VMOVSS  X2, (S)
	VADDPS  EPS, Y2, Y2
	VSQRTPS Y2, Y2
	STEP(Y0, Y1, Y5, Y2)
	VMOVSS X0, (THETA)
	ADDQ   $4, GRAD
	ADDQ   $4, S
	ADDQ   $4, THETA
	DECQ   N
	JNE    element

done:
	VZEROUPPER
	RET

software:
	ROOT_ESTIMATE(Y5, Y7, Y8)
	ROOT_ITERATE(Y7, Y8, Y3)
	ROOT_ITERATE(Y7, Y8, Y3)
	ROOT_CORRECT(Y5, Y7, Y8)
	JMP rooted
