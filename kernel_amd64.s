//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_amd64.h"

// Both kernels compute what updateGeneric computes, a vector at a time, all vectors
// of a block step by step:
//
//	g = |g| < minGrad ? 0 : g       s = s >= minMean ? s : 0
//	s' = rho*s + c*g²               theta' = theta - lr/sqrt(s'+eps) * g
//
// Each operation rounds once and none are fused, but inside the square root,
// whose result is proven to be the rounded one.
//
// Square root and division share one slow unit, the divider. So the call says how
// many of a block's roots are taken in software, on the FMA units, while the
// divider takes the others. With v = s + eps and an estimate y of 1/sqrt(v),
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

// The float32s and masks that the kernels read from memory, as wide as YMM
// registers.
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

WORDS8(·abs, $0x7fffffff)       // all bits but the sign
WORDS8(·maxV, $0x7f7fffff)      // the greatest float32
WORDS8(·half, $0x3f000000)      // 1/2
WORDS8(·minNormal, $0x00800000) // 2^-126
WORDS8(·minRoot, $0x20000000)   // 2^-63
WORDS8(·belowRoot, $0x1fffffff) // the float32 below 2^-63

// ---- AVX-512: 16 lanes, masks in K registers ----

#include "kernel_avx512.h"

// FOUR: a step of the block's four vectors, each with g, v, scratch and masks
#define FOUR(STEP) \
	STEP(0, Z0, Z4, Z16, K1)   \
	STEP(64, Z1, Z5, Z17, K2)  \
	STEP(128, Z2, Z6, Z18, K3) \
	STEP(192, Z3, Z7, Z19, K4)

#define PREFETCHES(at, g, v, t, live) \
	PREFETCH(at, GRAD) \
	PREFETCH(at, S)    \
	PREFETCH(at, THETA)

#define GRADIENT(at, g, v, t, live) \
	VMOVUPS at(GRAD), g \
	LIVE_LANES(g, live, t)

#define MEAN_SQUARE(at, g, v, t, live) \
	VMOVUPS at(S), v          \
	MEAN(g, v, live, K5, t)   \
	VMOVUPS v, at(S)          \
	VADDPS  EPS, v, v

#define QUOTIENT(at, g, v, t, live) \
	VDIVPS v, LR, v

#define MOVED(at, g, v, t, live) \
	VMULPS.Z g, v, live, v \
	VMOVUPS  at(THETA), t  \
	VSUBPS   v, t, t       \
	VMOVUPS  t, at(THETA)

// func updateAVX512(c *call)
TEXT ·updateAVX512(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
	ARGUMENTS
	NUMBERS
	SUBQ $64, N
	JLT  rest

block:
	CMPQ N, STOP
	JLT  near
	FOUR(PREFETCHES)

near:
	FOUR(GRADIENT)
	FOUR(MEAN_SQUARE)
	ROOTS
	FOUR(QUOTIENT)
	FOUR(MOVED)
	NEXT(256, GRAD)
	NEXT(256, S)
	NEXT(256, THETA)
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	// 16 elements, or the last 1 to 15
	LANES_LEFT(K7, whole)
	VMOVUPS.Z (GRAD), K7, Z0
	VMOVUPS.Z (S), K7, Z4
	VMOVUPS.Z (THETA), K7, Z8
	LIVE_LANES(Z0, K1, Z16)
	MEAN(Z0, Z4, K1, K5, Z16)
	VMOVUPS   Z4, K7, (S)
	VADDPS    EPS, Z4, Z4
	VSQRTPS   Z4, Z4
	VDIVPS    Z4, LR, Z4
	VMULPS.Z  Z0, Z4, K1, Z4
	VSUBPS    Z4, Z8, Z8
	VMOVUPS   Z8, K7, (THETA)
	NEXT(64, GRAD)
	NEXT(64, S)
	NEXT(64, THETA)
	SUBQ      $16, N
	JGT       vector

done:
	VZEROUPPER
	RET

#undef LR
#undef RHO
#undef C
#undef EPS
#undef MIN_GRAD
#undef MIN_MEAN
#undef NOT_LESS
#undef REACHES
#undef MEAN
#undef FOUR
#undef GRADIENT
#undef MEAN_SQUARE
#undef QUOTIENT
#undef MOVED

// ---- AVX2: 8 lanes, masks in YMM registers ----

#include "kernel_avx2.h"

#define RHO      Y15
#define C        Y14 // 1 - rho
#define EPS      Y13
#define MIN_MEAN Y12
#define MIN_GRAD Y11
#define LR       Y10 // in the last steps

// FOUR: a step of the block's four vectors, each with g, v and scratch
#define FOUR(STEP) \
	STEP(0, Y0, Y4, Y8)  \
	STEP(32, Y1, Y5, Y9) \
	STEP(64, Y2, Y6, Y8) \
	STEP(96, Y3, Y7, Y9)

#define PAIR(STEP) \
	STEP(0, Y0, Y4, Y8) \
	STEP(32, Y1, Y5, Y9)

#define ONE(STEP) \
	STEP(0, Y0, Y4, Y8)

#define GRADIENT(at, g, v, t) \
	VMOVUPS at(GRAD), g \
	KEEP(MIN_GRAD, g, t)

#define MEAN_SQUARE(at, g, v, t) \
	VMOVUPS at(S), v \
	MEAN(MIN_MEAN, RHO, C, g, v, t) \
	VMOVUPS v, at(S)

#define ADD_EPS(at, g, v, t) \
	VADDPS EPS, v, v

#define ROOT(at, g, v, t) \
	VSQRTPS v, v

#define QUOTIENT(at, g, v, t) \
	VDIVPS v, LR, v

#define MOVED(at, g, v, t) \
	VMULPS  g, v, v      \
	VMOVUPS at(THETA), t \
	VSUBPS  v, t, t      \
	VMOVUPS t, at(THETA)

// PART: the step of four lanes, or of one and zeros, in XMM registers
#define PART(MOVE) \
	MOVE    (GRAD), X0       \
	MOVE    (S), X4          \
	KEEP(X11, X0, X8)        \
	MEAN(X12, X15, X14, X0, X4, X8) \
	MOVE    X4, (S)          \
	VADDPS  X13, X4, X4      \
	VSQRTPS X4, X4           \
	VDIVPS  X4, X10, X4      \
	VMULPS  X0, X4, X4       \
	MOVE    (THETA), X8      \
	VSUBPS  X4, X8, X8       \
	MOVE    X8, (THETA)

// func updateAVX2(c *call)
TEXT ·updateAVX2(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
	ARGUMENTS
	VBROADCASTSS params_rho(PARAMS), RHO
	VBROADCASTSS params_c(PARAMS), C
	VBROADCASTSS params_eps(PARAMS), EPS
	VBROADCASTSS params_minMean(PARAMS), MIN_MEAN
	VBROADCASTSS params_minGrad(PARAMS), MIN_GRAD
	CMPQ call_vectors(CALL), $2
	JEQ  pairs
	SUBQ $32, N
	JLT  rest

block:
	CMPQ N, STOP
	JLT  near
	PREFETCH(0, GRAD)
	PREFETCH(64, GRAD)
	PREFETCH(0, S)
	PREFETCH(64, S)
	PREFETCH(0, THETA)
	PREFETCH(64, THETA)

near:
	FOUR(GRADIENT)
	FOUR(MEAN_SQUARE)
	FOUR(ADD_EPS)
	TESTQ SOFTWARE, SOFTWARE
	JNE   half
	FOUR(ROOT)

rooted:
	VBROADCASTSS params_lr(PARAMS), LR
	FOUR(QUOTIENT)
	FOUR(MOVED)
	NEXT(128, GRAD)
	NEXT(128, S)
	NEXT(128, THETA)
	SUBQ $32, N
	JGE  block

rest:
	// N + 32 elements are left, 0 to 31.
	VBROADCASTSS params_lr(PARAMS), LR
	ADDQ $24, N
	JLT  part

vector:
	ONE(GRADIENT)
	ONE(MEAN_SQUARE)
	ONE(ADD_EPS)
	ONE(ROOT)
	ONE(QUOTIENT)
	ONE(MOVED)
	NEXT(32, GRAD)
	NEXT(32, S)
	NEXT(32, THETA)
	SUBQ $8, N
	JGE  vector

part:
	// N + 8 elements are left, 0 to 7. Loads and stores of 4 lanes, then of one,
	// do not touch the memory behind them.
	ADDQ $4, N
	JLT  fewer
	PART(VMOVUPS)
	NEXT(16, GRAD)
	NEXT(16, S)
	NEXT(16, THETA)
	SUBQ $4, N

fewer:
	ADDQ $4, N
	JEQ  done

element:
	PART(VMOVSS)
	NEXT(4, GRAD)
	NEXT(4, S)
	NEXT(4, THETA)
	DECQ N
	JNE  element

done:
	VZEROUPPER
	RET

pairs:
	VBROADCASTSS params_lr(PARAMS), LR
	SUBQ $16, N
	JLT  unpaired

pair:
	CMPQ N, STOP
	JLT  nearPair
	PREFETCH(0, GRAD)
	PREFETCH(0, S)
	PREFETCH(0, THETA)

nearPair:
	PAIR(GRADIENT)
	PAIR(MEAN_SQUARE)
	PAIR(ADD_EPS)
	PAIR(ROOT)
	PAIR(QUOTIENT)
	PAIR(MOVED)
	NEXT(64, GRAD)
	NEXT(64, S)
	NEXT(64, THETA)
	SUBQ $16, N
	JGE  pair

unpaired:
	SUBQ $16, N
	JMP  rest

half:
	VSQRTPS Y4, Y4
	ROOT_SOFTWARE(Y5, Y8, Y9, Y10)
	VSQRTPS Y6, Y6
	ROOT_SOFTWARE(Y7, Y8, Y9, Y10)
	JMP rooted
