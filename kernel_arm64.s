//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_arm64.h"

// The kernel computes what updateGeneric computes, 16 elements at a time, then 4,
// then one, each step for all vectors of a block before the next begins:
//
//	g = |g| < minGrad ? 0 : g       s = s >= minMean ? s : 0
//	s' = rho*s + c*g²               theta' = theta - lr/sqrt(s'+eps) * g
//
// Each operation rounds once and none are fused. A step knows a vector by its
// registers: g, v (s, then v, its root, and the step), a (theta) and t (scratch).

#define LR       16
#define RHO      17
#define C        18 // 1 - rho
#define EPS      19
#define MIN_GRAD 20
#define MIN_MEAN 21

#define LOAD(at, g, v, a, t) \
	LDR(g, GRAD, at) \
	LDR(v, S, at)    \
	LDR(a, THETA, at)

#define LIVE(at, g, v, a, t) \
	KEEP(MIN_GRAD, g, t)

#define MEAN_SQUARE(at, g, v, a, t) \
	MEAN(MIN_MEAN, RHO, C, g, v, t)

#define STORE_MEAN(at, g, v, a, t) \
	STR(v, S, at)

#define ROOT(at, g, v, a, t) \
	FADD(v, v, EPS) \
	FSQRT(v, v)

#define MOVED(at, g, v, a, t) \
	FDIV(v, LR, v) \
	FMUL(v, v, g)  \
	FSUB(a, a, v)

#define STORE(at, g, v, a, t) \
	STR(a, THETA, at)

// func updateNEON(c *call)
TEXT ·updateNEON(SB), NOSPLIT, $0-8
	MOVD c+0(FP), CALL
	ARGUMENTS
	NUMBER(params_lr, V16.S4)
	NUMBER(params_rho, V17.S4)
	NUMBER(params_c, V18.S4)
	NUMBER(params_eps, V19.S4)
	NUMBER(params_minGrad, V20.S4)
	NUMBER(params_minMean, V21.S4)
	SUBS $16, N
	BLT  rest

block:
	FOUR(LOAD)
	FOUR(LIVE)
	FOUR(MEAN_SQUARE)
	FOUR(STORE_MEAN)
	FOUR(ROOT)
	FOUR(MOVED)
	FOUR(STORE)
	NEXT(64, THETA)
	NEXT(64, GRAD)
	NEXT(64, S)
	SUBS $16, N
	BGE  block

rest:
	// N + 16 elements are left, 0 to 15.
	ADDS $12, N
	BLT  tail

vector:
	ONE(LOAD)
	ONE(LIVE)
	ONE(MEAN_SQUARE)
	ONE(STORE_MEAN)
	ONE(ROOT)
	ONE(MOVED)
	ONE(STORE)
	NEXT(16, THETA)
	NEXT(16, GRAD)
	NEXT(16, S)
	SUBS $4, N
	BGE  vector

tail:
	// N + 4 elements are left, 0 to 3: one lane each, the others are zero.
	ADDS $4, N
	BEQ  done

element:
	FMOVS.P 4(R1), F0
	FMOVS   (R2), F4
	FMOVS   (R0), F8
	ONE(LIVE)
	ONE(MEAN_SQUARE)
	FMOVS.P F4, 4(R2)
	ONE(ROOT)
	ONE(MOVED)
	FMOVS.P F8, 4(R0)
	SUBS    $1, N
	BNE     element

done:
	RET
