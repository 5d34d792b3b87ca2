#include "go_asm.h"
#include "textflag.h"

// The memory traffic of a step and nothing else: see traffic.go. V15 is zero, so
// that what is stored is what was loaded.

#define ARGS  R4 // the streams
#define GRAD  R0 // the next elements
#define THETA R1
#define S     R2
#define M     R5 // nil: there is none, nor B
#define B     R6 // nil: there is none
#define LEFT  R3 // bytes
#define AHEAD R7

#define KEEP_ONE(pointer) \
	VLD1   (pointer), [V0.B16, V1.B16]   \
	VEOR   V15.B16, V0.B16, V0.B16       \
	VEOR   V15.B16, V1.B16, V1.B16       \
	VST1.P [V0.B16, V1.B16], 32(pointer)

#define KEEP_TWO(pointer) \
	VLD1   (pointer), [V0.B16, V1.B16, V2.B16, V3.B16]   \
	VEOR   V15.B16, V0.B16, V0.B16                       \
	VEOR   V15.B16, V1.B16, V1.B16                       \
	VEOR   V15.B16, V2.B16, V2.B16                       \
	VEOR   V15.B16, V3.B16, V3.B16                       \
	VST1.P [V0.B16, V1.B16, V2.B16, V3.B16], 64(pointer)

#define READ_ONE \
	VLD1.P 32(GRAD), [V4.B16, V5.B16]

#define READ_TWO \
	VLD1.P 64(GRAD), [V4.B16, V5.B16, V6.B16, V7.B16]

#define FETCH(pointer, at) \
	PRFM (at)(pointer), PLDL1KEEP

#define NO_FETCH(pointer, at)

// LOOP takes 32 or 64 bytes of each array in a turn, and then returns.
#define LOOP(bytes, turn, next, FETCH, at, READ, KEEP) \
turn:                 \
	FETCH(GRAD, at)   \
	FETCH(THETA, at)  \
	FETCH(S, at)      \
	READ              \
	KEEP(THETA)       \
	KEEP(S)           \
	CBZ  M, next      \
	FETCH(M, at)      \
	KEEP(M)           \
	CBZ  B, next      \
	FETCH(B, at)      \
	KEEP(B)           \
next:                 \
	SUBS $bytes, LEFT \
	BGT  turn         \
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
	MOVD  streams_vectors(ARGS), R8
	CMP   $2, R8
	BEQ   pair

	// PRFM takes a distance in the instruction alone, so that each has a loop.
	CMP $256, AHEAD
	BEQ oneNear
	BGT oneFar
	LOOP(32, one, oneNext, NO_FETCH, 0, READ_ONE, KEEP_ONE)
	LOOP(32, oneNear, oneNearNext, FETCH, 256, READ_ONE, KEEP_ONE)
	LOOP(32, oneFar, oneFarNext, FETCH, 2048, READ_ONE, KEEP_ONE)

pair:
	CMP $256, AHEAD
	BEQ twoNear
	BGT twoFar
	LOOP(64, two, twoNext, NO_FETCH, 0, READ_TWO, KEEP_TWO)
	LOOP(64, twoNear, twoNearNext, FETCH, 256, READ_TWO, KEEP_TWO)
	LOOP(64, twoFar, twoFarNext, FETCH, 2048, READ_TWO, KEEP_TWO)
