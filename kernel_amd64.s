//go:build gc && !purego

#include "go_asm.h"
#include "textflag.h"
#include "registers_amd64.h"
#include "kernel_steps.h"

// The AVX2 kernels: 8 lanes, blocks of four or two vectors, then one vector at a time.
// They leave the last 0 to 7 elements to their caller. Each step runs for all vectors of
// a block before the next begins. A step gets a vector's offset and registers: g, v and a
// of kernel_steps.h. g is 0 if the gradient is dead, and only then.
//
// Go checked the arguments: n >= 0, and no two of the arrays overlap.

#define FOUR(STEP) \
	STEP(0, Y0, Y4, Y8)   \
	STEP(32, Y1, Y5, Y9)  \
	STEP(64, Y2, Y6, Y10) \
	STEP(96, Y3, Y7, Y11)

#define PAIR(STEP) \
	STEP(0, Y0, Y4, Y8)  \
	STEP(32, Y1, Y5, Y9)

#define ONE(STEP) \
	STEP(0, Y0, Y4, Y8)

#define T    Y12 // scratch
#define NUM1 Y13 // coefficients
#define NUM2 Y14
#define NUM3 Y15

#define USE(coefficient, lanes) \
	VBROADCASTSS coefficient(COEFFS), lanes

// The float32s and masks that the kernels read from memory, as wide as a YMM register
#define WORDS8(name, bits) \
	DATA name+0(SB)/4, bits \
	DATA name+4(SB)/4, bits \
	DATA name+8(SB)/4, bits \
	DATA name+12(SB)/4, bits \
	DATA name+16(SB)/4, bits \
	DATA name+20(SB)/4, bits \
	DATA name+24(SB)/4, bits \
	DATA name+28(SB)/4, bits \
	GLOBL name(SB), RODATA|NOPTR, $32

WORDS8(·abs, $0x7fffffff)       // all bits but the sign
WORDS8(·maxV, $0x7f7fffff)      // the greatest float32
WORDS8(·half, $0x3f000000)      // 1/2
WORDS8(·minNormal, $0x00800000) // 2^-126
WORDS8(·belowRoot, $0x1fffffff) // the float32 below 2^-63

// KEEP: x = |x| < least ? 0 : x, compared as integers. NaN stays NaN.
#define KEEP(least, x) \
	VANDPS   ·abs(SB), x, T \
	VPCMPGTD T, least, T    \
	VANDNPS  x, T, x

#define GRADIENT(at, g, v, a) \
	VMOVUPS at(GRAD), g

#define SCALE(at, g, v, a) \
	KEEP(NUM1, g)   \
	VMULPS NUM2, g, g

// VMINPS and VMAXPS return their first operand here, g, if that is NaN.
#define CLIP(at, g, v, a) \
	VMINPS g, NUM1, g \
	VMAXPS g, NUM2, g

#define L2(at, g, v, a) \
	VMOVUPS at(THETA), a \
	KEEP(NUM1, a)        \
	VMULPS  NUM2, a, a   \
	VADDPS  a, g, g

#define LIVE(at, g, v, a) \
	KEEP(NUM1, g)

#define MEAN_SQUARE(at, g, v, a) \
	VMOVUPS at(S), v             \
	VCMPPS  REACHES, NUM1, v, T  \
	VANDPS  T, v, v              \
	VMULPS  NUM2, v, v           \
	VMULPS  g, g, T              \
	VMULPS  NUM3, T, T           \
	VADDPS  T, v, v              \
	VMOVUPS v, at(S)

#define FIRST_MOMENT(at, g, v, a) \
	VMOVUPS  at(M), a             \
	KEEP(NUM1, a)                 \
	VMULPS   NUM2, a, a           \
	VMULPS   NUM3, g, g           \
	VADDPS   g, a, g              \
	VMOVUPS  g, at(M)             \
	VANDPS   ·abs(SB), g, T       \
	VPCMPGTD ·belowRoot(SB), T, T \
	VANDPS   T, g, g

// MEAN_GRADIENT uses the coefficients of MEAN_SQUARE.
#define MEAN_GRADIENT(at, g, v, a) \
	VMOVUPS at(M), a   \
	KEEP(NUM1, a)      \
	VMULPS  NUM2, a, a \
	VMULPS  NUM3, g, T \
	VADDPS  T, a, a    \
	VMOVUPS a, at(M)

#define VARIANCE(at, g, v, a) \
	VANDPS   ·abs(SB), a, T       \
	VPCMPGTD ·belowRoot(SB), T, T \
	VANDPS   T, a, a              \
	VMULPS   a, a, a              \
	VSUBPS   a, v, v              \
	VCMPPS   NOT_LESS, ·minNormal(SB), v, T \
	VANDPS   T, v, v

#define ADD_EPS(at, g, v, a) \
	VADDPS NUM1, v, v

#define ROOT(at, g, v, a) \
	VSQRTPS v, v

// ROOT_SOFTWARE: v = sqrt(v), from an estimate y of 1/sqrt(v): A = v*y, H = y/2, then at the
// end D = v - A*A, v = A + D*H. The estimate has 12 bits, so the iteration runs twice. If v
// is infinite, the first A is that of the greatest float32: A and H stay finite, D becomes
// infinite, and so does the root.
#define ROOT_SOFTWARE(v, a, h, r) \
	VMINPS   ·maxV(SB), v, a \
	VRSQRTPS a, h            \
	VMULPS   h, a, a         \
	VMULPS   ·half(SB), h, h \
	ROOT_ITERATE(·half(SB), a, h, r) \
	ROOT_ITERATE(·half(SB), a, h, r) \
	VFNMADD231PS a, a, v \
	VFMADD213PS  a, h, v

#define ADD_EPS_OUTSIDE(at, g, v, a) \
	VADDPS NUM1, v, v

#define DIVIDE(at, g, v, a) \
	VDIVPS v, NUM1, v

#define MULTIPLY(at, g, v, a) \
	VMULPS g, v, v

#define MASK(at, g, v, a) \
	VXORPS T, T, T           \
	VCMPPS NOT_EQUAL, T, g, T \
	VANDPS T, v, v

#define BUFFER(at, g, v, a) \
	VMOVUPS at(B), a   \
	KEEP(NUM1, a)      \
	VMULPS  NUM2, a, a \
	VADDPS  v, a, a    \
	VMOVUPS a, at(B)

// NESTEROV uses the mu of BUFFER.
#define NESTEROV(at, g, v, a) \
	VMULPS NUM2, a, a \
	VADDPS v, a, a

#define FROM_BUFFER(at, g, v, a) \
	VMOVAPS a, v

#define FLUSH(at, g, v, a) \
	KEEP(NUM1, v)

#define RATE(at, g, v, a) \
	VMULPS NUM1, v, v

#define PARAMETER(at, g, v, a) \
	VMOVUPS at(THETA), a

#define DECAY(at, g, v, a) \
	VANDPS   ·abs(SB), a, T \
	VPCMPGTD T, NUM1, T     \
	VANDNPS  a, T, T        \
	VMULPS   NUM2, T, T     \
	VSUBPS   T, a, a

#define MOVE(at, g, v, a) \
	VSUBPS  v, a, a \
	VMOVUPS a, at(THETA)

#define ADAM WITHOUT
#define CENTERED WITHOUT
#define MOMENTUM WITHOUT
// func updatePlainAVX2(c *call)
TEXT ·updatePlainAVX2(SB), NOSPLIT, $0-8
#include "kernel_amd64.h"

#undef MOMENTUM
#define MOMENTUM WITH
// func updateMomentumAVX2(c *call)
TEXT ·updateMomentumAVX2(SB), NOSPLIT, $0-8
#include "kernel_amd64.h"

#undef CENTERED
#define CENTERED WITH
// func updateCenteredMomentumAVX2(c *call)
TEXT ·updateCenteredMomentumAVX2(SB), NOSPLIT, $0-8
#include "kernel_amd64.h"

#undef MOMENTUM
#define MOMENTUM WITHOUT
// func updateCenteredAVX2(c *call)
TEXT ·updateCenteredAVX2(SB), NOSPLIT, $0-8
#include "kernel_amd64.h"

#undef ADAM
#define ADAM WITH
#undef CENTERED
#define CENTERED WITHOUT
// func updateFirstMomentAVX2(c *call)
TEXT ·updateFirstMomentAVX2(SB), NOSPLIT, $0-8
#include "kernel_amd64.h"
