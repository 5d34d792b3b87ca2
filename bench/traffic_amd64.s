#include "textflag.h"

// The memory traffic of an RMSProp step and nothing else: theta, grad and s are
// loaded, theta and s are stored, one FMA a vector, and what lies 2 KiB on is
// prefetched, without which memory answers later. What these loops reach is the
// limit for every implementation.
//
//	theta = theta + tiny*g      s = s

#define THETA DI // the next elements
#define GRAD  SI
#define S     DX
#define N     CX // elements left

// PREFETCH is the cache line that lies 2 KiB on from the i-th of the pointers'.
#define PREFETCH(i) \
	PREFETCHT0 (2048+64*i)(THETA) \
	PREFETCHT0 (2048+64*i)(GRAD)  \
	PREFETCHT0 (2048+64*i)(S)

DATA ·tinyBits+0(SB)/4, $0x2b800000 // 2^-40, the constant tiny
GLOBL ·tinyBits(SB), RODATA|NOPTR, $4

// ---- AVX-512: 16 lanes ----

#define TINY Z31

// VECTOR is the i-th vector from the pointers on.
#define VECTOR(i, theta, s) \
	VMOVUPS     (64*i)(S), s               \
	VMOVUPS     (64*i)(THETA), theta       \
	VFMADD231PS (64*i)(GRAD), TINY, theta  \
	VMOVUPS     s, (64*i)(S)               \
	VMOVUPS     theta, (64*i)(THETA)

// func trafficAVX512(theta, grad, s *float32, n int)
TEXT ·trafficAVX512(SB), NOSPLIT, $0-32
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	VBROADCASTSS ·tinyBits(SB), TINY

	SUBQ $64, N
	JLT  tail

loop:
	PREFETCH(0)
	VECTOR(0, Z0, Z4)
	PREFETCH(1)
	VECTOR(1, Z1, Z5)
	PREFETCH(2)
	VECTOR(2, Z2, Z6)
	PREFETCH(3)
	VECTOR(3, Z3, Z7)
	ADDQ $256, THETA
	ADDQ $256, GRAD
	ADDQ $256, S
	SUBQ $64, N
	JGE  loop

tail:
	ADDQ $64, N
	JEQ  done

element:
	VMOVSS      (S), X4
	VMOVSS      (THETA), X0
	VFMADD231SS (GRAD), X31, X0
	VMOVSS      X4, (S)
	VMOVSS      X0, (THETA)
	ADDQ $4, THETA
	ADDQ $4, GRAD
	ADDQ $4, S
	DECQ N
	JNE  element

done:
	VZEROUPPER
	RET

#undef TINY
#undef VECTOR

// ---- AVX2: 8 lanes ----

#define TINY Y15

// VECTOR is the i-th vector from the pointers on.
#define VECTOR(i, theta, s) \
	VMOVUPS     (32*i)(S), s               \
	VMOVUPS     (32*i)(THETA), theta       \
	VFMADD231PS (32*i)(GRAD), TINY, theta  \
	VMOVUPS     s, (32*i)(S)               \
	VMOVUPS     theta, (32*i)(THETA)

// func trafficAVX2(theta, grad, s *float32, n int)
TEXT ·trafficAVX2(SB), NOSPLIT, $0-32
	MOVQ theta+0(FP), THETA
	MOVQ grad+8(FP), GRAD
	MOVQ s+16(FP), S
	MOVQ n+24(FP), N
	VBROADCASTSS ·tinyBits(SB), TINY

	SUBQ $32, N
	JLT  tail

loop:
	PREFETCH(0)
	VECTOR(0, Y0, Y4)
	VECTOR(1, Y1, Y5)
	PREFETCH(1)
	VECTOR(2, Y2, Y6)
	VECTOR(3, Y3, Y7)
	ADDQ $128, THETA
	ADDQ $128, GRAD
	ADDQ $128, S
	SUBQ $32, N
	JGE  loop

tail:
	ADDQ $32, N
	JEQ  done

element:
	VMOVSS      (S), X4
	VMOVSS      (THETA), X0
	VFMADD231SS (GRAD), X15, X0
	VMOVSS      X4, (S)
	VMOVSS      X0, (THETA)
	ADDQ $4, THETA
	ADDQ $4, GRAD
	ADDQ $4, S
	DECQ N
	JNE  element

done:
	VZEROUPPER
	RET
