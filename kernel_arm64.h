// The NEON steps of the arithmetic: four lanes.
//
// Go's assembler lacks the vector instructions of floating point, so they are
// WORDs, whose bytes "go generate" makes from the comments with asm2plan9s.
// They cannot take a register's name, so the registers are these throughout:
//
//	V0 theta   V1 g   V2 s   V3 live   V4 scratch   V5 d, then u
//	V16 lr   V17 rho   V18 c = 1 - rho   V19 eps   V20 the bits of LIVE   V21 2^-126

#define THETA R0 // the next elements
#define GRAD  R1
#define S     R2
#define N     R3 // elements left
#define K     R4

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

// U: u = live ? lr/d * g : 0, the way that theta goes
#define U \
	WORD $0x6e25fe05 \ // fdiv v5.4s, v16.4s, v5.4s
	WORD $0x6e21dca5 \ // fmul v5.4s, v5.4s, v1.4s
	VAND V3.B16, V5.B16, V5.B16

// MOVED: theta = theta - u
#define MOVED \
	WORD $0x4ea5d400 // fsub v0.4s, v0.4s, v5.4s
