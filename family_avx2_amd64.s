//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_amd64.h"
#include "kernel_avx2.h"

// The family's AVX2 kernels compute what memberGeneric computes, 24 elements at
// a time, then 8. They are those of family_avx512_amd64.s, which says why there
// are four, and take the same steps, of three vectors at once: as many as there
// are registers for when all numbers but 0 are read from memory, which the load
// ports do beside the arithmetic. While the divider works on a block, the first
// steps of the next one are taken, up to its variance. A step knows a vector by
// its registers:
//
//	at  the offset from THETA, GRAD, S, M and B
//	g   the gradient, 0 where it is dead and nowhere else
//	v   s, then v
//	a   m, then b
//	t   scratch, at last theta
//	u   d, lr/d, then u, while g and v belong to the next block
//
// Go checked the arguments: n > 0, and no two of the arrays overlap.

#define M       R8 // the next elements
#define B       R9
#define OPTIONS R10
#define WIDE    R11 // numbers, each in all lanes of a vector
#define ZERO    Y15

#define LR          0(WIDE) // the numerator: lr, or 1 where lr stays outside the momentum buffer
#define RHO         32(WIDE)
#define C           64(WIDE) // 1 - rho
#define EPS         96(WIDE)
#define EPS_OUTSIDE 128(WIDE)
#define SCALE       160(WIDE)
#define DECAY       192(WIDE)
#define MU          224(WIDE)
#define LR_OUTSIDE  256(WIDE)
#define LR_DECAY    288(WIDE)
#define SCALE_BITS  320(WIDE)
#define DECAY_BITS  352(WIDE)
#define CLIP        384(WIDE)
#define HELD        416(WIDE) // g of the block whose u is in the registers
#define LIVE_BITS   ·liveBits(SB)
#define MIN_S       ·minS(SB)
#define EXPONENT    ·exponent(SB)

#define NOT_EQUAL $0x04 // or NaN

// BROADCAST: a number, widened
#define BROADCAST(number, wide) \
	VBROADCASTSS number, Y0 \
	VMOVAPS      Y0, wide

// ARGUMENTS aligns WIDE within the 544 bytes at wide, so that no number is in
// two cache lines.
#define ARGUMENTS(wide) \
	MOVQ theta+0(FP), THETA      \
	MOVQ grad+8(FP), GRAD        \
	MOVQ s+16(FP), S             \
	MOVQ m+24(FP), M             \
	MOVQ b+32(FP), B             \
	MOVQ n+40(FP), N             \
	MOVQ k+48(FP), K             \
	MOVL options+56(FP), OPTIONS \
	LEAQ wide, WIDE              \
	ADDQ $31, WIDE               \
	ANDQ $~31, WIDE              \
	BROADCAST(memberConstants_numerator(K), LR)           \
	BROADCAST(memberConstants_rho(K), RHO)                \
	BROADCAST(memberConstants_c(K), C)                    \
	BROADCAST(memberConstants_eps(K), EPS)                \
	BROADCAST(memberConstants_epsOutside(K), EPS_OUTSIDE) \
	BROADCAST(memberConstants_scale(K), SCALE)            \
	BROADCAST(memberConstants_decay(K), DECAY)            \
	BROADCAST(memberConstants_mu(K), MU)                  \
	BROADCAST(memberConstants_lrOutside(K), LR_OUTSIDE)   \
	BROADCAST(memberConstants_lrDecay(K), LR_DECAY)       \
	BROADCAST(scaleBits+60(FP), SCALE_BITS)               \
	BROADCAST(decayBits+64(FP), DECAY_BITS)               \
	BROADCAST(memberConstants_clip(K), CLIP)              \
	VXORPS ZERO, ZERO, ZERO

// THREE: a step of the block's three vectors
#define THREE(STEP) \
	STEP(0, Y0, Y3, Y6, Y9, Y12)   \
	STEP(32, Y1, Y4, Y7, Y10, Y13) \
	STEP(64, Y2, Y5, Y8, Y11, Y14)

// NEXT: a step of the three vectors behind
#define NEXT(STEP) \
	STEP(96, Y0, Y3, Y6, Y9, Y12)   \
	STEP(128, Y1, Y4, Y7, Y10, Y13) \
	STEP(160, Y2, Y5, Y8, Y11, Y14)

// ONE: a step of one vector
#define ONE(STEP) \
	STEP(0, Y0, Y3, Y6, Y9, Y12)

// WHERE: a step that only some options take, else nothing up to the label off
#define WHERE(option, EACH, STEP, off) \
	TESTL $option, OPTIONS \
	JEQ   off              \
	EACH(STEP)             \
off:

// KEEP: x = x has one of the bits ? x : 0
#define KEEP(bits, x, t) \
	VPAND    bits, x, t \
	VPCMPEQD ZERO, t, t \
	VPANDN   x, t, x

// GRADIENT: g
#define GRADIENT(at, g, v, a, t, u) \
	PREFETCH(at, GRAD) \
	VMOVUPS at(GRAD), g

// SCALED: g = scale*g
#define SCALED(at, g, v, a, t, u) \
	KEEP(SCALE_BITS, g, t) \
	VMULPS SCALE, g, g

// CLIPPED: g = max(min(g, clip), -clip). VMINPS and VMAXPS return their first
// operand here, g, if that is NaN.
#define CLIPPED(at, g, v, a, t, u) \
	VMOVAPS CLIP, t    \
	VMINPS  g, t, g    \
	VSUBPS  t, ZERO, t \
	VMAXPS  g, t, g

// DECAYED: g = g + decay*theta
#define DECAYED(at, g, v, a, t, u) \
	VMOVUPS at(THETA), a   \
	KEEP(DECAY_BITS, a, t) \
	VMULPS  DECAY, a, a    \
	VADDPS  a, g, g

// MEAN_SQUARE: g = live ? g : 0; s, and v = s
#define MEAN_SQUARE(at, g, v, a, t, u) \
	PREFETCH(at, S) \
	VMOVUPS at(S), v \
	LIVE(g, t)       \
	MEAN(g, v, t)    \
	VMOVUPS v, at(S)

// VARIANCE: m = rho*(|m| < 2^-126 ? 0 : m) + c*g, v = max(s - m*m, 0). VMAXPS
// returns its first operand here, v, if that is NaN. m*m, which may be subnormal
// long before m is, is left out of dead lanes: no step uses their v.
#define VARIANCE(at, g, v, a, t, u) \
	PREFETCH(at, M) \
	VMOVUPS at(M), a              \
	KEEP(EXPONENT, a, t)          \
	VMULPS  RHO, a, a             \
	VMULPS  C, g, t               \
	VADDPS  t, a, a               \
	VMOVUPS a, at(M)              \
	VCMPPS  NOT_EQUAL, ZERO, g, t \
	VANDPS  a, t, t               \
	VMULPS  t, t, t               \
	VSUBPS  t, v, v               \
	VMAXPS  v, ZERO, v

// QUOTIENT: u = lr/(sqrt(v + eps) + epsOutside)
#define QUOTIENT(at, g, v, a, t, u) \
	VADDPS  EPS, v, u         \
	VSQRTPS u, u              \
	VADDPS  EPS_OUTSIDE, u, u \
	VMOVAPS LR, t             \
	VDIVPS  u, t, u           \
	VMOVAPS g, at+HELD

// DIRECTION: u = g = 0 ? 0 : u*g
#define DIRECTION(at, g, v, a, t, u) \
	VMOVAPS at+HELD, t            \
	VMULPS  t, u, u               \
	VCMPPS  NOT_EQUAL, ZERO, t, t \
	VANDPS  t, u, u

// MOMENTUM: b = mu*(|b| < 2^-126 ? 0 : b) + u
#define MOMENTUM(at, g, v, a, t, u) \
	PREFETCH(at, B) \
	VMOVUPS at(B), a     \
	KEEP(EXPONENT, a, t) \
	VMULPS  MU, a, a     \
	VADDPS  u, a, a      \
	VMOVUPS a, at(B)

// AHEAD: b, no longer that in memory, = mu*b + u
#define AHEAD(at, g, v, a, t, u) \
	VMULPS MU, a, a \
	VADDPS u, a, a

// FROM_BUFFER: u = b
#define FROM_BUFFER(at, g, v, a, t, u) \
	VMOVAPS a, u

// RATED: u = lrOutside*u
#define RATED(at, g, v, a, t, u) \
	VMULPS LR_OUTSIDE, u, u

// PARAMETER: theta
#define PARAMETER(at, g, v, a, t, u) \
	PREFETCH(at, THETA) \
	VMOVUPS at(THETA), t

// SHRUNK: theta = theta - lrDecay*theta
#define SHRUNK(at, g, v, a, t, u) \
	VMULPS LR_DECAY, t, a \
	VSUBPS a, t, t

// MOVED: theta = theta - u
#define MOVED(at, g, v, a, t, u) \
	VSUBPS  u, t, t \
	VMOVUPS t, at(THETA)

// func updatePlainAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updatePlainAVX2(SB), 0, $640-68
	ARGUMENTS(wide-640(SP))
	CMPQ N, $24
	JLT  rest
	THREE(GRADIENT)
	WHERE(const_memberScaled, THREE, SCALED, notScaledFirst)
	WHERE(const_memberClipped, THREE, CLIPPED, notClippedFirst)
	WHERE(const_memberL2, THREE, DECAYED, notDecayedFirst)
	THREE(MEAN_SQUARE)

block:
	SET_DISTANCE
	THREE(QUOTIENT)
	SUBQ $24, N
	CMPQ N, $24
	JLT  move
	NEXT(GRADIENT)
	WHERE(const_memberScaled, NEXT, SCALED, notScaled)
	WHERE(const_memberClipped, NEXT, CLIPPED, notClipped)
	WHERE(const_memberL2, NEXT, DECAYED, notDecayed)
	NEXT(MEAN_SQUARE)

move:
	THREE(DIRECTION)
	WHERE(const_memberLROutside, THREE, RATED, notRated)
	THREE(PARAMETER)
	WHERE(const_memberDecoupled, THREE, SHRUNK, notShrunk)
	THREE(MOVED)
	ADDQ $96, THETA
	ADDQ $96, GRAD
	ADDQ $96, S
	CMPQ N, $24
	JGE  block

rest:
	TESTQ N, N
	JEQ  done
	CMPQ N, $8
	JLT  few

vector:
	SET_DISTANCE
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaledOne)
	WHERE(const_memberClipped, ONE, CLIPPED, notClippedOne)
	WHERE(const_memberL2, ONE, DECAYED, notDecayedOne)
	ONE(MEAN_SQUARE)
	ONE(QUOTIENT)
	ONE(DIRECTION)
	WHERE(const_memberLROutside, ONE, RATED, notRatedOne)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunkOne)
	ONE(MOVED)
	SUBQ $8, N
	JLT  out
	JEQ  done
	ADDQ $32, THETA
	ADDQ $32, GRAD
	ADDQ $32, S
	CMPQ N, $8
	JGE  vector

few:
	// The last 1 to 7 elements, then zeros, in memory of our own.
	VMOVUPS ZERO, fewTheta-96(SP)
	VMOVUPS ZERO, fewGrad-64(SP)
	VMOVUPS ZERO, fewS-32(SP)
	XORL AX, AX

in:
	MOVL (THETA)(AX*4), R12
	MOVL R12, fewTheta-96(SP)(AX*4)
	MOVL (GRAD)(AX*4), R12
	MOVL R12, fewGrad-64(SP)(AX*4)
	MOVL (S)(AX*4), R12
	MOVL R12, fewS-32(SP)(AX*4)
	INCQ AX
	CMPQ AX, N
	JLT  in
	LEAQ fewTheta-96(SP), THETA
	LEAQ fewGrad-64(SP), GRAD
	LEAQ fewS-32(SP), S
	JMP  vector

out:
	// From there back to where they are, behind the first n - N.
	ADDQ $8, N
	MOVQ n+40(FP), AX
	SUBQ N, AX
	MOVQ theta+0(FP), THETA
	LEAQ (THETA)(AX*4), THETA
	MOVQ s+16(FP), S
	LEAQ (S)(AX*4), S

back:
	DECQ N
	MOVL fewTheta-96(SP)(N*4), R12
	MOVL R12, (THETA)(N*4)
	MOVL fewS-32(SP)(N*4), R12
	MOVL R12, (S)(N*4)
	JNE  back

done:
	VZEROUPPER
	RET

// func updateMomentumAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateMomentumAVX2(SB), 0, $672-68
	ARGUMENTS(wide-672(SP))
	CMPQ N, $24
	JLT  rest
	THREE(GRADIENT)
	WHERE(const_memberScaled, THREE, SCALED, notScaledFirst)
	WHERE(const_memberClipped, THREE, CLIPPED, notClippedFirst)
	WHERE(const_memberL2, THREE, DECAYED, notDecayedFirst)
	THREE(MEAN_SQUARE)

block:
	SET_DISTANCE
	THREE(QUOTIENT)
	SUBQ $24, N
	CMPQ N, $24
	JLT  move
	NEXT(GRADIENT)
	WHERE(const_memberScaled, NEXT, SCALED, notScaled)
	WHERE(const_memberClipped, NEXT, CLIPPED, notClipped)
	WHERE(const_memberL2, NEXT, DECAYED, notDecayed)
	NEXT(MEAN_SQUARE)

move:
	THREE(DIRECTION)
	THREE(MOMENTUM)
	WHERE(const_memberNesterov, THREE, AHEAD, notAhead)
	THREE(FROM_BUFFER)
	WHERE(const_memberLROutside, THREE, RATED, notRated)
	THREE(PARAMETER)
	WHERE(const_memberDecoupled, THREE, SHRUNK, notShrunk)
	THREE(MOVED)
	ADDQ $96, THETA
	ADDQ $96, GRAD
	ADDQ $96, S
	ADDQ $96, B
	CMPQ N, $24
	JGE  block

rest:
	TESTQ N, N
	JEQ  done
	CMPQ N, $8
	JLT  few

vector:
	SET_DISTANCE
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaledOne)
	WHERE(const_memberClipped, ONE, CLIPPED, notClippedOne)
	WHERE(const_memberL2, ONE, DECAYED, notDecayedOne)
	ONE(MEAN_SQUARE)
	ONE(QUOTIENT)
	ONE(DIRECTION)
	ONE(MOMENTUM)
	WHERE(const_memberNesterov, ONE, AHEAD, notAheadOne)
	ONE(FROM_BUFFER)
	WHERE(const_memberLROutside, ONE, RATED, notRatedOne)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunkOne)
	ONE(MOVED)
	SUBQ $8, N
	JLT  out
	JEQ  done
	ADDQ $32, THETA
	ADDQ $32, GRAD
	ADDQ $32, S
	ADDQ $32, B
	CMPQ N, $8
	JGE  vector

few:
	// The last 1 to 7 elements, then zeros, in memory of our own.
	VMOVUPS ZERO, fewTheta-128(SP)
	VMOVUPS ZERO, fewGrad-96(SP)
	VMOVUPS ZERO, fewS-64(SP)
	VMOVUPS ZERO, fewB-32(SP)
	XORL AX, AX

in:
	MOVL (THETA)(AX*4), R12
	MOVL R12, fewTheta-128(SP)(AX*4)
	MOVL (GRAD)(AX*4), R12
	MOVL R12, fewGrad-96(SP)(AX*4)
	MOVL (S)(AX*4), R12
	MOVL R12, fewS-64(SP)(AX*4)
	MOVL (B)(AX*4), R12
	MOVL R12, fewB-32(SP)(AX*4)
	INCQ AX
	CMPQ AX, N
	JLT  in
	LEAQ fewTheta-128(SP), THETA
	LEAQ fewGrad-96(SP), GRAD
	LEAQ fewS-64(SP), S
	LEAQ fewB-32(SP), B
	JMP  vector

out:
	// From there back to where they are, behind the first n - N.
	ADDQ $8, N
	MOVQ n+40(FP), AX
	SUBQ N, AX
	MOVQ theta+0(FP), THETA
	LEAQ (THETA)(AX*4), THETA
	MOVQ s+16(FP), S
	LEAQ (S)(AX*4), S
	MOVQ b+32(FP), B
	LEAQ (B)(AX*4), B

back:
	DECQ N
	MOVL fewTheta-128(SP)(N*4), R12
	MOVL R12, (THETA)(N*4)
	MOVL fewS-64(SP)(N*4), R12
	MOVL R12, (S)(N*4)
	MOVL fewB-32(SP)(N*4), R12
	MOVL R12, (B)(N*4)
	JNE  back

done:
	VZEROUPPER
	RET

// func updateCenteredAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateCenteredAVX2(SB), 0, $672-68
	ARGUMENTS(wide-672(SP))
	CMPQ N, $24
	JLT  rest
	THREE(GRADIENT)
	WHERE(const_memberScaled, THREE, SCALED, notScaledFirst)
	WHERE(const_memberClipped, THREE, CLIPPED, notClippedFirst)
	WHERE(const_memberL2, THREE, DECAYED, notDecayedFirst)
	THREE(MEAN_SQUARE)
	THREE(VARIANCE)

block:
	SET_DISTANCE
	THREE(QUOTIENT)
	SUBQ $24, N
	CMPQ N, $24
	JLT  move
	NEXT(GRADIENT)
	WHERE(const_memberScaled, NEXT, SCALED, notScaled)
	WHERE(const_memberClipped, NEXT, CLIPPED, notClipped)
	WHERE(const_memberL2, NEXT, DECAYED, notDecayed)
	NEXT(MEAN_SQUARE)
	NEXT(VARIANCE)

move:
	THREE(DIRECTION)
	WHERE(const_memberLROutside, THREE, RATED, notRated)
	THREE(PARAMETER)
	WHERE(const_memberDecoupled, THREE, SHRUNK, notShrunk)
	THREE(MOVED)
	ADDQ $96, THETA
	ADDQ $96, GRAD
	ADDQ $96, S
	ADDQ $96, M
	CMPQ N, $24
	JGE  block

rest:
	TESTQ N, N
	JEQ  done
	CMPQ N, $8
	JLT  few

vector:
	SET_DISTANCE
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaledOne)
	WHERE(const_memberClipped, ONE, CLIPPED, notClippedOne)
	WHERE(const_memberL2, ONE, DECAYED, notDecayedOne)
	ONE(MEAN_SQUARE)
	ONE(VARIANCE)
	ONE(QUOTIENT)
	ONE(DIRECTION)
	WHERE(const_memberLROutside, ONE, RATED, notRatedOne)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunkOne)
	ONE(MOVED)
	SUBQ $8, N
	JLT  out
	JEQ  done
	ADDQ $32, THETA
	ADDQ $32, GRAD
	ADDQ $32, S
	ADDQ $32, M
	CMPQ N, $8
	JGE  vector

few:
	// The last 1 to 7 elements, then zeros, in memory of our own.
	VMOVUPS ZERO, fewTheta-128(SP)
	VMOVUPS ZERO, fewGrad-96(SP)
	VMOVUPS ZERO, fewS-64(SP)
	VMOVUPS ZERO, fewM-32(SP)
	XORL AX, AX

in:
	MOVL (THETA)(AX*4), R12
	MOVL R12, fewTheta-128(SP)(AX*4)
	MOVL (GRAD)(AX*4), R12
	MOVL R12, fewGrad-96(SP)(AX*4)
	MOVL (S)(AX*4), R12
	MOVL R12, fewS-64(SP)(AX*4)
	MOVL (M)(AX*4), R12
	MOVL R12, fewM-32(SP)(AX*4)
	INCQ AX
	CMPQ AX, N
	JLT  in
	LEAQ fewTheta-128(SP), THETA
	LEAQ fewGrad-96(SP), GRAD
	LEAQ fewS-64(SP), S
	LEAQ fewM-32(SP), M
	JMP  vector

out:
	// From there back to where they are, behind the first n - N.
	ADDQ $8, N
	MOVQ n+40(FP), AX
	SUBQ N, AX
	MOVQ theta+0(FP), THETA
	LEAQ (THETA)(AX*4), THETA
	MOVQ s+16(FP), S
	LEAQ (S)(AX*4), S
	MOVQ m+24(FP), M
	LEAQ (M)(AX*4), M

back:
	DECQ N
	MOVL fewTheta-128(SP)(N*4), R12
	MOVL R12, (THETA)(N*4)
	MOVL fewS-64(SP)(N*4), R12
	MOVL R12, (S)(N*4)
	MOVL fewM-32(SP)(N*4), R12
	MOVL R12, (M)(N*4)
	JNE  back

done:
	VZEROUPPER
	RET

// func updateCenteredMomentumAVX2(theta, grad, s, m, b *float32, n int, k *memberConstants, options, scaleBits, decayBits uint32)
TEXT ·updateCenteredMomentumAVX2(SB), 0, $704-68
	ARGUMENTS(wide-704(SP))
	CMPQ N, $24
	JLT  rest
	THREE(GRADIENT)
	WHERE(const_memberScaled, THREE, SCALED, notScaledFirst)
	WHERE(const_memberClipped, THREE, CLIPPED, notClippedFirst)
	WHERE(const_memberL2, THREE, DECAYED, notDecayedFirst)
	THREE(MEAN_SQUARE)
	THREE(VARIANCE)

block:
	SET_DISTANCE
	THREE(QUOTIENT)
	SUBQ $24, N
	CMPQ N, $24
	JLT  move
	NEXT(GRADIENT)
	WHERE(const_memberScaled, NEXT, SCALED, notScaled)
	WHERE(const_memberClipped, NEXT, CLIPPED, notClipped)
	WHERE(const_memberL2, NEXT, DECAYED, notDecayed)
	NEXT(MEAN_SQUARE)
	NEXT(VARIANCE)

move:
	THREE(DIRECTION)
	THREE(MOMENTUM)
	WHERE(const_memberNesterov, THREE, AHEAD, notAhead)
	THREE(FROM_BUFFER)
	WHERE(const_memberLROutside, THREE, RATED, notRated)
	THREE(PARAMETER)
	WHERE(const_memberDecoupled, THREE, SHRUNK, notShrunk)
	THREE(MOVED)
	ADDQ $96, THETA
	ADDQ $96, GRAD
	ADDQ $96, S
	ADDQ $96, M
	ADDQ $96, B
	CMPQ N, $24
	JGE  block

rest:
	TESTQ N, N
	JEQ  done
	CMPQ N, $8
	JLT  few

vector:
	SET_DISTANCE
	ONE(GRADIENT)
	WHERE(const_memberScaled, ONE, SCALED, notScaledOne)
	WHERE(const_memberClipped, ONE, CLIPPED, notClippedOne)
	WHERE(const_memberL2, ONE, DECAYED, notDecayedOne)
	ONE(MEAN_SQUARE)
	ONE(VARIANCE)
	ONE(QUOTIENT)
	ONE(DIRECTION)
	ONE(MOMENTUM)
	WHERE(const_memberNesterov, ONE, AHEAD, notAheadOne)
	ONE(FROM_BUFFER)
	WHERE(const_memberLROutside, ONE, RATED, notRatedOne)
	ONE(PARAMETER)
	WHERE(const_memberDecoupled, ONE, SHRUNK, notShrunkOne)
	ONE(MOVED)
	SUBQ $8, N
	JLT  out
	JEQ  done
	ADDQ $32, THETA
	ADDQ $32, GRAD
	ADDQ $32, S
	ADDQ $32, M
	ADDQ $32, B
	CMPQ N, $8
	JGE  vector

few:
	// The last 1 to 7 elements, then zeros, in memory of our own.
	VMOVUPS ZERO, fewTheta-160(SP)
	VMOVUPS ZERO, fewGrad-128(SP)
	VMOVUPS ZERO, fewS-96(SP)
	VMOVUPS ZERO, fewM-64(SP)
	VMOVUPS ZERO, fewB-32(SP)
	XORL AX, AX

in:
	MOVL (THETA)(AX*4), R12
	MOVL R12, fewTheta-160(SP)(AX*4)
	MOVL (GRAD)(AX*4), R12
	MOVL R12, fewGrad-128(SP)(AX*4)
	MOVL (S)(AX*4), R12
	MOVL R12, fewS-96(SP)(AX*4)
	MOVL (M)(AX*4), R12
	MOVL R12, fewM-64(SP)(AX*4)
	MOVL (B)(AX*4), R12
	MOVL R12, fewB-32(SP)(AX*4)
	INCQ AX
	CMPQ AX, N
	JLT  in
	LEAQ fewTheta-160(SP), THETA
	LEAQ fewGrad-128(SP), GRAD
	LEAQ fewS-96(SP), S
	LEAQ fewM-64(SP), M
	LEAQ fewB-32(SP), B
	JMP  vector

out:
	// From there back to where they are, behind the first n - N.
	ADDQ $8, N
	MOVQ n+40(FP), AX
	SUBQ N, AX
	MOVQ theta+0(FP), THETA
	LEAQ (THETA)(AX*4), THETA
	MOVQ s+16(FP), S
	LEAQ (S)(AX*4), S
	MOVQ m+24(FP), M
	LEAQ (M)(AX*4), M
	MOVQ b+32(FP), B
	LEAQ (B)(AX*4), B

back:
	DECQ N
	MOVL fewTheta-160(SP)(N*4), R12
	MOVL R12, (THETA)(N*4)
	MOVL fewS-96(SP)(N*4), R12
	MOVL R12, (S)(N*4)
	MOVL fewM-64(SP)(N*4), R12
	MOVL R12, (M)(N*4)
	MOVL fewB-32(SP)(N*4), R12
	MOVL R12, (B)(N*4)
	JNE  back

done:
	VZEROUPPER
	RET
