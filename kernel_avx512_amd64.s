//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "registers_amd64.h"
#include "kernel_steps.h"

// The AVX-512 kernels: 16 lanes, blocks of four vectors, then one vector at a time. They
// compute the last elements as well: masked loads and stores do not touch the memory of the
// other lanes, and a call of 15 elements takes 17 ns less than with 8 of them in AVX2 and 7
// in Go (Zen 4). Each step runs for all vectors of a block before the next begins. A step
// gets a way to load and store, a vector's offset and registers: g, v and a of
// kernel_steps.h, a scratch register t, and live, the lanes whose gradient is not dead.
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

#define SOME  K7 // lanes of one step
#define LANES K6 // of the last vector

#define LOAD(at, array, x) \
	VMOVUPS at(array), x

#define STORE(x, at, array) \
	VMOVUPS x, at(array)

#define LOAD_LANES(at, array, x) \
	VMOVUPS.Z at(array), LANES, x

#define STORE_LANES(x, at, array) \
	VMOVUPS x, LANES, at(array)

#define FOUR(STEP) \
	STEP(LOAD, STORE, 0, Z0, Z4, Z8, Z16, K1)    \
	STEP(LOAD, STORE, 64, Z1, Z5, Z9, Z17, K2)   \
	STEP(LOAD, STORE, 128, Z2, Z6, Z10, Z18, K3) \
	STEP(LOAD, STORE, 192, Z3, Z7, Z11, Z19, K4)

// ONE: of one vector, of which only LANES exist in memory
#define ONE(STEP) \
	STEP(LOAD_LANES, STORE_LANES, 0, Z0, Z4, Z8, Z16, K1)

#define FIRST_TWO(STEP) \
	STEP(LOAD, STORE, 0, Z0, Z4, Z8, Z16, K1)  \
	STEP(LOAD, STORE, 64, Z1, Z5, Z9, Z17, K2)

// LAST_TWO: for the steps in software, which get v, scratch and the lanes whose v is finite
#define LAST_TWO(STEP) \
	STEP(Z6, Z10, Z18, Z12, K5) \
	STEP(Z7, Z11, Z19, Z13, K6)

// KEPT: the lanes with not |x| < least, compared as integers, NaN included
#define KEPT(least, x, t, kept) \
	VPANDD      ABS, x, t \
	VPCMPD.BCST AT_LEAST, least, t, kept

#define GRADIENT(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, GRAD, g)

#define SCALE(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(coeffs_minScaled(COEFFS), g, t, SOME) \
	VMULPS.BCST.Z coeffs_scale(COEFFS), g, SOME, g

// VMINPS and VMAXPS return their first operand here, g, if that is NaN.
#define CLIP(LOAD, STORE, at, g, v, a, t, live) \
	VBROADCASTSS coeffs_clip(COEFFS), t    \
	VMINPS       g, t, g                   \
	VBROADCASTSS coeffs_negClip(COEFFS), t \
	VMAXPS       g, t, g

#define L2(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, THETA, a)                             \
	KEPT(coeffs_minDecay(COEFFS), a, t, SOME)      \
	VMULPS.BCST.Z coeffs_decay(COEFFS), a, SOME, a \
	VADDPS        a, g, g

#define LIVE(LOAD, STORE, at, g, v, a, t, live) \
	VPANDD ABS, g, t \
	VPCMPD AT_LEAST, MIN_GRAD, t, live

#define MEAN_SQUARE(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, S, v)                      \
	VCMPPS   REACHES, MIN_MEAN, v, SOME \
	VMULPS.Z g, g, live, t              \
	VMULPS.Z RHO, v, SOME, v            \
	VMULPS   C, t, t                    \
	VADDPS   t, v, v                    \
	STORE(v, at, S)

// FIRST_MOMENT: from here on, live are the lanes whose m moves theta.
#define FIRST_MOMENT(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, M, a)                                 \
	KEPT(coeffs_minFirst(COEFFS), a, t, SOME)      \
	VMULPS.BCST.Z coeffs_first(COEFFS), a, SOME, a \
	VMULPS.BCST.Z coeffs_cFirst(COEFFS), g, live, g \
	VADDPS        g, a, g                          \
	STORE(g, at, M)                                \
	KEPT(·minRoot(SB), g, t, live)

#define MEAN_GRADIENT(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, M, a)                           \
	KEPT(coeffs_minMean(COEFFS), a, t, SOME) \
	VMULPS.Z RHO, a, SOME, a                 \
	VMULPS.Z C, g, live, t                   \
	VADDPS   t, a, a                         \
	STORE(a, at, M)

#define VARIANCE(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(·minRoot(SB), a, t, SOME)                \
	VMULPS.Z    a, a, SOME, a                     \
	VSUBPS      a, v, v                           \
	VCMPPS.BCST NOT_LESS, ·minNormal(SB), v, SOME \
	VMOVAPS.Z   v, SOME, v

#define ADD_EPS(LOAD, STORE, at, g, v, a, t, live) \
	VADDPS EPS, v, v

#define ROOT(LOAD, STORE, at, g, v, a, t, live) \
	VSQRTPS v, v

#define ADD_EPS_OUTSIDE(LOAD, STORE, at, g, v, a, t, live) \
	VADDPS.BCST coeffs_epsOutside(COEFFS), v, v

#define DIVIDE(LOAD, STORE, at, g, v, a, t, live) \
	VDIVPS v, LR, v

// MULTIPLY always masks dead gradients, because g still has their values.
#define MULTIPLY(LOAD, STORE, at, g, v, a, t, live) \
	VMULPS.Z g, v, live, v

#define MASK(LOAD, STORE, at, g, v, a, t, live)

#define BUFFER(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, B, a)                              \
	KEPT(coeffs_minBuffer(COEFFS), a, t, SOME)  \
	VMULPS.BCST.Z coeffs_mu(COEFFS), a, SOME, a \
	VADDPS        v, a, a                       \
	STORE(a, at, B)

#define NESTEROV(LOAD, STORE, at, g, v, a, t, live) \
	VMULPS.BCST coeffs_mu(COEFFS), a, a \
	VADDPS      v, a, a

#define FROM_BUFFER(LOAD, STORE, at, g, v, a, t, live) \
	VMOVAPS a, v

#define FLUSH(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(coeffs_minUpdate(COEFFS), v, t, SOME) \
	VMOVAPS.Z v, SOME, v

#define RATE(LOAD, STORE, at, g, v, a, t, live) \
	VMULPS.BCST coeffs_lrOutside(COEFFS), v, v

#define PARAMETER(LOAD, STORE, at, g, v, a, t, live) \
	LOAD(at, THETA, a)

#define DECAY(LOAD, STORE, at, g, v, a, t, live) \
	KEPT(coeffs_minTheta(COEFFS), a, t, SOME)        \
	VMULPS.BCST.Z coeffs_lrDecay(COEFFS), a, SOME, t \
	VSUBPS        t, a, a

#define MOVE(LOAD, STORE, at, g, v, a, t, live) \
	VSUBPS v, a, a \
	STORE(a, at, THETA)

// Roots, and quotients, in software: on the FMA units, while the divider works on the
// block's other vectors. DESIGN.md proves for which v and lr they are correctly rounded.

// ROOT_ESTIMATE: A = v*y, H = y/2
#define ROOT_ESTIMATE(v, a, h, r, finite) \
	VRSQRT14PS v, h                     \
	VCMPPS     NOT_EQUAL, INFINITY, v, finite \
	VMULPS     h, v, a                  \
	VMULPS     HALF, h, h

#define ROOT_REFINE(v, a, h, r, finite) \
	ROOT_ITERATE(HALF, a, h, r)

// ROOT_FINISH: D = v - A*A, v = A + D*H, the root d; H stays near 1/(2d). Infinity, of
// which A is NaN, is its own root.
#define ROOT_FINISH(v, a, h, r, finite) \
	VFNMADD231PS a, a, finite, v \
	VFMADD213PS  a, h, finite, v

// RECIPROCAL: v = 2d, of which H is nearly the reciprocal
#define RECIPROCAL(v, a, h, r, finite) \
	VADDPS v, v, v

// RECIPROCAL_REFINE: E = 1 - 2d*H, H = H + H*E
#define RECIPROCAL_REFINE(v, a, h, r, finite) \
	VMOVAPS      UNIT, r \
	VFNMADD231PS v, h, r \
	VFMADD213PS  h, r, h

// DIVIDE_SOFTWARE: Q = 2*lr*H, R = 2*lr - 2d*Q, v = Q + R*H, or 0 if d is infinite
#define DIVIDE_SOFTWARE(v, a, h, r, finite) \
	VMULPS         LR2, h, a \
	VFNMADD213PS   LR2, a, v \
	VFMADD213PS.Z  a, h, finite, v

#define ADAM WITHOUT
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

#undef ADAM
#define ADAM WITH
#undef CENTERED
#define CENTERED WITHOUT
// func updateFirstMomentAVX512(c *call)
TEXT ·updateFirstMomentAVX512(SB), NOSPLIT, $0-8
#include "kernel_avx512_amd64.h"
