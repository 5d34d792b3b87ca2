//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_amd64.h"
#include "kernel_avx2.h"
#include "family_steps.h"

// The family's AVX2 kernels compute what familyGeneric computes, 32 or 16 elements
// at a time, then 8, each step for all vectors of a block before the next begins. A
// step knows a vector by its registers:
//
//	at  the offset from THETA, GRAD, S, M and B
//	g   the gradient, 0 where it is dead and nowhere else
//	v   s, then v, its root, and u
//	a   m, then b, at last theta
//
// The numbers are widened where a step needs them: registers for all of them there
// are not, and a load that widens costs no more than one that does not.
//
// Go checked the arguments: n > 0, a multiple of 8, and no two of the arrays overlap.

#define FOUR(STEP) \
	STEP(0, Y0, Y4, Y8)   \
	STEP(32, Y1, Y5, Y9)  \
	STEP(64, Y2, Y6, Y10) \
	STEP(96, Y3, Y7, Y11)

#define PAIR(STEP) \
	STEP(0, Y0, Y4, Y8)  \
	STEP(32, Y1, Y5, Y9)

#define ONE(STEP) \
	STEP(0, Y0, Y4, Y8)

#define T  Y12 // scratch
#define K1 Y13 // numbers
#define K2 Y14
#define K3 Y15

// WHERE: steps that only some options take, else nothing up to the label off
#define WHERE(option, STEPS, off) \
	TESTL $option, OPTIONS \
	JEQ   off              \
	STEPS                  \
off:

#define GRADIENT(EACH) \
	EACH(LOAD_GRADIENT)
#define LOAD_GRADIENT(at, g, v, a) \
	VMOVUPS at(GRAD), g

// SCALED: g = scale*(|g| < minScaled ? 0 : g)
#define SCALED(EACH) \
	VBROADCASTSS params_minScaled(PARAMS), K1 \
	VBROADCASTSS params_scale(PARAMS), K2     \
	EACH(SCALE)
#define SCALE(at, g, v, a) \
	KEEP(K1, g, T) \
	VMULPS K2, g, g

// CLIPPED: g = max(min(g, clip), -clip). VMINPS and VMAXPS return their first
// operand here, g, if that is NaN.
#define CLIPPED(EACH) \
	VBROADCASTSS params_clip(PARAMS), K1 \
	VXORPS       K2, K2, K2         \
	VSUBPS       K1, K2, K2         \
	EACH(CLIP)
#define CLIP(at, g, v, a) \
	VMINPS g, K1, g \
	VMAXPS g, K2, g

// DECAYED: g = g + decay*(|theta| < minDecay ? 0 : theta)
#define DECAYED(EACH) \
	VBROADCASTSS params_minDecay(PARAMS), K1 \
	VBROADCASTSS params_decay(PARAMS), K2    \
	EACH(DECAY)
#define DECAY(at, g, v, a) \
	VMOVUPS at(THETA), a \
	KEEP(K1, a, T)       \
	VMULPS  K2, a, a     \
	VADDPS  a, g, g

// LIVE: g = |g| < minGrad ? 0 : g
#define LIVE(EACH) \
	VBROADCASTSS params_minGrad(PARAMS), K1 \
	EACH(KEEP_LIVE)
#define KEEP_LIVE(at, g, v, a) \
	KEEP(K1, g, T)

// MEAN_SQUARE: s = rho*(s >= minMean ? s : 0) + c*g², v = s
#define MEAN_SQUARE(EACH) \
	VBROADCASTSS params_minMean(PARAMS), K1 \
	VBROADCASTSS params_rho(PARAMS), K2     \
	VBROADCASTSS params_c(PARAMS), K3       \
	EACH(AVERAGE_SQUARE)
#define AVERAGE_SQUARE(at, g, v, a) \
	VMOVUPS at(S), v               \
	MEAN(K1, K2, K3, g, v, T)      \
	VMOVUPS v, at(S)

// VARIANCE: m = rho*(|m| < minMean ? 0 : m) + c*g, v = s - (|m| < 2^-63 ? 0 : m)²,
// or 0 where that is below 2^-126. MEAN_SQUARE has left the numbers.
#define VARIANCE(EACH) \
	EACH(AVERAGE_GRADIENT)
#define AVERAGE_GRADIENT(at, g, v, a) \
	VMOVUPS  at(M), a            \
	KEEP(K1, a, T)               \
	VMULPS   K2, a, a            \
	VMULPS   K3, g, T            \
	VADDPS   T, a, a             \
	VMOVUPS  a, at(M)            \
	VANDPS   ·abs(SB), a, T      \
	VPCMPGTD ·belowRoot(SB), T, T \
	VANDPS   T, a, a             \
	VMULPS   a, a, a             \
	VSUBPS   a, v, v             \
	VCMPPS   NOT_LESS, ·minNormal(SB), v, T \
	VANDPS   T, v, v

// ADD_INSIDE: v = v + eps
#define ADD_INSIDE(EACH) \
	VBROADCASTSS params_eps(PARAMS), K1 \
	EACH(ADD_EPS)
#define ADD_EPS(at, g, v, a) \
	VADDPS K1, v, v

#define ROOT(at, g, v, a) \
	VSQRTPS v, v

// ADD_OUTSIDE: d = d + epsOutside
#define ADD_OUTSIDE(EACH) \
	VBROADCASTSS params_epsOutside(PARAMS), K1 \
	EACH(ADD_EPS)

// DIRECTION: u = lr/d * g
#define DIRECTION(EACH) \
	VBROADCASTSS params_lr(PARAMS), K1 \
	EACH(DIRECT)
#define DIRECT(at, g, v, a) \
	VDIVPS v, K1, v \
	VMULPS g, v, v

// MASKED: u = g = 0 ? 0 : u
#define MASKED(EACH) \
	VXORPS K1, K1, K1 \
	EACH(MASK)
#define MASK(at, g, v, a) \
	VCMPPS NOT_EQUAL, K1, g, T \
	VANDPS T, v, v

// BUFFER: b = mu*(|b| < minBuffer ? 0 : b) + u
#define BUFFER(EACH) \
	VBROADCASTSS params_minBuffer(PARAMS), K1 \
	VBROADCASTSS params_mu(PARAMS), K2        \
	EACH(ACCUMULATE)
#define ACCUMULATE(at, g, v, a) \
	VMOVUPS at(B), a \
	KEEP(K1, a, T)   \
	VMULPS  K2, a, a \
	VADDPS  v, a, a  \
	VMOVUPS a, at(B)

// AHEAD: b, no longer that in memory, = mu*b + u. BUFFER has left mu.
#define AHEAD(EACH) \
	EACH(LOOK_AHEAD)
#define LOOK_AHEAD(at, g, v, a) \
	VMULPS K2, a, a \
	VADDPS v, a, a

// FROM_BUFFER: u = b
#define FROM_BUFFER(EACH) \
	EACH(TAKE_BUFFER)
#define TAKE_BUFFER(at, g, v, a) \
	VMOVAPS a, v

// RATED: u = lrOutside*u
#define RATED(EACH) \
	VBROADCASTSS params_lrOutside(PARAMS), K1 \
	EACH(RATE)
#define RATE(at, g, v, a) \
	VMULPS K1, v, v

#define PARAMETER(EACH) \
	EACH(LOAD_PARAMETER)
#define LOAD_PARAMETER(at, g, v, a) \
	VMOVUPS at(THETA), a

// SHRUNK: theta = theta - lrDecay*(|theta| < minTheta ? 0 : theta)
#define SHRUNK(EACH) \
	VBROADCASTSS params_minTheta(PARAMS), K1 \
	VBROADCASTSS params_lrDecay(PARAMS), K2  \
	EACH(SHRINK)
#define SHRINK(at, g, v, a) \
	VMOVAPS a, K3    \
	KEEP(K1, K3, T)  \
	VMULPS K2, K3, T \
	VSUBPS T, a, a

// MOVED: theta = theta - u
#define MOVED(EACH) \
	EACH(MOVE_PARAMETER)
#define MOVE_PARAMETER(at, g, v, a) \
	VSUBPS  v, a, a \
	VMOVUPS a, at(THETA)

// func updatePlainAVX2(c *call)
TEXT ·updatePlainAVX2(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
#include "family_avx2.h"
#undef CENTERED
#undef MOMENTUM

// func updateMomentumAVX2(c *call)
TEXT ·updateMomentumAVX2(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITHOUT
#define MOMENTUM WITH
#include "family_avx2.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredAVX2(c *call)
TEXT ·updateCenteredAVX2(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITHOUT
#include "family_avx2.h"
#undef CENTERED
#undef MOMENTUM

// func updateCenteredMomentumAVX2(c *call)
TEXT ·updateCenteredMomentumAVX2(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), CALL
#define CENTERED WITH
#define MOMENTUM WITH
#include "family_avx2.h"
#undef CENTERED
#undef MOMENTUM
