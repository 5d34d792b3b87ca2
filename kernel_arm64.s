//go:build gc && !purego

#include "textflag.h"
#include "kernel_arm64.h"

// The kernel computes what updateGeneric computes, four lanes at a time:
//
//	live = |g| >= 2^-63 or NaN      s = s < 2^-126 ? 0 : s
//	s' = rho*s + c*g²               theta' = theta - (live ? lr/sqrt(s'+eps) * g : 0)
//
// Each operation rounds once and none are fused. Where a lane is dead the step
// is +0, which leaves every theta as it is, -0 included.

// func updateNEON(theta, grad, s *float32, n int, k *constants)
TEXT ·updateNEON(SB), NOSPLIT, $0-40
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
	U
	MOVED
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
	U
	MOVED
	FMOVS.P F2, 4(S)
	FMOVS.P F0, 4(THETA)
	SUBS    $1, N
	BNE     element

done:
	RET
