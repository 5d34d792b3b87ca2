#include "go_asm.h"
#include "textflag.h"

// The memory traffic of a step and nothing else; see traffic.go. V15 is zero, so the loop
// stores what it loaded.

#define ARGS  R4 // the streams
#define GRAD  R0 // the next elements
#define THETA R1
#define S     R2
#define M     R5 // nil if there is none; then B is nil
#define B     R6 // nil if there is none
#define LEFT  R3 // bytes
#define AHEAD R7 // the prefetch distance in bytes

#define FETCH(pointer) \
	ADD  AHEAD, pointer, R8 \
	PRFM (R8), PLDL1KEEP

#define NO_FETCH(pointer)

#define KEEP(pointer) \
	VLD1   (pointer), [V0.B16, V1.B16, V2.B16, V3.B16]   \
	VEOR   V15.B16, V0.B16, V0.B16                       \
	VEOR   V15.B16, V1.B16, V1.B16                       \
	VEOR   V15.B16, V2.B16, V2.B16                       \
	VEOR   V15.B16, V3.B16, V3.B16                       \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(pointer)

// LOOP handles 64 bytes of each array in an iteration. It returns at the end.
#define LOOP(turn, next, FETCH) \
turn:                                                 \
	FETCH(GRAD)                                       \
	FETCH(THETA)                                      \
	FETCH(S)                                          \
	VLD1.P 64(GRAD), [V4.B16, V5.B16, V6.B16, V7.B16] \
	KEEP(THETA)                                       \
	KEEP(S)                                           \
	CBZ    M, next                                    \
	FETCH(M)                                          \
	KEEP(M)                                           \
	CBZ    B, next                                    \
	FETCH(B)                                          \
	KEEP(B)                                           \
next:                                                 \
	SUBS $64, LEFT                                    \
	BGT  turn                                         \
	RET

// func trafficNEON(a *streams)
TEXT ·trafficNEON(SB), NOSPLIT, $0-8
	MOVD  a+0(FP), ARGS
	MOVD  streams_read(ARGS), GRAD
	MOVD  (streams_kept+0)(ARGS), THETA
	MOVD  (streams_kept+8)(ARGS), S
	MOVD  (streams_kept+16)(ARGS), M
	MOVD  (streams_kept+24)(ARGS), B
	MOVD  streams_whole(ARGS), LEFT
	MOVD  streams_ahead(ARGS), AHEAD
	MOVWU streams_flip(ARGS), R8
	VDUP  R8, V15.S4
	CBNZ  AHEAD, far
	LOOP(near, nearNext, NO_FETCH)
	LOOP(far, farNext, FETCH)
