//go:build gc && !purego

#include "textflag.h"
#include "go_asm.h"

// The kernel computes what sumSquaresGeneric computes, of a slice's first block.
// The 16 lanes are V0 (0 and 1) to V7 (14 and 15).

#define X    R0 // the next elements
#define N    R1 // elements left in the block
#define REST R2 // the last elements, on the stack

// func sumSquaresNEON(x *float32, n int) float64
TEXT ·sumSquaresNEON(SB), NOSPLIT, $64-24
	MOVD x+0(FP), X
	MOVD n+8(FP), N

	VEOR V0.B16, V0.B16, V0.B16
	VEOR V1.B16, V1.B16, V1.B16
	VEOR V2.B16, V2.B16, V2.B16
	VEOR V3.B16, V3.B16, V3.B16
	VEOR V4.B16, V4.B16, V4.B16
	VEOR V5.B16, V5.B16, V5.B16
	VEOR V6.B16, V6.B16, V6.B16
	VEOR V7.B16, V7.B16, V7.B16

	MOVD $const_normBlock, R3
	CMP  R3, N
	CSEL GT, R3, N, N
	SUBS $16, N
	BLT  tail

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
	BGE    loop

tail:
	// N + 16 elements are left, 0 to 15: they are copied to the stack, before
	// zeros, whose squares change no sum.
	ADDS $16, N
	BEQ  done
	VEOR V16.B16, V16.B16, V16.B16
	VEOR V17.B16, V17.B16, V17.B16
	VEOR V18.B16, V18.B16, V18.B16
	VEOR V19.B16, V19.B16, V19.B16
	MOVD $rest-64(SP), REST
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (REST)

element:
	SUBS $1, N
	MOVW (X)(N<<2), R3
	MOVW R3, (REST)(N<<2)
	BNE  element
	MOVD REST, X
	B    loop

done:
	// Lanes j and j+8, then j+4, j+2, j+1.
	WORD $0x4e64d400 // fadd v0.2d, v0.2d, v4.2d
	WORD $0x4e65d421 // fadd v1.2d, v1.2d, v5.2d
	WORD $0x4e66d442 // fadd v2.2d, v2.2d, v6.2d
	WORD $0x4e67d463 // fadd v3.2d, v3.2d, v7.2d
	WORD $0x4e62d400 // fadd v0.2d, v0.2d, v2.2d
	WORD $0x4e63d421 // fadd v1.2d, v1.2d, v3.2d
	WORD $0x4e61d400 // fadd v0.2d, v0.2d, v1.2d
	WORD $0x7e70d800 // faddp d0, v0.2d
	FMOVD F0, ret+16(FP)
	RET
