//go:build gc && !purego

#include "textflag.h"

// SumSquares in NEON. The 16 lanes are V0 (0 and 1) to V7 (14 and 15).

#define LANES R0
#define X     R1 // the next elements
#define N     R2 // the elements left

// func addSquaresNEON(lanes *[16]float64, x *float32, n int)
TEXT ·addSquaresNEON(SB), NOSPLIT, $0-24
	MOVD lanes+0(FP), LANES
	MOVD x+8(FP), X
	MOVD n+16(FP), N
	MOVD LANES, R3
	VLD1.P 64(R3), [V0.D2, V1.D2, V2.D2, V3.D2]
	VLD1   (R3), [V4.D2, V5.D2, V6.D2, V7.D2]

loop:
	VLD1.P 64(X), [V16.S4, V17.S4, V18.S4, V19.S4]
	WORD $0x0e617a14 // fcvtl v20.2d, v16.2s
	WORD $0x4e617a15 // fcvtl2 v21.2d, v16.4s
	WORD $0x0e617a36 // fcvtl v22.2d, v17.2s
	WORD $0x4e617a37 // fcvtl2 v23.2d, v17.4s
	WORD $0x0e617a58 // fcvtl v24.2d, v18.2s
	WORD $0x4e617a59 // fcvtl2 v25.2d, v18.4s
	WORD $0x0e617a7a // fcvtl v26.2d, v19.2s
	WORD $0x4e617a7b // fcvtl2 v27.2d, v19.4s
	VFMLA  V20.D2, V20.D2, V0.D2
	VFMLA  V21.D2, V21.D2, V1.D2
	VFMLA  V22.D2, V22.D2, V2.D2
	VFMLA  V23.D2, V23.D2, V3.D2
	VFMLA  V24.D2, V24.D2, V4.D2
	VFMLA  V25.D2, V25.D2, V5.D2
	VFMLA  V26.D2, V26.D2, V6.D2
	VFMLA  V27.D2, V27.D2, V7.D2
	SUBS   $16, N
	BNE    loop

	VST1.P [V0.D2, V1.D2, V2.D2, V3.D2], 64(LANES)
	VST1   [V4.D2, V5.D2, V6.D2, V7.D2], (LANES)
	RET
