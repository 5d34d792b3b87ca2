//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "registers_amd64.h"
#include "kernel_steps.h"

// The AVX-512 kernels: 16 lanes, blocks of four vectors. They leave the last 0 to 63
// elements to their caller, who has AVX2 for them. Each step runs for all vectors of a
// block before the next begins. A step gets a vector's offset and registers: g, v and a
// of kernel_steps.h, a scratch register t, and live, the lanes whose gradient is not dead.
//
// Go checked the arguments: n >= 0, and no two of the arrays overlap.

#define LR       Z31
#define RHO      Z30
#define C        Z29 // 1 - rho
#define EPS      Z28
#define MIN_GRAD Z27
#define MIN_MEAN Z26
#define LR2      Z25 // 2*lr
#define HALF     Z24
#define UNIT     Z23 // 1
#define ABS      Z22 // all bits but the sign
#define INFINITY Z21

#define COEFFICIENTS \
	VBROADCASTSS coeffs_lr(COEFFS), LR            \
	VBROADCASTSS coeffs_rho(COEFFS), RHO          \
	VBROADCASTSS coeffs_c(COEFFS), C              \
	VBROADCASTSS coeffs_eps(COEFFS), EPS          \
	VBROADCASTSS coeffs_minGrad(COEFFS), MIN_GRAD \
	VBROADCASTSS coeffs_minMean(COEFFS), MIN_MEAN \
	VADDPS       LR, LR, LR2                      \
	VBROADCASTSS ·half(SB), HALF                  \
	VADDPS       HALF, HALF, UNIT                 \
	VBROADCASTSS ·abs(SB), ABS                    \
	VBROADCASTSS ·infinity(SB), INFINITY

DATA ·infinity(SB)/4, $0x7f800000
GLOBL ·infinity(SB), RODATA|NOPTR, $4
DATA ·minRoot(SB)/4, $0x20000000 // 2^-63
GLOBL ·minRoot(SB), RODATA|NOPTR, $4

// USE: a step takes its coefficients from the registers above or from memory.
#define USE(coefficient, lanes)

#define SOME K7 // lanes of one step

#define FOUR(STEP) \
	STEP(0, Z0, Z4, Z8, Z16, K1)    \
	STEP(64, Z1, Z5, Z9, Z17, K2)   \
	STEP(128, Z2, Z6, Z10, Z18, K3) \
	STEP(192, Z3, Z7, Z11, Z19, K4)

#define FIRST_TWO(STEP) \
	STEP(0, Z0, Z4, Z8, Z16, K1)  \
	STEP(64, Z1, Z5, Z9, Z17, K2)

// LAST_TWO: of the steps in software, which get v, scratch and the lanes where v is finite
#define LAST_TWO(STEP) \
	STEP(Z6, Z10, Z18, Z12, K5) \
	STEP(Z7, Z11, Z19, Z13, K6)

// KEPT: the lanes where not |x| < least, compared as integers: those of NaN, too
#define KEPT(least, x, t, kept) \
	VPANDD      ABS, x, t \
	VPCMPD.BCST AT_LEAST, least, t, kept

#define GRADIENT(at, g, v, a, t, live) \
	VMOVUPS at(GRAD), g

#define SCALE(at, g, v, a, t, live) \
	KEPT(coeffs_minScaled(COEFFS), g, t, SOME) \
	VMULPS.BCST.Z coeffs_scale(COEFFS), g, SOME, g

// VMINPS and VMAXPS return their first operand here, g, if that is NaN.
#define CLIP(at, g, v, a, t, live) \
	VBROADCASTSS coeffs_clip(COEFFS), t    \
	VMINPS       g, t, g                   \
	VBROADCASTSS coeffs_negClip(COEFFS), t \
	VMAXPS       g, t, g

#define L2(at, g, v, a, t, live) \
	VMOVUPS at(THETA), a                           \
	KEPT(coeffs_minDecay(COEFFS), a, t, SOME)      \
	VMULPS.BCST.Z coeffs_decay(COEFFS), a, SOME, a \
	VADDPS        a, g, g

#define LIVE(at, g, v, a, t, live) \
	VPANDD ABS, g, t \
	VPCMPD AT_LEAST, MIN_GRAD, t, live

#define MEAN_SQUARE(at, g, v, a, t, live) \
	VMOVUPS  at(S), v                   \
	VCMPPS   REACHES, MIN_MEAN, v, SOME \
	VMULPS.Z g, g, live, t              \
	VMULPS.Z RHO, v, SOME, v            \
	VMULPS   C, t, t                    \
	VADDPS   t, v, v                    \
	VMOVUPS  v, at(S)

#define MEAN_GRADIENT(at, g, v, a, t, live) \
	VMOVUPS  at(M), a                        \
	KEPT(coeffs_minMean(COEFFS), a, t, SOME) \
	VMULPS.Z RHO, a, SOME, a                 \
	VMULPS.Z C, g, live, t                   \
	VADDPS   t, a, a                         \
	VMOVUPS  a, at(M)

#define VARIANCE(at, g, v, a, t, live) \
	KEPT(·minRoot(SB), a, t, SOME)                \
	VMULPS.Z    a, a, SOME, a                     \
	VSUBPS      a, v, v                           \
	VCMPPS.BCST NOT_LESS, ·minNormal(SB), v, SOME \
	VMOVAPS.Z   v, SOME, v

#define ADD_EPS(at, g, v, a, t, live) \
	VADDPS EPS, v, v

#define ROOT(at, g, v, a, t, live) \
	VSQRTPS v, v

#define ADD_EPS_OUTSIDE(at, g, v, a, t, live) \
	VADDPS.BCST coeffs_epsOutside(COEFFS), v, v

#define DIVIDE(at, g, v, a, t, live) \
	VDIVPS v, LR, v

// MULTIPLY masks dead gradients in any case: g still is what it was.
#define MULTIPLY(at, g, v, a, t, live) \
	VMULPS.Z g, v, live, v

#define MASK(at, g, v, a, t, live)

#define BUFFER(at, g, v, a, t, live) \
	VMOVUPS at(B), a                            \
	KEPT(coeffs_minBuffer(COEFFS), a, t, SOME)  \
	VMULPS.BCST.Z coeffs_mu(COEFFS), a, SOME, a \
	VADDPS        v, a, a                       \
	VMOVUPS       a, at(B)

#define NESTEROV(at, g, v, a, t, live) \
	VMULPS.BCST coeffs_mu(COEFFS), a, a \
	VADDPS      v, a, a

#define FROM_BUFFER(at, g, v, a, t, live) \
	VMOVAPS a, v

#define FLUSH(at, g, v, a, t, live) \
	KEPT(coeffs_minUpdate(COEFFS), v, t, SOME) \
	VMOVAPS.Z v, SOME, v

#define RATE(at, g, v, a, t, live) \
	VMULPS.BCST coeffs_lrOutside(COEFFS), v, v

#define PARAMETER(at, g, v, a, t, live) \
	VMOVUPS at(THETA), a

#define DECAY(at, g, v, a, t, live) \
	KEPT(coeffs_minTheta(COEFFS), a, t, SOME)        \
	VMULPS.BCST.Z coeffs_lrDecay(COEFFS), a, SOME, t \
	VSUBPS        t, a, a

#define MOVE(at, g, v, a, t, live) \
	VSUBPS  v, a, a \
	VMOVUPS a, at(THETA)

// Root and quotient in software, on the FMA units, while the divider works on the block's
// other vectors. DESIGN.md says why both are the rounded ones, and for which v and lr.

// ROOT_ESTIMATE: A = v*y, H = y/2
#define ROOT_ESTIMATE(v, a, h, r, finite) \
	VRSQRT14PS v, h                     \
	VCMPPS     NOT_EQUAL, INFINITY, v, finite \
	VMULPS     h, v, a                  \
	VMULPS     HALF, h, h

#define ROOT_REFINE(v, a, h, r, finite) \
	ROOT_ITERATE(HALF, a, h, r)

// ROOT_FINISH: v = d, the root; H stays near 1/(2d).
#define ROOT_FINISH(v, a, h, r, finite) \
	ROOT_CORRECT(v, a, h)

// RECIPROCAL: v = 2d, of which H is nearly the reciprocal
#define RECIPROCAL(v, a, h, r, finite) \
	VADDPS v, v, v

// RECIPROCAL_REFINE: E = 1 - 2d*H, H = H + H*E
#define RECIPROCAL_REFINE(v, a, h, r, finite) \
	VMOVAPS      UNIT, r \
	VFNMADD231PS v, h, r \
	VFMADD213PS  h, r, h

// DIVIDE_SOFTWARE: Q = 2*lr*H, R = 2*lr - 2d*Q, v = Q + R*H, or 0 where v was infinite
#define DIVIDE_SOFTWARE(v, a, h, r, finite) \
	VMULPS         LR2, h, a \
	VFNMADD213PS   LR2, a, v \
	VFMADD213PS.Z  a, h, finite, v

#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
// func updatePlainAVX512(c *call)
TEXT ·updatePlainAVX512(SB), NOSPLIT, $0-8
#include "kernel_avx512_amd64.h"

#undef MOMENTUM
#define MOMENTUM WITH
// func updateMomentumAVX512(c *call)
TEXT ·updateMomentumAVX512(SB), NOSPLIT, $0-8
#include "kernel_avx512_amd64.h"

#undef CENTERED
#define CENTERED WITH
// func updateCenteredMomentumAVX512(c *call)
TEXT ·updateCenteredMomentumAVX512(SB), NOSPLIT, $0-8
#include "kernel_avx512_amd64.h"

#undef MOMENTUM
#define MOMENTUM WITHOUT
// func updateCenteredAVX512(c *call)
TEXT ·updateCenteredAVX512(SB), NOSPLIT, $0-8
#include "kernel_avx512_amd64.h"
