#include "textflag.h"

// The memory traffic of an RMSProp step and nothing else: theta, grad, s and,
// where there are any, m and b are loaded, all but grad are stored, one FMA a
// vector. What these loops reach is the limit for every implementation.
//
//	theta = theta + tiny*g      s = s      m = m      b = b

#define THETA R0 // the next elements
#define GRAD  R1
#define S     R2
#define N     R3 // elements left
#define M     R5
#define B     R6

// VECTORS is 16 elements of each slice, in a loop of 3, 4 or 5, and moves the
// pointers on.
#define VECTORS3 \
	VLD1.P 64(GRAD), [V8.S4, V9.S4, V10.S4, V11.S4]  \
	VLD1   (S), [V4.S4, V5.S4, V6.S4, V7.S4]         \
	VLD1   (THETA), [V0.S4, V1.S4, V2.S4, V3.S4]     \
	VFMLA  V31.S4, V8.S4, V0.S4                      \
	VFMLA  V31.S4, V9.S4, V1.S4                      \
	VFMLA  V31.S4, V10.S4, V2.S4                     \
	VFMLA  V31.S4, V11.S4, V3.S4                     \
	VST1.P [V4.S4, V5.S4, V6.S4, V7.S4], 64(S)       \
	VST1.P [V0.S4, V1.S4, V2.S4, V3.S4], 64(THETA)

#define VECTORS4 \
	VECTORS3                                         \
	VLD1   (M), [V16.S4, V17.S4, V18.S4, V19.S4]     \
	VST1.P [V16.S4, V17.S4, V18.S4, V19.S4], 64(M)

#define VECTORS5 \
	VECTORS4                                         \
	VLD1   (B), [V20.S4, V21.S4, V22.S4, V23.S4]     \
	VST1.P [V20.S4, V21.S4, V22.S4, V23.S4], 64(B)

// ELEMENT is one element of each, where less is left.
#define ELEMENT3 \
	FMOVS.P 4(GRAD), F8     \
	FMOVS   (S), F4         \
	FMOVS   (THETA), F0     \
	FMADDS  F31, F0, F8, F0 \
	FMOVS.P F4, 4(S)        \
	FMOVS.P F0, 4(THETA)

#define ELEMENT4 \
	ELEMENT3                \
	FMOVS   (M), F16        \
	FMOVS.P F16, 4(M)

#define ELEMENT5 \
	ELEMENT4                \
	FMOVS   (B), F20        \
	FMOVS.P F20, 4(B)

// PASS is all of a function after its arguments.
#define PASS(VECTORS, ELEMENT) \
	MOVW $0x2b800000, R4 \ // 2^-40, the constant tiny
	VDUP R4, V31.S4      \
	SUBS $16, N          \
	BLT  tail            \
loop:                    \
	VECTORS              \
	SUBS $16, N          \
	BGE  loop            \
tail:                    \
	ADDS $16, N          \
	BEQ  done            \
element:                 \
	ELEMENT              \
	SUBS $1, N           \
	BNE  element         \
done:                    \
	RET

// func traffic3NEON(theta, grad, s *float32, n int)
TEXT ·traffic3NEON(SB), NOSPLIT, $0-32
	MOVD theta+0(FP), THETA
	MOVD grad+8(FP), GRAD
	MOVD s+16(FP), S
	MOVD n+24(FP), N
	PASS(VECTORS3, ELEMENT3)

// func traffic4NEON(theta, grad, s, m *float32, n int)
TEXT ·traffic4NEON(SB), NOSPLIT, $0-40
	MOVD theta+0(FP), THETA
	MOVD grad+8(FP), GRAD
	MOVD s+16(FP), S
	MOVD m+24(FP), M
	MOVD n+32(FP), N
	PASS(VECTORS4, ELEMENT4)

// func traffic5NEON(theta, grad, s, m, b *float32, n int)
TEXT ·traffic5NEON(SB), NOSPLIT, $0-48
	MOVD theta+0(FP), THETA
	MOVD grad+8(FP), GRAD
	MOVD s+16(FP), S
	MOVD m+24(FP), M
	MOVD b+32(FP), B
	MOVD n+40(FP), N
	PASS(VECTORS5, ELEMENT5)
