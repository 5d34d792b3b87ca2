//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_amd64.h"
#include "kernel_avx512.h"

// The family's AVX-512 kernels compute what memberGeneric computes, 64 elements
// at a time, then 16. There is one for each set of arrays, so that none is read
// or written in vain. What else is optional has a branch in each, once a block,
// which always goes the same way; of the two eps, both are added, one being 0.
//
// Dead lanes are left out of whatever might be subnormal in them, and subnormal
// m and b count as zero, so that dead parameters are not slow. Two products are
// left whose bits are asked for: lrDecay*theta, where theta has decayed to
// almost nothing, and lrOutside*u while a dead parameter's b passes the last
// steps on its way to zero.
//
// Each step is taken by every vector of a block before the next step begins: in
// one vector they wait for each other, some 100 cycles from first to last, and
// not every CPU looks far enough ahead to fill that time with the vectors behind.
// A step knows a vector by its registers:
//
//	at    the offset from THETA, GRAD, S, M and B
//	g     the gradient
//	v     s, then v, then u
//	a     m, then d, then b
//	h     the root's
//	t     scratch, at last theta
//	live  the lanes whose g is not dead
//
// LR holds the numerator: lr, or 1 where lr stays outside the momentum buffer.
// Go checked the arguments: n > 0, and no two of the arrays overlap.

#define M       R8 // the next elements
#define B       R9
#define OPTIONS R10

#define EXPONENT    Z23
#define ZERO        Z22
#define EPS_OUTSIDE Z21
#define SOME        K5 // scratch
#define LANES       K6 // of the last vector

// Constants that a step reads at most once a vector, so that memory will do.
#define SCALE      memberConstants_scale(K)
#define CLIP       memberConstants_clip(K)
#define DECAY      memberConstants_decay(K)
#define MU         memberConstants_mu(K)
#define LR_OUTSIDE memberConstants_lrOutside(K)
#define LR_DECAY   memberConstants_lrDecay(K)
#define SCALE_BITS scaleBits+60(FP)
#define DECAY_BITS decayBits+64(FP)

#define ARGUMENTS \
	MOVQ         theta+0(FP), THETA       \
	MOVQ         grad+8(FP), GRAD         \
	MOVQ         s+16(FP), S              \
	MOVQ         m+24(FP), M              \
	MOVQ         b+32(FP), B              \
	MOVQ         n+40(FP), N              \
	MOVQ         k+48(FP), K              \
	MOVL         options+56(FP), OPTIONS  \
	VBROADCASTSS memberConstants_numerator(K), LR \
	VBROADCASTSS memberConstants_rho(K), RHO      \
	VBROADCASTSS memberConstants_c(K), C          \
	VBROADCASTSS memberConstants_eps(K), EPS      \
	VBROADCASTSS memberConstants_epsOutside(K), EPS_OUTSIDE \
	VPBROADCASTD ·liveBits(SB), LIVE_BITS \
	VBROADCASTSS ·minS(SB), MIN_S         \
	VBROADCASTSS ·maxV(SB), MAX_V         \
	VBROADCASTSS ·half(SB), HALF          \
	VPBROADCASTD ·exponent(SB), EXPONENT  \
	VPXORD       ZERO, ZERO, ZERO

// FOUR: a step of the block's four vectors
#define FOUR(STEP) \
	STEP(LOAD, STORE, 0, Z0, Z4, Z8, Z12, Z16, K1)    \
	STEP(LOAD, STORE, 64, Z1, Z5, Z9, Z13, Z17, K2)   \
	STEP(LOAD, STORE, 128, Z2, Z6, Z10, Z14, Z18, K3) \
	STEP(LOAD, STORE, 192, Z3, Z7, Z11, Z15, Z19, K4)

#define LOAD(at, array, x) \
	PREFETCH(at, array) \
	VMOVUPS at(array), x

#define STORE(x, at, array) \
	VMOVUPS x, at(array)

// ONE: a step of one vector, of which only LANES exist in memory
#define ONE(STEP) \
	STEP(LOAD_LANES, STORE_LANES, 0, Z0, Z4, Z8, Z12, Z16, K1)

#define LOAD_LANES(at, array, x) \
	VMOVUPS.Z at(array), LANES, x

#define STORE_LANES(x, at, array) \
	VMOVUPS x, LANES, at(array)

// WHERE: a step that only some options take, else nothing up to the label off
#define WHERE(option, EACH, STEP, off) \
	TESTL $option, OPTIONS \
	JEQ   off              \
	EACH(STEP)             \
off:

// GRADIENT: g
#define GRADIENT(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, GRAD, g)

// SCALED: g = scale*g
#define SCALED(LOAD, STORE, at, g, v, a, h, t, live) \
	VPTESTMD.BCST SCALE_BITS, g, SOME \
	VMULPS.BCST.Z SCALE, g, SOME, g

// CLIPPED: g = max(min(g, clip), -clip). VMINPS and VMAXPS return their first
// operand here, g, if that is NaN.
#define CLIPPED(LOAD, STORE, at, g, v, a, h, t, live) \
	VBROADCASTSS CLIP, t     \
	VMINPS       g, t, g     \
	VSUBPS       t, ZERO, t  \
	VMAXPS       g, t, g

// DECAYED: g = g + decay*theta
#define DECAYED(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, THETA, t)                \
	VPTESTMD.BCST DECAY_BITS, t, SOME \
	VMULPS.BCST.Z DECAY, t, SOME, t   \
	VADDPS        t, g, g

// MEAN_SQUARE: whether g is live; s, and v = s
#define MEAN_SQUARE(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, S, v)            \
	LIVE(g, live)             \
	MEAN(g, v, live, SOME, t) \
	STORE(v, at, S)

// VARIANCE: m = rho*(|m| < 2^-126 ? 0 : m) + c*g, v = max(s - m*m, 0). VMAXPS
// returns its first operand here, v, if that is NaN. m*m, which may be subnormal
// long before m is, is left out of dead lanes: no step uses their v.
#define VARIANCE(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, M, a)             \
	VPTESTMD EXPONENT, a, SOME \
	VMULPS.Z RHO, a, SOME, a   \
	VMULPS.Z C, g, live, t     \
	VADDPS   t, a, a           \
	STORE(a, at, M)            \
	VMULPS.Z a, a, live, t     \
	VSUBPS   t, v, v           \
	VMAXPS   v, ZERO, v

// ADD_EPS: v = v + eps
#define ADD_EPS(LOAD, STORE, at, g, v, a, h, t, live) \
	VADDPS EPS, v, v

// ROOT: d = sqrt(v) in hardware
#define ROOT(LOAD, STORE, at, g, v, a, h, t, live) \
	VSQRTPS v, a

// MIXED_ROOTS: d = sqrt(v) of the block's vectors, of two in hardware and of
// two in software, which shares the work between the units. Update's kernel,
// which has less to do beside the roots, takes three of four in software. v must
// be 2^-100 or more.
#define MIXED_ROOTS \
	VSQRTPS Z4, Z8              \
	VSQRTPS Z5, Z9              \
	ROOT_ESTIMATE(Z6, Z10, Z14) \
	ROOT_ESTIMATE(Z7, Z11, Z15) \
	ROOT_ITERATE(Z10, Z14, Z18) \
	ROOT_ITERATE(Z11, Z15, Z19) \
	ROOT_CORRECT(Z6, Z10, Z14)  \
	ROOT_CORRECT(Z7, Z11, Z15)

// DIRECTION: u = live ? lr/(d + epsOutside) * g : 0
#define DIRECTION(LOAD, STORE, at, g, v, a, h, t, live) \
	VADDPS EPS_OUTSIDE, a, v \
	U(g, live, v)

// MOMENTUM: b = mu*(|b| < 2^-126 ? 0 : b) + u
#define MOMENTUM(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, B, a)                  \
	VPTESTMD      EXPONENT, a, SOME \
	VMULPS.BCST.Z MU, a, SOME, a    \
	VADDPS        v, a, a           \
	STORE(a, at, B)

// AHEAD: b, no longer that in memory, = mu*b + u
#define AHEAD(LOAD, STORE, at, g, v, a, h, t, live) \
	VMULPS.BCST MU, a, a \
	VADDPS      v, a, a

// FROM_BUFFER: u = b
#define FROM_BUFFER(LOAD, STORE, at, g, v, a, h, t, live) \
	VMOVAPS a, v

// RATED: u = lrOutside*u
#define RATED(LOAD, STORE, at, g, v, a, h, t, live) \
	VMULPS.BCST LR_OUTSIDE, v, v

// PARAMETER: theta
#define PARAMETER(LOAD, STORE, at, g, v, a, h, t, live) \
	LOAD(at, THETA, t)

// SHRUNK: theta = theta - lrDecay*theta
#define SHRUNK(LOAD, STORE, at, g, v, a, h, t, live) \
	VMULPS.BCST LR_DECAY, t, a \
	VSUBPS      a, t, t

// MOVED: theta = theta - u
#define MOVED(LOAD, STORE, at, g, v, a, h, t, live) \
	VSUBPS v, t, t \
	STORE(t, at, THETA)

// SET_LANES: LANES has a bit for each of the next 16 elements that there is.
#define SET_LANES(whole) \
	KXNORW LANES, LANES, LANES \
	CMPQ   N, $16              \
	JGE    whole               \
	MOVL   $1, AX              \
	SHLL   CX, AX              \
	DECL   AX                  \
	KMOVW  AX, LANES           \
whole:

// func updatePlainAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updatePlainAVX512(SB), NOSPLIT, $0-68
	ARGUMENTS
	SUBQ $64, N
	JLT  rest

block:
	SET_DISTANCE
	FOUR(GRADIENT)
	WHERE(const_memberScaled, FOUR, SCALED, notScaled)
	WHERE(const_memberClipped, FOUR, CLIPPED, notClipped)
	WHERE(const_memberL2, FOUR, DECAYED, notDecayed)
	FOUR(MEAN_SQUARE)
	FOUR(ADD_EPS)
	TESTL $const_memberSoftwareRoot, OPTIONS
	JEQ   hardware
	MIXED_ROOTS
	JMP   rooted

hardware:
	FOUR(ROOT)

rooted:
	FOUR(DIRECTION)
	WHERE(const_memberLROutside, FOUR, RATED, notRated)
	FOUR(PARAMETER)
	WHERE(const_memberDecoupled, FOUR, SHRUNK, notShrunk)
	FOUR(MOVED)
	ADDQ $256, THETA
	ADDQ $256, GRAD
	ADDQ $256, S
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	SET_LANES(whole)
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaled1)
	WHERE(const_memberClipped, ONE, CLIPPED, notClipped1)
	WHERE(const_memberL2, ONE, DECAYED, notDecayed1)
	ONE(MEAN_SQUARE)
	ONE(ADD_EPS)
	ONE(ROOT)
	ONE(DIRECTION)
	WHERE(const_memberLROutside, ONE, RATED, notRated1)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunk1)
	ONE(MOVED)
	ADDQ $64, THETA
	ADDQ $64, GRAD
	ADDQ $64, S
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET

// func updateMomentumAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateMomentumAVX512(SB), NOSPLIT, $0-68
	ARGUMENTS
	SUBQ $64, N
	JLT  rest

block:
	SET_DISTANCE
	FOUR(GRADIENT)
	WHERE(const_memberScaled, FOUR, SCALED, notScaled)
	WHERE(const_memberClipped, FOUR, CLIPPED, notClipped)
	WHERE(const_memberL2, FOUR, DECAYED, notDecayed)
	FOUR(MEAN_SQUARE)
	FOUR(ADD_EPS)
	TESTL $const_memberSoftwareRoot, OPTIONS
	JEQ   hardware
	MIXED_ROOTS
	JMP   rooted

hardware:
	FOUR(ROOT)

rooted:
	FOUR(DIRECTION)
	FOUR(MOMENTUM)
	WHERE(const_memberNesterov, FOUR, AHEAD, notAhead)
	FOUR(FROM_BUFFER)
	WHERE(const_memberLROutside, FOUR, RATED, notRated)
	FOUR(PARAMETER)
	WHERE(const_memberDecoupled, FOUR, SHRUNK, notShrunk)
	FOUR(MOVED)
	ADDQ $256, THETA
	ADDQ $256, GRAD
	ADDQ $256, S
	ADDQ $256, B
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	SET_LANES(whole)
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaled1)
	WHERE(const_memberClipped, ONE, CLIPPED, notClipped1)
	WHERE(const_memberL2, ONE, DECAYED, notDecayed1)
	ONE(MEAN_SQUARE)
	ONE(ADD_EPS)
	ONE(ROOT)
	ONE(DIRECTION)
	ONE(MOMENTUM)
	WHERE(const_memberNesterov, ONE, AHEAD, notAhead1)
	ONE(FROM_BUFFER)
	WHERE(const_memberLROutside, ONE, RATED, notRated1)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunk1)
	ONE(MOVED)
	ADDQ $64, THETA
	ADDQ $64, GRAD
	ADDQ $64, S
	ADDQ $64, B
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET

// func updateCenteredAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateCenteredAVX512(SB), NOSPLIT, $0-68
	ARGUMENTS
	SUBQ $64, N
	JLT  rest

block:
	SET_DISTANCE
	FOUR(GRADIENT)
	WHERE(const_memberScaled, FOUR, SCALED, notScaled)
	WHERE(const_memberClipped, FOUR, CLIPPED, notClipped)
	WHERE(const_memberL2, FOUR, DECAYED, notDecayed)
	FOUR(MEAN_SQUARE)
	FOUR(VARIANCE)
	FOUR(ADD_EPS)
	TESTL $const_memberSoftwareRoot, OPTIONS
	JEQ   hardware
	MIXED_ROOTS
	JMP   rooted

hardware:
	FOUR(ROOT)

rooted:
	FOUR(DIRECTION)
	WHERE(const_memberLROutside, FOUR, RATED, notRated)
	FOUR(PARAMETER)
	WHERE(const_memberDecoupled, FOUR, SHRUNK, notShrunk)
	FOUR(MOVED)
	ADDQ $256, THETA
	ADDQ $256, GRAD
	ADDQ $256, S
	ADDQ $256, M
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	SET_LANES(whole)
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaled1)
	WHERE(const_memberClipped, ONE, CLIPPED, notClipped1)
	WHERE(const_memberL2, ONE, DECAYED, notDecayed1)
	ONE(MEAN_SQUARE)
	ONE(VARIANCE)
	ONE(ADD_EPS)
	ONE(ROOT)
	ONE(DIRECTION)
	WHERE(const_memberLROutside, ONE, RATED, notRated1)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunk1)
	ONE(MOVED)
	ADDQ $64, THETA
	ADDQ $64, GRAD
	ADDQ $64, S
	ADDQ $64, M
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET

// func updateCenteredMomentumAVX512(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateCenteredMomentumAVX512(SB), NOSPLIT, $0-68
	ARGUMENTS
	SUBQ $64, N
	JLT  rest

block:
	SET_DISTANCE
	FOUR(GRADIENT)
	WHERE(const_memberScaled, FOUR, SCALED, notScaled)
	WHERE(const_memberClipped, FOUR, CLIPPED, notClipped)
	WHERE(const_memberL2, FOUR, DECAYED, notDecayed)
	FOUR(MEAN_SQUARE)
	FOUR(VARIANCE)
	FOUR(ADD_EPS)
	TESTL $const_memberSoftwareRoot, OPTIONS
	JEQ   hardware
	MIXED_ROOTS
	JMP   rooted

hardware:
	FOUR(ROOT)

rooted:
	FOUR(DIRECTION)
	FOUR(MOMENTUM)
	WHERE(const_memberNesterov, FOUR, AHEAD, notAhead)
	FOUR(FROM_BUFFER)
	WHERE(const_memberLROutside, FOUR, RATED, notRated)
	FOUR(PARAMETER)
	WHERE(const_memberDecoupled, FOUR, SHRUNK, notShrunk)
	FOUR(MOVED)
	ADDQ $256, THETA
	ADDQ $256, GRAD
	ADDQ $256, S
	ADDQ $256, M
	ADDQ $256, B
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	SET_LANES(whole)
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaled1)
	WHERE(const_memberClipped, ONE, CLIPPED, notClipped1)
	WHERE(const_memberL2, ONE, DECAYED, notDecayed1)
	ONE(MEAN_SQUARE)
	ONE(VARIANCE)
	ONE(ADD_EPS)
	ONE(ROOT)
	ONE(DIRECTION)
	ONE(MOMENTUM)
	WHERE(const_memberNesterov, ONE, AHEAD, notAhead1)
	ONE(FROM_BUFFER)
	WHERE(const_memberLROutside, ONE, RATED, notRated1)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunk1)
	ONE(MOVED)
	ADDQ $64, THETA
	ADDQ $64, GRAD
	ADDQ $64, S
	ADDQ $64, M
	ADDQ $64, B
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET
