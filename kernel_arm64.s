//go:build gc && !purego

#include "textflag.h"

// The kernel computes what updateGeneric computes, four lanes at a time:
//
//	live = |g| >= 2^-63 or NaN      s = s < 2^-126 ? 0 : s
//	s' = rho*s + c*g²               theta' = theta - (live ? lr/sqrt(s'+eps) * g : 0)
//
// Each operation rounds once and none are fused. Where a lane is dead the step
// is +0, which leaves every theta as it is, -0 included.
//
// Go's assembler lacks the vector instructions of floating point, so they are
// WORDs, whose bytes "go generate" makes from the comments with asm2plan9s.
// They cannot take a register's name, so the registers are these throughout:
//
//	V0 theta   V1 g   V2 s   V3 live   V4 scratch   V5 d, then the step
//	V16 lr   V17 rho   V18 c = 1 - rho   V19 eps   V20 the bits of LIVE   V21 2^-126

// LIVE: live = g has one of the exponent bits of 2^-63 and above, of infinities
// and NaN; g = live ? g : 0
#define LIVE \
	VCMTST V20.S4, V1.S4, V3.S4 \
	VAND   V3.B16, V1.B16, V1.B16

// MEAN: s = rho*(2^-126 > s ? 0 : s) + c*g². The comparison is false for NaN.
#define MEAN \
	WORD $0x6ea2e6a4 \ // fcmgt v4.4s, v21.4s, v2.4s
	WORD $0x4e641c42 \ // bic v2.16b, v2.16b, v4.16b
	WORD $0x6e22de22 \ // fmul v2.4s, v17.4s, v2.4s
	WORD $0x6e21dc24 \ // fmul v4.4s, v1.4s, v1.4s
	WORD $0x6e24de44 \ // fmul v4.4s, v18.4s, v4.4s
	WORD $0x4e24d442   // fadd v2.4s, v2.4s, v4.4s

// ROOT: d = sqrt(s + eps)
#define ROOT \
	WORD $0x4e33d445 \ // fadd v5.4s, v2.4s, v19.4s
	WORD $0x6ea1f8a5   // fsqrt v5.4s, v5.4s

// STEP: theta = theta - (live ? lr/d * g : 0)
#define STEP \
	WORD $0x6e25fe05              \ // fdiv v5.4s, v16.4s, v5.4s
	WORD $0x6e21dca5              \ // fmul v5.4s, v5.4s, v1.4s
	VAND V3.B16, V5.B16, V5.B16   \
	WORD $0x4ea5d400                // fsub v0.4s, v0.4s, v5.4s

// func updateNEON(theta, grad, s *float32, n int, k *constants)
TEXT ·updateNEON(SB), NOSPLIT, $0-40
#define THETA R0 // the next elements
#define GRAD  R1
#define S     R2
#define N     R3 // elements left
#define K     R4
	MOVD theta+0(FP), THETA
	MOVD grad+8(FP), GRAD
	MOVD s+16(FP), S
	MOVD n+24(FP), N
	MOVD k+32(FP), K

	VLD1R.P 4(K), [V16.S4]
	VLD1R.P 4(K), [V17.S4]
	VLD1R.P 4(K), [V18.S4]
	VLD1R   (K), [V19.S4]
	MOVW    $0x60000000, R5
	VDUP    R5, V20.S4
	MOVW    $0x00800000, R5
	VDUP    R5, V21.S4

	SUBS $4, N
	BLT  tail

loop:
	VLD1.P 16(GRAD), [V1.S4]
	VLD1   (S), [V2.S4]
	VLD1   (THETA), [V0.S4]
	LIVE
	MEAN
	ROOT
	STEP
	VST1.P [V2.S4], 16(S)
	VST1.P [V0.S4], 16(THETA)
	SUBS   $4, N
	BGE    loop

tail:
	// N + 4 elements are left, 0 to 3: one lane each, the others are zero.
	ADDS $4, N
	BEQ  done

element:
	FMOVS.P 4(GRAD), F1
	FMOVS   (S), F2
	FMOVS   (THETA), F0
	LIVE
	MEAN
	ROOT
	STEP
	FMOVS.P F2, 4(S)
	FMOVS.P F0, 4(THETA)
	SUBS    $1, N
	BNE     element

done:
	RET
