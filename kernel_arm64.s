//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "kernel_steps.h"

// The NEON kernels: 4 lanes, blocks of four vectors, then one vector at a time. They
// leave the last 0 to 3 elements to their caller. Each step runs for all vectors of a
// block before the next begins. A step gets a vector's offset and registers: g, v and a
// of kernel_steps.h, and a scratch register t. g is 0 if the gradient is dead, and
// only then.
//
// Go checked the arguments: n >= 0, and no two of the arrays overlap.

// Go's assembler lacks these instructions. Each WORD takes registers by number; "go
// generate" makes the bits that are fixed from the comments, with asm2plan9s.
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
#define FCMEQ0(d, n)   WORD $(0x4ea0d800 | (n)<<5 | (d)) // fcmeq v0.4s, v0.4s, #0
#define LD1R(t, n)     WORD $(0x4d40c800 | (n)<<5 | (t)) // ld1r {v0.4s}, [x0]
#define LDR(t, n, at)  WORD $(0x3dc00000 | (at)/16<<10 | (n)<<5 | (t)) // ldr q0, [x0]
#define STR(t, n, at)  WORD $(0x3d800000 | (at)/16<<10 | (n)<<5 | (t)) // str q0, [x0]
#define NEXT(bytes, n)  WORD $(0x91000000 | (bytes)<<10 | (n)<<5 | (n)) // add x0, x0, #0

#define THETA   0 // R0: the next elements of each array
#define GRAD    1
#define S       2
#define M       3
#define B       4
#define N       R5 // the elements left
#define COEFFS  R6 // the call's coefficients
#define CALL    R7
#define OPTIONS R9

#define NUM1       16 // coefficients
#define NUM2       17
#define NUM3       18
#define MIN_ROOT   19 // 2^-63
#define MIN_NORMAL 20 // 2^-126

// ARRAY: the address of an array's first element
#define ARRAY(offset, array) \
	MOVD offset(CALL), array \
	ADD  N<<2, array

#define USE(coefficient, lanes) \
	ADD $coefficient, COEFFS, R8 \
	LD1R(lanes, 8)

// WHERE: steps of an option, skipped if it is off
#define WHERE(option, STEPS, off) \
	TSTW $option, OPTIONS \
	BEQ  off              \
	STEPS                 \
off:

#define FOUR(STEP) \
	STEP(0, 0, 4, 8, 12)   \
	STEP(16, 1, 5, 9, 13)  \
	STEP(32, 2, 6, 10, 14) \
	STEP(48, 3, 7, 11, 15)

#define ONE(STEP) \
	STEP(0, 0, 4, 8, 12)

// KEEP: x = |x| < least ? 0 : x, compared as integers. NaN stays NaN.
#define KEEP(least, x, t) \
	FABS(t, x)        \
	CMGT(t, least, t) \
	BIC(x, x, t)

#define GRADIENT(at, g, v, a, t) \
	LDR(g, GRAD, at)

#define SCALE(at, g, v, a, t) \
	KEEP(NUM1, g, t) \
	FMUL(g, NUM2, g)

// FMIN and FMAX return NaN if g is NaN.
#define CLIP(at, g, v, a, t) \
	FMIN(g, g, NUM1) \
	FMAX(g, g, NUM2)

#define L2(at, g, v, a, t) \
	LDR(a, THETA, at) \
	KEEP(NUM1, a, t)  \
	FMUL(a, NUM2, a)  \
	FADD(g, g, a)

#define LIVE(at, g, v, a, t) \
	KEEP(NUM1, g, t)

// The comparison is false for NaN.
#define MEAN_SQUARE(at, g, v, a, t) \
	LDR(v, S, at)     \
	FCMGE(t, v, NUM1) \
	AND(v, v, t)      \
	FMUL(v, NUM2, v)  \
	FMUL(t, g, g)     \
	FMUL(t, NUM3, t)  \
	FADD(v, v, t)     \
	STR(v, S, at)

#define FIRST_MOMENT(at, g, v, a, t) \
	LDR(a, M, at)    \
	KEEP(NUM1, a, t) \
	FMUL(a, NUM2, a) \
	FMUL(g, NUM3, g) \
	FADD(g, a, g)    \
	STR(g, M, at)    \
	KEEP(MIN_ROOT, g, t)

// MEAN_GRADIENT uses the coefficients of MEAN_SQUARE.
#define MEAN_GRADIENT(at, g, v, a, t) \
	LDR(a, M, at)    \
	KEEP(NUM1, a, t) \
	FMUL(a, NUM2, a) \
	FMUL(t, NUM3, g) \
	FADD(a, a, t)    \
	STR(a, M, at)

// NaN is not below 2^-126.
#define VARIANCE(at, g, v, a, t) \
	KEEP(MIN_ROOT, a, t)    \
	FMUL(a, a, a)           \
	FSUB(v, v, a)           \
	FCMGT(t, MIN_NORMAL, v) \
	BIC(v, v, t)

#define ADD_EPS(at, g, v, a, t) \
	FADD(v, v, NUM1)

#define ROOT(at, g, v, a, t) \
	FSQRT(v, v)

#define ADD_EPS_OUTSIDE(at, g, v, a, t) \
	FADD(v, v, NUM1)

#define DIVIDE(at, g, v, a, t) \
	FDIV(v, NUM1, v)

#define MULTIPLY(at, g, v, a, t) \
	FMUL(v, v, g)

#define MASK(at, g, v, a, t) \
	FCMEQ0(t, g) \
	BIC(v, v, t)

#define BUFFER(at, g, v, a, t) \
	LDR(a, B, at)    \
	KEEP(NUM1, a, t) \
	FMUL(a, NUM2, a) \
	FADD(a, a, v)    \
	STR(a, B, at)

// NESTEROV uses the mu of BUFFER.
#define NESTEROV(at, g, v, a, t) \
	FMUL(a, NUM2, a) \
	FADD(a, a, v)

#define FROM_BUFFER(at, g, v, a, t) \
	AND(v, a, a)

#define FLUSH(at, g, v, a, t) \
	KEEP(NUM1, v, t)

#define RATE(at, g, v, a, t) \
	FMUL(v, NUM1, v)

#define PARAMETER(at, g, v, a, t) \
	LDR(a, THETA, at)

#define DECAY(at, g, v, a, t) \
	FABS(t, a)       \
	CMGT(t, NUM1, t) \
	BIC(t, a, t)     \
	FMUL(t, NUM2, t) \
	FSUB(a, a, t)

#define MOVE(at, g, v, a, t) \
	FSUB(a, a, v) \
	STR(a, THETA, at)

#define ADAM WITHOUT
#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
// func updatePlainNEON(c *call)
TEXT ·updatePlainNEON(SB), NOSPLIT, $0-8
#include "kernel_arm64.h"

#undef MOMENTUM
#define MOMENTUM WITH
// func updateMomentumNEON(c *call)
TEXT ·updateMomentumNEON(SB), NOSPLIT, $0-8
#include "kernel_arm64.h"

#undef CENTERED
#define CENTERED WITH
// func updateCenteredMomentumNEON(c *call)
TEXT ·updateCenteredMomentumNEON(SB), NOSPLIT, $0-8
#include "kernel_arm64.h"

#undef MOMENTUM
#define MOMENTUM WITHOUT
// func updateCenteredNEON(c *call)
TEXT ·updateCenteredNEON(SB), NOSPLIT, $0-8
#include "kernel_arm64.h"

#undef ADAM
#define ADAM WITH
#undef CENTERED
#define CENTERED WITHOUT
// func updateFirstMomentNEON(c *call)
TEXT ·updateFirstMomentNEON(SB), NOSPLIT, $0-8
#include "kernel_arm64.h"
