//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_arm64.h"
#include "family_steps.h"

// The family's NEON kernels compute what familyGeneric computes, 16 elements at a
// time, then 4, each step for all vectors of a block before the next begins. Of
// the two eps both are added, one being 0. A step knows a vector by its registers:
//
//	at  the offset from THETA, GRAD, S, M and B
//	g   the gradient, 0 where it is dead and nowhere else
//	v   s, then v, its root, and u
//	a   m, then b, at last theta
//	t   scratch
//
// Go checked the arguments: n > 0, a multiple of 4, and no two of the arrays overlap.

#define K1         16 // numbers, loaded where a step needs them
#define K2         17
#define K3         18
#define MIN_ROOT   19
#define MIN_NORMAL 20
#define OPTIONS    R9

#define LOAD_M MOVD call_m(CALL), R3
#define LOAD_B MOVD call_b(CALL), R4

// WHERE: steps that only some options take, else nothing up to the label off
#define WHERE(option, STEPS, off) \
	TSTW $option, OPTIONS \
	BEQ  off              \
	STEPS                 \
off:

#define GRADIENT(EACH) \
	EACH(LOAD_GRADIENT)
#define LOAD_GRADIENT(at, g, v, a, t) \
	LDR(g, GRAD, at)

// SCALED: g = scale*(|g| < minScaled ? 0 : g)
#define SCALED(EACH) \
	NUMBER(params_minScaled, V16.S4) \
	NUMBER(params_scale, V17.S4)     \
	EACH(SCALE)
#define SCALE(at, g, v, a, t) \
	KEEP(K1, g, t) \
	FMUL(g, K2, g)

// CLIPPED: g = max(min(g, clip), -clip), which is NaN if g is
#define CLIPPED(EACH) \
	NUMBER(params_clip, V16.S4) \
	FNEG(K2, K1)                \
	EACH(CLIP)
#define CLIP(at, g, v, a, t) \
	FMIN(g, g, K1) \
	FMAX(g, g, K2)

// DECAYED: g = g + decay*(|theta| < minDecay ? 0 : theta)
#define DECAYED(EACH) \
	NUMBER(params_minDecay, V16.S4) \
	NUMBER(params_decay, V17.S4)    \
	EACH(DECAY)
#define DECAY(at, g, v, a, t) \
	LDR(a, THETA, at) \
	KEEP(K1, a, t)    \
	FMUL(a, K2, a)    \
	FADD(g, g, a)

// LIVE: g = |g| < minGrad ? 0 : g
#define LIVE(EACH) \
	NUMBER(params_minGrad, V16.S4) \
	EACH(KEEP_LIVE)
#define KEEP_LIVE(at, g, v, a, t) \
	KEEP(K1, g, t)

// MEAN_SQUARE: s = rho*(s >= minMean ? s : 0) + c*g², v = s
#define MEAN_SQUARE(EACH) \
	NUMBER(params_minMean, V16.S4) \
	NUMBER(params_rho, V17.S4)     \
	NUMBER(params_c, V18.S4)       \
	EACH(AVERAGE_SQUARE)
#define AVERAGE_SQUARE(at, g, v, a, t) \
	LDR(v, S, at)             \
	MEAN(K1, K2, K3, g, v, t) \
	STR(v, S, at)

// VARIANCE: m = rho*(|m| < minMean ? 0 : m) + c*g, v = s - (|m| < 2^-63 ? 0 : m)²,
// or 0 where that is below 2^-126, which NaN is not. MEAN_SQUARE has left the numbers.
#define VARIANCE(EACH) \
	EACH(AVERAGE_GRADIENT)
#define AVERAGE_GRADIENT(at, g, v, a, t) \
	LDR(a, M, at)           \
	KEEP(K1, a, t)          \
	FMUL(a, K2, a)          \
	FMUL(t, K3, g)          \
	FADD(a, a, t)           \
	STR(a, M, at)           \
	KEEP(MIN_ROOT, a, t)    \
	FMUL(a, a, a)           \
	FSUB(v, v, a)           \
	FCMGT(t, MIN_NORMAL, v) \
	BIC(v, v, t)

// ADD_INSIDE: v = v + eps
#define ADD_INSIDE(EACH) \
	NUMBER(params_eps, V16.S4) \
	EACH(ADD_EPS)
#define ADD_EPS(at, g, v, a, t) \
	FADD(v, v, K1)

#define ROOT(at, g, v, a, t) \
	FSQRT(v, v)

// ADD_OUTSIDE: d = d + epsOutside
#define ADD_OUTSIDE(EACH) \
	NUMBER(params_epsOutside, V16.S4) \
	EACH(ADD_EPS)

// DIRECTION: u = lr/d * g
#define DIRECTION(EACH) \
	NUMBER(params_lr, V16.S4) \
	EACH(DIRECT)
#define DIRECT(at, g, v, a, t) \
	FDIV(v, K1, v) \
	FMUL(v, v, g)

// MASKED: u = g = 0 ? 0 : u
#define MASKED(EACH) \
	EACH(MASK)
#define MASK(at, g, v, a, t) \
	FCMEQ0(t, g) \
	BIC(v, v, t)

// BUFFER: b = mu*(|b| < minBuffer ? 0 : b) + u
#define BUFFER(EACH) \
	NUMBER(params_minBuffer, V16.S4) \
	NUMBER(params_mu, V17.S4)        \
	EACH(ACCUMULATE)
#define ACCUMULATE(at, g, v, a, t) \
	LDR(a, B, at)  \
	KEEP(K1, a, t) \
	FMUL(a, K2, a) \
	FADD(a, a, v)  \
	STR(a, B, at)

// AHEAD: b, no longer that in memory, = mu*b + u. BUFFER has left mu.
#define AHEAD(EACH) \
	EACH(LOOK_AHEAD)
#define LOOK_AHEAD(at, g, v, a, t) \
	FMUL(a, K2, a) \
	FADD(a, a, v)

// FROM_BUFFER: u = b
#define FROM_BUFFER(EACH) \
	EACH(TAKE_BUFFER)
#define TAKE_BUFFER(at, g, v, a, t) \
	AND(v, a, a)

// RATED: u = lrOutside*u
#define RATED(EACH) \
	NUMBER(params_lrOutside, V16.S4) \
	EACH(RATE)
#define RATE(at, g, v, a, t) \
	FMUL(v, K1, v)

#define PARAMETER(EACH) \
	EACH(LOAD_PARAMETER)
#define LOAD_PARAMETER(at, g, v, a, t) \
	LDR(a, THETA, at)

// SHRUNK: theta = theta - lrDecay*(|theta| < minTheta ? 0 : theta)
#define SHRUNK(EACH) \
	NUMBER(params_minTheta, V16.S4) \
	NUMBER(params_lrDecay, V17.S4)  \
	EACH(SHRINK)
#define SHRINK(at, g, v, a, t) \
	FABS(t, a)     \
	CMGT(t, K1, t) \
	BIC(t, a, t)   \
	FMUL(t, K2, t) \
	FSUB(a, a, t)

// MOVED: theta = theta - u
#define MOVED(EACH) \
	EACH(MOVE_PARAMETER)
#define MOVE_PARAMETER(at, g, v, a, t) \
	FSUB(a, a, v) \
	STR(a, THETA, at)

// func updatePlainNEON(c *call)
TEXT ·updatePlainNEON(SB), NOSPLIT, $0-8
	MOVD c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
#include "family_neon.h"
#undef CENTERED
#undef MOMENTUM

// func updateMomentumNEON(c *call)
TEXT ·updateMomentumNEON(SB), NOSPLIT, $0-8
	MOVD c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITH
#include "family_neon.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredNEON(c *call)
TEXT ·updateCenteredNEON(SB), NOSPLIT, $0-8
	MOVD c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITHOUT
#include "family_neon.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredMomentumNEON(c *call)
TEXT ·updateCenteredMomentumNEON(SB), NOSPLIT, $0-8
	MOVD c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITH
#include "family_neon.h"
#undef CENTERED
#undef MOMENTUM
