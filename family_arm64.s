//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_arm64.h"

// The family's NEON kernels compute what memberGeneric computes, four elements
// at a time, the last ones one at a time. There is one for each set of arrays, so
// that none is read or written in vain. What else is optional has a branch in
// each, which always goes the same way; of the two eps, both are added, one
// being 0.
//
// Subnormal m and b count as zero. Other subnormal numbers are left as they
// are: Arm's CPUs are not slow on them, as Intel's are.
//
// The registers are, beside those of kernel_arm64.h:
//
//	V5 v, then d, then u   V6 m   V7 b
//	V22 epsOutside   V23 scale   V24 decay   V25 mu   V26 lrOutside   V27 lrDecay
//	V28 the exponent's bits   V29 0   V30 clip
//
// V16 holds the numerator: lr, or 1 where lr stays outside the momentum buffer.
// Go checked the arguments: n > 0, and no two of the arrays overlap.

#define M       R5 // the next elements
#define B       R6
#define OPTIONS R7

#define BROADCAST(offset, register) \
	ADD   $offset, K, R8 \
	VLD1R (R8), [register]

#define ARGUMENTS \
	MOVD theta+0(FP), THETA      \
	MOVD grad+8(FP), GRAD        \
	MOVD s+16(FP), S             \
	MOVD m+24(FP), M             \
	MOVD b+32(FP), B             \
	MOVD n+40(FP), N             \
	MOVD k+48(FP), K             \
	MOVW options+56(FP), OPTIONS \
	BROADCAST(memberConstants_numerator, V16.S4)  \
	BROADCAST(memberConstants_rho, V17.S4)        \
	BROADCAST(memberConstants_c, V18.S4)          \
	BROADCAST(memberConstants_eps, V19.S4)        \
	BROADCAST(memberConstants_epsOutside, V22.S4) \
	BROADCAST(memberConstants_scale, V23.S4)      \
	BROADCAST(memberConstants_decay, V24.S4)      \
	BROADCAST(memberConstants_mu, V25.S4)         \
	BROADCAST(memberConstants_lrOutside, V26.S4)  \
	BROADCAST(memberConstants_lrDecay, V27.S4)    \
	BROADCAST(memberConstants_clip, V30.S4)       \
	MOVW $0x60000000, R8 \
	VDUP R8, V20.S4      \
	MOVW $0x00800000, R8 \
	VDUP R8, V21.S4      \
	MOVW $0x7f800000, R8 \
	VDUP R8, V28.S4      \
	VEOR V29.B16, V29.B16, V29.B16

// WHERE: a step that only some options take, else nothing up to the label off
#define WHERE(option, STEP, off) \
	TSTW $option, OPTIONS \
	BEQ  off              \
	STEP                  \
off:

// SCALED: g = scale*g
#define SCALED \
	WORD $0x6e21dee1 // fmul v1.4s, v23.4s, v1.4s

// CLIPPED: g = max(min(g, clip), -clip), which is NaN if g is
#define CLIPPED \
	WORD $0x4ebef421 \ // fmin v1.4s, v1.4s, v30.4s
	WORD $0x4ebed7a4 \ // fsub v4.4s, v29.4s, v30.4s
	WORD $0x4e24f421   // fmax v1.4s, v1.4s, v4.4s

// DECAYED: g = g + decay*theta
#define DECAYED \
	WORD $0x6e20df04 \ // fmul v4.4s, v24.4s, v0.4s
	WORD $0x4e24d421   // fadd v1.4s, v1.4s, v4.4s

// VARIANCE: m = rho*(|m| < 2^-126 ? 0 : m) + c*g, v = max(s - m*m, 0), which
// is NaN if s - m*m is; d = sqrt(v + eps)
#define VARIANCE \
	VCMTST V28.S4, V6.S4, V4.S4 \
	VAND   V4.B16, V6.B16, V6.B16 \
	WORD $0x6e26de26 \ // fmul v6.4s, v17.4s, v6.4s
	WORD $0x6e21de44 \ // fmul v4.4s, v18.4s, v1.4s
	WORD $0x4e24d4c6 \ // fadd v6.4s, v6.4s, v4.4s
	WORD $0x6e26dcc4 \ // fmul v4.4s, v6.4s, v6.4s
	WORD $0x4ea4d445 \ // fsub v5.4s, v2.4s, v4.4s
	WORD $0x4e3df4a5 \ // fmax v5.4s, v5.4s, v29.4s
	WORD $0x4e33d4a5 \ // fadd v5.4s, v5.4s, v19.4s
	WORD $0x6ea1f8a5   // fsqrt v5.4s, v5.4s

// OUTSIDE: d = d + epsOutside
#define OUTSIDE \
	WORD $0x4e36d4a5 // fadd v5.4s, v5.4s, v22.4s

// MOMENTUM: b = mu*(|b| < 2^-126 ? 0 : b) + u, v4 = b
#define MOMENTUM \
	VCMTST V28.S4, V7.S4, V4.S4   \
	VAND   V4.B16, V7.B16, V7.B16 \
	WORD $0x6e27df27 \ // fmul v7.4s, v25.4s, v7.4s
	WORD $0x4e25d4e7 \ // fadd v7.4s, v7.4s, v5.4s
	VORR V7.B16, V7.B16, V4.B16

// AHEAD: v4 = mu*b + u
#define AHEAD \
	WORD $0x6e27df24 \ // fmul v4.4s, v25.4s, v7.4s
	WORD $0x4e25d484   // fadd v4.4s, v4.4s, v5.4s

// FROM_BUFFER: u = v4
#define FROM_BUFFER \
	VORR V4.B16, V4.B16, V5.B16

// RATED: u = lrOutside*u
#define RATED \
	WORD $0x6e25df45 // fmul v5.4s, v26.4s, v5.4s

// SHRUNK: theta = theta - lrDecay*theta
#define SHRUNK \
	WORD $0x6e20df64 \ // fmul v4.4s, v27.4s, v0.4s
	WORD $0x4ea4d400   // fsub v0.4s, v0.4s, v4.4s

// func updatePlainNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)
TEXT ·updatePlainNEON(SB), NOSPLIT, $0-60
	ARGUMENTS

vector:
	CMP $4, N
	BLT element
	VLD1.P 16(GRAD), [V1.S4]
	VLD1 (THETA), [V0.S4]
	VLD1 (S), [V2.S4]

step:
	WHERE(const_memberScaled, SCALED, notScaled)
	WHERE(const_memberClipped, CLIPPED, notClipped)
	WHERE(const_memberL2, DECAYED, notDecayed)
	LIVE
	MEAN
	ROOT
	OUTSIDE
	U
	WHERE(const_memberLROutside, RATED, notRated)
	WHERE(const_memberDecoupled, SHRUNK, notShrunk)
	MOVED

	CMP $4, N
	BLT one
	VST1.P [V0.S4], 16(THETA)
	VST1.P [V2.S4], 16(S)
	SUBS $4, N
	BGT  vector
	RET

element:
	// The last 1 to 3 elements: one lane each, the others are zero.
	FMOVS.P 4(GRAD), F1
	FMOVS (THETA), F0
	FMOVS (S), F2
	JMP step

one:
	FMOVS.P F0, 4(THETA)
	FMOVS.P F2, 4(S)
	SUBS $1, N
	BGT  element
	RET

// func updateMomentumNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)
TEXT ·updateMomentumNEON(SB), NOSPLIT, $0-60
	ARGUMENTS

vector:
	CMP $4, N
	BLT element
	VLD1.P 16(GRAD), [V1.S4]
	VLD1 (THETA), [V0.S4]
	VLD1 (S), [V2.S4]
	VLD1 (B), [V7.S4]

step:
	WHERE(const_memberScaled, SCALED, notScaled)
	WHERE(const_memberClipped, CLIPPED, notClipped)
	WHERE(const_memberL2, DECAYED, notDecayed)
	LIVE
	MEAN
	ROOT
	OUTSIDE
	U
	MOMENTUM
	WHERE(const_memberNesterov, AHEAD, notAhead)
	FROM_BUFFER
	WHERE(const_memberLROutside, RATED, notRated)
	WHERE(const_memberDecoupled, SHRUNK, notShrunk)
	MOVED

	CMP $4, N
	BLT one
	VST1.P [V0.S4], 16(THETA)
	VST1.P [V2.S4], 16(S)
	VST1.P [V7.S4], 16(B)
	SUBS $4, N
	BGT  vector
	RET

element:
	// The last 1 to 3 elements: one lane each, the others are zero.
	FMOVS.P 4(GRAD), F1
	FMOVS (THETA), F0
	FMOVS (S), F2
	FMOVS (B), F7
	JMP step

one:
	FMOVS.P F0, 4(THETA)
	FMOVS.P F2, 4(S)
	FMOVS.P F7, 4(B)
	SUBS $1, N
	BGT  element
	RET

// func updateCenteredNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)
TEXT ·updateCenteredNEON(SB), NOSPLIT, $0-60
	ARGUMENTS

vector:
	CMP $4, N
	BLT element
	VLD1.P 16(GRAD), [V1.S4]
	VLD1 (THETA), [V0.S4]
	VLD1 (S), [V2.S4]
	VLD1 (M), [V6.S4]

step:
	WHERE(const_memberScaled, SCALED, notScaled)
	WHERE(const_memberClipped, CLIPPED, notClipped)
	WHERE(const_memberL2, DECAYED, notDecayed)
	LIVE
	MEAN
	VARIANCE
	OUTSIDE
	U
	WHERE(const_memberLROutside, RATED, notRated)
	WHERE(const_memberDecoupled, SHRUNK, notShrunk)
	MOVED

	CMP $4, N
	BLT one
	VST1.P [V0.S4], 16(THETA)
	VST1.P [V2.S4], 16(S)
	VST1.P [V6.S4], 16(M)
	SUBS $4, N
	BGT  vector
	RET

element:
	// The last 1 to 3 elements: one lane each, the others are zero.
	FMOVS.P 4(GRAD), F1
	FMOVS (THETA), F0
	FMOVS (S), F2
	FMOVS (M), F6
	JMP step

one:
	FMOVS.P F0, 4(THETA)
	FMOVS.P F2, 4(S)
	FMOVS.P F6, 4(M)
	SUBS $1, N
	BGT  element
	RET

// func updateCenteredMomentumNEON(theta, grad, s, m, b *float32, n int, k *memberConstants, options uint32)
TEXT ·updateCenteredMomentumNEON(SB), NOSPLIT, $0-60
	ARGUMENTS

vector:
	CMP $4, N
	BLT element
	VLD1.P 16(GRAD), [V1.S4]
	VLD1 (THETA), [V0.S4]
	VLD1 (S), [V2.S4]
	VLD1 (M), [V6.S4]
	VLD1 (B), [V7.S4]

step:
	WHERE(const_memberScaled, SCALED, notScaled)
	WHERE(const_memberClipped, CLIPPED, notClipped)
	WHERE(const_memberL2, DECAYED, notDecayed)
	LIVE
	MEAN
	VARIANCE
	OUTSIDE
	U
	MOMENTUM
	WHERE(const_memberNesterov, AHEAD, notAhead)
	FROM_BUFFER
	WHERE(const_memberLROutside, RATED, notRated)
	WHERE(const_memberDecoupled, SHRUNK, notShrunk)
	MOVED

	CMP $4, N
	BLT one
	VST1.P [V0.S4], 16(THETA)
	VST1.P [V2.S4], 16(S)
	VST1.P [V6.S4], 16(M)
	VST1.P [V7.S4], 16(B)
	SUBS $4, N
	BGT  vector
	RET

element:
	// The last 1 to 3 elements: one lane each, the others are zero.
	FMOVS.P 4(GRAD), F1
	FMOVS (THETA), F0
	FMOVS (S), F2
	FMOVS (M), F6
	FMOVS (B), F7
	JMP step

one:
	FMOVS.P F0, 4(THETA)
	FMOVS.P F2, 4(S)
	FMOVS.P F6, 4(M)
	FMOVS.P F7, 4(B)
	SUBS $1, N
	BGT  element
	RET
