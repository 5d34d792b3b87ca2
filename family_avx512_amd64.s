//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_amd64.h"
#include "kernel_avx512.h"
#include "family_steps.h"

// The family's AVX-512 kernels compute what familyGeneric computes, 64 elements
// at a time, then 16, each step for all vectors of a block before the next begins:
// in one vector they wait for each other, some 100 cycles from first to last, and
// not every CPU looks far enough ahead to fill that time with the vectors behind.
// Of the two eps both are added, one being 0. A step knows a vector by its
// registers:
//
//	at    the offset from THETA, GRAD, S, M and B
//	g     the gradient
//	v     s, then v, its root, and u
//	a     m, then b
//	t     scratch, at last theta
//	live  the lanes whose g is not dead
//
// Go checked the arguments: n > 0, and no two of the arrays overlap.

#define ZERO        Z22
#define EPS_OUTSIDE Z21
#define SOME        K5 // scratch
#define LANES       K6 // of the last vector

// FOUR: a step of the block's four vectors
#define FOUR(STEP) \
	STEP(LOAD, STORE, 0, Z0, Z4, Z8, Z16, K1)    \
	STEP(LOAD, STORE, 64, Z1, Z5, Z9, Z17, K2)   \
	STEP(LOAD, STORE, 128, Z2, Z6, Z10, Z18, K3) \
	STEP(LOAD, STORE, 192, Z3, Z7, Z11, Z19, K4)

#define LOAD(at, array, x) \
	VMOVUPS at(array), x

#define STORE(x, at, array) \
	VMOVUPS x, at(array)

// ONE: a step of one vector, of which only LANES exist in memory
#define ONE(STEP) \
	STEP(LOAD_LANES, STORE_LANES, 0, Z0, Z4, Z8, Z16, K1)

#define LOAD_LANES(at, array, x) \
	VMOVUPS.Z at(array), LANES, x

#define STORE_LANES(x, at, array) \
	VMOVUPS x, LANES, at(array)

// WHERE: steps that only some options take, else nothing up to the label off
#define WHERE(option, STEPS, off) \
	TESTL $option, OPTIONS \
	JEQ   off              \
	STEPS                  \
off:

// KEPT: the lanes where not |x| < least, compared as integers: NaN's too
#define KEPT(least, x, t, kept) \
	VPANDD      ABS, x, t \
	VPCMPD.BCST AT_LEAST, least, t, kept

#define GRADIENT(EACH) \
	EACH(LOAD_GRADIENT)
#define LOAD_GRADIENT(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, GRAD, g)

// SCALED: g = scale*(|g| < minScaled ? 0 : g)
#define SCALED(EACH) \
	EACH(SCALE)
#define SCALE(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(params_minScaled(PARAMS), g, t, SOME) \
	VMULPS.BCST.Z params_scale(PARAMS), g, SOME, g

// CLIPPED: g = max(min(g, clip), -clip). VMINPS and VMAXPS return their first
// operand here, g, if that is NaN.
#define CLIPPED(EACH) \
	EACH(CLIP)
#define CLIP(LOAD, STORE, at, g, v, a, t, live) \
	VBROADCASTSS params_clip(PARAMS), t \
	VMINPS       g, t, g           \
	VSUBPS       t, ZERO, t        \
	VMAXPS       g, t, g

// DECAYED: g = g + decay*(|theta| < minDecay ? 0 : theta)
#define DECAYED(EACH) \
	EACH(DECAY)
#define DECAY(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, THETA, a)                        \
	KEPT(params_minDecay(PARAMS), a, t, SOME)      \
	VMULPS.BCST.Z params_decay(PARAMS), a, SOME, a \
	VADDPS        a, g, g

#define LIVE(EACH) \
	EACH(FIND_LIVE)
#define FIND_LIVE(LOAD, STORE, at, g, v, a, t, live) \
	LIVE_LANES(g, live, t)

// MEAN_SQUARE: s = rho*(s >= minMean ? s : 0) + c*(live ? g : 0)², v = s
#define MEAN_SQUARE(EACH) \
	EACH(AVERAGE_SQUARE)
#define AVERAGE_SQUARE(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, S, v)            \
	MEAN(g, v, live, SOME, t) \
	STORE(v, at, S)

// VARIANCE: m = rho*(|m| < minMean ? 0 : m) + c*(live ? g : 0),
// v = s - (|m| < 2^-63 ? 0 : m)², or 0 where that is below 2^-126
#define VARIANCE(EACH) \
	EACH(AVERAGE_GRADIENT)
#define AVERAGE_GRADIENT(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, M, a)                           \
	KEPT(params_minMean(PARAMS), a, t, SOME)      \
	VMULPS.Z    RHO, a, SOME, a              \
	VMULPS.Z    C, g, live, t                \
	VADDPS      t, a, a                      \
	STORE(a, at, M)                          \
	KEPT(·minRoot(SB), a, t, SOME)           \
	VMULPS.Z    a, a, SOME, a                \
	VSUBPS      a, v, v                      \
	VCMPPS.BCST NOT_LESS, ·minNormal(SB), v, SOME \
	VMOVAPS.Z   v, SOME, v

// ADD_INSIDE: v = v + eps
#define ADD_INSIDE(EACH) \
	EACH(ADD_EPS)
#define ADD_EPS(LOAD, STORE, at, g, v, a, t, live) \
	VADDPS EPS, v, v

#define ROOT(LOAD, STORE, at, g, v, a, t, live) \
	VSQRTPS v, v

// ADD_OUTSIDE: d = d + epsOutside
#define ADD_OUTSIDE(EACH) \
	EACH(ADD_EPS_OUTSIDE)
#define ADD_EPS_OUTSIDE(LOAD, STORE, at, g, v, a, t, live) \
	VADDPS EPS_OUTSIDE, v, v

// DIRECTION: u = live ? lr/d * g : 0
#define DIRECTION(EACH) \
	EACH(DIRECT)
#define DIRECT(LOAD, STORE, at, g, v, a, t, live) \
	VDIVPS   v, LR, v \
	VMULPS.Z g, v, live, v

// MASKED: DIRECTION's product is masked in any case, where the gradient still is
// what it was.
#define MASKED(EACH)

// BUFFER: b = mu*(|b| < minBuffer ? 0 : b) + u
#define BUFFER(EACH) \
	EACH(ACCUMULATE)
#define ACCUMULATE(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, B, a)                         \
	KEPT(params_minBuffer(PARAMS), a, t, SOME)  \
	VMULPS.BCST.Z params_mu(PARAMS), a, SOME, a \
	VADDPS        v, a, a                  \
	STORE(a, at, B)

// AHEAD: b, no longer that in memory, = mu*b + u
#define AHEAD(EACH) \
	EACH(LOOK_AHEAD)
#define LOOK_AHEAD(LOAD, STORE, at, g, v, a, t, live) \
	VMULPS.BCST params_mu(PARAMS), a, a \
	VADDPS      v, a, a

// FROM_BUFFER: u = b
#define FROM_BUFFER(EACH) \
	EACH(TAKE_BUFFER)
#define TAKE_BUFFER(LOAD, STORE, at, g, v, a, t, live) \
	VMOVAPS a, v

// RATED: u = lrOutside*u
#define RATED(EACH) \
	EACH(RATE)
#define RATE(LOAD, STORE, at, g, v, a, t, live) \
	VMULPS.BCST params_lrOutside(PARAMS), v, v

#define PARAMETER(EACH) \
	EACH(LOAD_PARAMETER)
#define LOAD_PARAMETER(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, THETA, t)

// SHRUNK: theta = theta - lrDecay*(|theta| < minTheta ? 0 : theta)
#define SHRUNK(EACH) \
	EACH(SHRINK)
#define SHRINK(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(params_minTheta(PARAMS), t, a, SOME)        \
	VMULPS.BCST.Z params_lrDecay(PARAMS), t, SOME, a \
	VSUBPS        a, t, t

// MOVED: theta = theta - u
#define MOVED(EACH) \
	EACH(MOVE_PARAMETER)
#define MOVE_PARAMETER(LOAD, STORE, at, g, v, a, t, live) \
	VSUBPS v, t, t \
	STORE(t, at, THETA)

// func updatePlainAVX512(c *call)
TEXT ·updatePlainAVX512(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
#include "family_avx512.h"
#undef CENTERED
#undef MOMENTUM

// func updateMomentumAVX512(c *call)
TEXT ·updateMomentumAVX512(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITH
#include "family_avx512.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredAVX512(c *call)
TEXT ·updateCenteredAVX512(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITHOUT
#include "family_avx512.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredMomentumAVX512(c *call)
TEXT ·updateCenteredMomentumAVX512(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITH
#include "family_avx512.h"
#undef CENTERED
#undef MOMENTUM
