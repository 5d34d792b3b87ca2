#include "textflag.h"

// The memory traffic of an RMSProp step and nothing else: theta, grad and s are
// loaded, theta and s are stored, one FMA a vector. What this loop reaches is
// the limit for every implementation.
//
//	theta = theta + tiny*g      s = s

#define THETA R0 // the next elements
#define GRAD  R1
#define S     R2
#define N     R3 // elements left

// func trafficNEON(theta, grad, s *float32, n int)
TEXT ·trafficNEON(SB), NOSPLIT, $0-32
	MOVD theta+0(FP), THETA
	MOVD grad+8(FP), GRAD
	MOVD s+16(FP), S
	MOVD n+24(FP), N
	MOVW $0x2b800000, R4 // 2^-40, the constant tiny
	VDUP R4, V31.S4

	SUBS $16, N
	BLT  tail

loop:
	VLD1.P 64(GRAD), [V8.S4, V9.S4, V10.S4, V11.S4]
	VLD1   (S), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1   (THETA), [V0.S4, V1.S4, V2.S4, V3.S4]
	VFMLA  V31.S4, V8.S4, V0.S4
	VFMLA  V31.S4, V9.S4, V1.S4
	VFMLA  V31.S4, V10.S4, V2.S4
	VFMLA  V31.S4, V11.S4, V3.S4
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(S)
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(THETA)
	SUBS   $16, N
	BGE    loop

tail:
	ADDS $16, N
	BEQ  done

element:
	FMOVS.P 4(GRAD), F8
	FMOVS   (S), F4
	FMOVS   (THETA), F0
	FMADDS  F31, F0, F8, F0
	FMOVS.P F4, 4(S)
	FMOVS.P F0, 4(THETA)
	SUBS    $1, N
	BNE     element

done:
	RET
