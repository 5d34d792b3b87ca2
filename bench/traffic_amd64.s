#include "textflag.h"

// The memory traffic of an RMSProp step and nothing else: theta, grad, s and,
// where there are any, m and b are loaded, all but grad are stored, one FMA a
// vector, and what lies 2 KiB on is prefetched, without which memory answers
// later. What these loops reach is the limit for every implementation.
//
//	theta = theta + tiny*g      s = s      m = m      b = b

#define THETA DI // the next elements
#define GRAD  SI
#define S     DX
#define M     R8
#define B     R9
#define N     CX // elements left

DATA ·tinyBits+0(SB)/4, $0x2b800000 // 2^-40, the constant tiny
GLOBL ·tinyBits(SB), RODATA|NOPTR, $4

// ON moves the pointers on, in a loop of 3, 4 or 5 slices.
#define ON3(bytes) \
	ADDQ $bytes, THETA \
	ADDQ $bytes, GRAD  \
	ADDQ $bytes, S

#define ON4(bytes) \
	ON3(bytes)     \
	ADDQ $bytes, M

#define ON5(bytes) \
	ON4(bytes)     \
	ADDQ $bytes, B

#define DISTANCE R13 // bytes to what is prefetched: 2 KiB, near the end 0

// PREFETCH is the cache line DISTANCE on from the one at the pointer.
#define PREFETCH(at, pointer) \
	PREFETCHT0 (at)(pointer)(DISTANCE*1)

#define PREFETCH3(at) \
	PREFETCH(at, THETA) \
	PREFETCH(at, GRAD)  \
	PREFETCH(at, S)

// VECTOR moves a vector of theta and keeps one of s.
#define VECTOR(at, theta, s, tiny) \
	VMOVUPS     (at)(S), s              \
	VMOVUPS     (at)(THETA), theta      \
	VFMADD231PS (at)(GRAD), tiny, theta \
	VMOVUPS     s, (at)(S)              \
	VMOVUPS     theta, (at)(THETA)

#define KEEP(at, pointer, x) \
	VMOVUPS (at)(pointer), x \
	VMOVUPS x, (at)(pointer)

// ELEMENT is one element, where less than a vector is left.
#define ELEMENT3 \
	VMOVSS      (S), X1       \
	VMOVSS      (THETA), X0   \
	VFMADD231SS (GRAD), X15, X0 \
	VMOVSS      X1, (S)       \
	VMOVSS      X0, (THETA)

#define ELEMENT4 \
	ELEMENT3        \
	VMOVSS (M), X2  \
	VMOVSS X2, (M)

#define ELEMENT5 \
	ELEMENT4        \
	VMOVSS (B), X3  \
	VMOVSS X3, (B)

// PASS is all of a function after its arguments. LINE takes a cache line of
// each slice.
#define PASS(LINE, ELEMENT, ON) \
	SUBQ $64, N  \
	JLT  tail    \
loop:            \
	XORL  DISTANCE, DISTANCE \
	CMPQ  N, $512            \
	SETGE DISTANCE           \
	SHLL  $11, DISTANCE      \
	LINE(0)      \
	LINE(64)     \
	LINE(128)    \
	LINE(192)    \
	ON(256)      \
	SUBQ $64, N  \
	JGE  loop    \
tail:            \
	ADDQ $64, N  \
	JEQ  done    \
element:         \
	ELEMENT      \
	ON(4)        \
	DECQ N       \
	JNE  element \
done:            \
	VZEROUPPER   \
	RET

// ---- AVX-512: a line is a vector ----

#define LINE3(at) \
	PREFETCH3(at) \
	VECTOR(at, Z0, Z1, Z15)

#define LINE4(at) \
	PREFETCH(at, M)  \
	LINE3(at)        \
	KEEP(at, M, Z2)

#define LINE5(at) \
	PREFETCH(at, B)  \
	LINE4(at)        \
	KEEP(at, B, Z3)

// func traffic3AVX512(theta, grad, s *float32, n int)
TEXT ·traffic3AVX512(SB), NOSPLIT, $0-32
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	VBROADCASTSS ·tinyBits(SB), Z15
	PASS(LINE3, ELEMENT3, ON3)

// func traffic4AVX512(theta, grad, s, m *float32, n int)
TEXT ·traffic4AVX512(SB), NOSPLIT, $0-40
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ m+24(FP), M
	MOVQ n+32(FP), N
	VBROADCASTSS ·tinyBits(SB), Z15
	PASS(LINE4, ELEMENT4, ON4)

// func traffic5AVX512(theta, grad, s, m, b *float32, n int)
TEXT ·traffic5AVX512(SB), NOSPLIT, $0-48
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ m+24(FP), M
	MOVQ b+32(FP), B
	MOVQ n+40(FP), N
	VBROADCASTSS ·tinyBits(SB), Z15
	PASS(LINE5, ELEMENT5, ON5)

#undef LINE3
#undef LINE4
#undef LINE5

// ---- AVX2: a line is two vectors ----

#define LINE3(at) \
	PREFETCH3(at) \
	VECTOR(at, Y0, Y1, Y15) \
	VECTOR(at+32, Y4, Y5, Y15)

#define LINE4(at) \
	PREFETCH(at, M)    \
	LINE3(at)          \
	KEEP(at, M, Y2)    \
	KEEP(at+32, M, Y6)

#define LINE5(at) \
	PREFETCH(at, B)    \
	LINE4(at)          \
	KEEP(at, B, Y3)    \
	KEEP(at+32, B, Y7)

// func traffic3AVX2(theta, grad, s *float32, n int)
TEXT ·traffic3AVX2(SB), NOSPLIT, $0-32
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	VBROADCASTSS ·tinyBits(SB), Y15
	PASS(LINE3, ELEMENT3, ON3)

// func traffic4AVX2(theta, grad, s, m *float32, n int)
TEXT ·traffic4AVX2(SB), NOSPLIT, $0-40
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ m+24(FP), M
	MOVQ n+32(FP), N
	VBROADCASTSS ·tinyBits(SB), Y15
	PASS(LINE4, ELEMENT4, ON4)

// func traffic5AVX2(theta, grad, s, m, b *float32, n int)
TEXT ·traffic5AVX2(SB), NOSPLIT, $0-48
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ m+24(FP), M
	MOVQ b+32(FP), B
	MOVQ n+40(FP), N
	VBROADCASTSS ·tinyBits(SB), Y15
	PASS(LINE5, ELEMENT5, ON5)
