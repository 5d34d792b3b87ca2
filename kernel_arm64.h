// What the NEON kernels share: their registers, the instructions that Go's
// assembler lacks, and the steps of Update and the family.
//
// Go's assembler lacks the vector instructions of floating point. These WORDs take
// registers by number; what is fixed in their bits "go generate" makes from the
// comments with asm2plan9s.

#define FADD(d, n, m)  WORD $(0x4e20d400 | (m)<<16 | (n)<<5 | (d)) // fadd v0.4s, v0.4s, v0.4s
#define FSUB(d, n, m)  WORD $(0x4ea0d400 | (m)<<16 | (n)<<5 | (d)) // fsub v0.4s, v0.4s, v0.4s
#define FMUL(d, n, m)  WORD $(0x6e20dc00 | (m)<<16 | (n)<<5 | (d)) // fmul v0.4s, v0.4s, v0.4s
#define FDIV(d, n, m)  WORD $(0x6e20fc00 | (m)<<16 | (n)<<5 | (d)) // fdiv v0.4s, v0.4s, v0.4s
#define FMIN(d, n, m)  WORD $(0x4ea0f400 | (m)<<16 | (n)<<5 | (d)) // fmin v0.4s, v0.4s, v0.4s
#define FMAX(d, n, m)  WORD $(0x4e20f400 | (m)<<16 | (n)<<5 | (d)) // fmax v0.4s, v0.4s, v0.4s
#define FCMGE(d, n, m) WORD $(0x6e20e400 | (m)<<16 | (n)<<5 | (d)) // fcmge v0.4s, v0.4s, v0.4s
#define FCMGT(d, n, m) WORD $(0x6ea0e400 | (m)<<16 | (n)<<5 | (d)) // fcmgt v0.4s, v0.4s, v0.4s
#define CMGT(d, n, m)  WORD $(0x4ea03400 | (m)<<16 | (n)<<5 | (d)) // cmgt v0.4s, v0.4s, v0.4s
#define AND(d, n, m)   WORD $(0x4e201c00 | (m)<<16 | (n)<<5 | (d)) // and v0.16b, v0.16b, v0.16b
#define BIC(d, n, m)   WORD $(0x4e601c00 | (m)<<16 | (n)<<5 | (d)) // bic v0.16b, v0.16b, v0.16b
#define FSQRT(d, n)    WORD $(0x6ea1f800 | (n)<<5 | (d)) // fsqrt v0.4s, v0.4s
#define FABS(d, n)     WORD $(0x4ea0f800 | (n)<<5 | (d)) // fabs v0.4s, v0.4s
#define FNEG(d, n)     WORD $(0x6ea0f800 | (n)<<5 | (d)) // fneg v0.4s, v0.4s
#define FCMEQ0(d, n)   WORD $(0x4ea0d800 | (n)<<5 | (d)) // fcmeq v0.4s, v0.4s, #0
#define LDR(t, n, at)  WORD $(0x3dc00000 | (at)/16<<10 | (n)<<5 | (t)) // ldr q0, [x0]
#define STR(t, n, at)  WORD $(0x3d800000 | (at)/16<<10 | (n)<<5 | (t)) // str q0, [x0]
#define NEXT(bytes, n)  WORD $(0x91000000 | (bytes)<<10 | (n)<<5 | (n)) // add x0, x0, #0

#define THETA  0 // R0: the next elements
#define GRAD   1
#define S      2
#define M      3
#define B      4
#define N      R5 // elements left
#define PARAMS R6 // the params
#define CALL   R7

#define ARGUMENTS \
	MOVD call_p(CALL), PARAMS  \
	MOVD call_theta(CALL), R0  \
	MOVD call_grad(CALL), R1   \
	MOVD call_s(CALL), R2      \
	MOVD call_n(CALL), N

// NUMBER: a number of the params in all lanes of a vector
#define NUMBER(offset, lanes) \
	ADD   $offset, PARAMS, R8 \
	VLD1R (R8), [lanes]

// FOUR: a step of the block's four vectors
#define FOUR(STEP) \
	STEP(0, 0, 4, 8, 12)  \
	STEP(16, 1, 5, 9, 13) \
	STEP(32, 2, 6, 10, 14) \
	STEP(48, 3, 7, 11, 15)

#define ONE(STEP) \
	STEP(0, 0, 4, 8, 12)

// KEEP: x = |x| < least ? 0 : x, compared as integers. NaN stays NaN.
#define KEEP(least, x, t) \
	FABS(t, x)        \
	CMGT(t, least, t) \
	BIC(x, x, t)

// MEAN: s = rho*(s >= minMean ? s : 0) + c*g². The comparison is false for NaN.
#define MEAN(minMean, rho, c, g, s, t) \
	FCMGE(t, s, minMean) \
	AND(s, s, t)         \
	FMUL(s, rho, s)      \
	FMUL(t, g, g)        \
	FMUL(t, c, t)        \
	FADD(s, s, t)
