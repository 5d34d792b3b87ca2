#include "go_asm.h"
#include "textflag.h"

// The memory traffic of a step and nothing else: see traffic.go. FLIP is zero, so
// that what is stored is what was loaded.

#define ARGS  BX // the streams
#define GRAD  SI // the start of each array
#define THETA DI
#define S     DX
#define M     R8 // nil: there is none, nor B
#define B     R9 // nil: there is none
#define AT    AX // bytes behind us
#define AHEAD R10 // what to prefetch
#define END   CX // where to stop

#define KEEP(at, pointer) \
	XOR     (at)(pointer)(AT*1), FLIP, VEC \
	VMOVUPS VEC, (at)(pointer)(AT*1)

// VECTOR is a vector of each array.
#define VECTOR(at, next) \
	VMOVUPS (at)(GRAD)(AT*1), VEC \
	KEEP(at, THETA)               \
	KEEP(at, S)                   \
	TESTQ   M, M                  \
	JEQ     next                  \
	KEEP(at, M)                   \
	TESTQ   B, B                  \
	JEQ     next                  \
	KEEP(at, B)                   \
next:

// FETCH prefetches a cache line of each array.
#define FETCH(at, next) \
	PREFETCHT0 (at)(GRAD)(AHEAD*1)  \
	PREFETCHT0 (at)(THETA)(AHEAD*1) \
	PREFETCHT0 (at)(S)(AHEAD*1)     \
	TESTQ      M, M                 \
	JEQ        next                 \
	PREFETCHT0 (at)(M)(AHEAD*1)     \
	TESTQ      B, B                 \
	JEQ        next                 \
	PREFETCHT0 (at)(B)(AHEAD*1)     \
next:

#define NEXT(bytes, turn) \
	ADDQ $bytes, AT \
	CMPQ AT, END    \
	JLT  turn

// LOOPS is a function after its argument. BYTES are a vector's; FETCH_BOTH
// prefetches what two take.
#define LOOPS \
	MOVQ  streams_read(ARGS), GRAD        \
	MOVQ  (streams_kept+0)(ARGS), THETA   \
	MOVQ  (streams_kept+8)(ARGS), S       \
	MOVQ  (streams_kept+16)(ARGS), M      \
	MOVQ  (streams_kept+24)(ARGS), B      \
	MOVQ  streams_whole(ARGS), END        \
	MOVQ  streams_ahead(ARGS), AHEAD      \
	VBROADCASTSS streams_flip(ARGS), FLIP \
	XORL  AT, AT                          \
	TESTQ AHEAD, AHEAD                    \
	JNE   ahead                           \
	CMPQ  streams_vectors(ARGS), $2       \
	JEQ   two                             \
one:                                      \
	VECTOR(0, oneNext)                    \
	NEXT(BYTES, one)                      \
	JMP   done                            \
two:                                      \
	VECTOR(0, twoMid)                     \
	VECTOR(BYTES, twoNext)                \
	NEXT(2*BYTES, two)                    \
	JMP   done                            \
ahead:                                    \
	CMPQ  streams_vectors(ARGS), $2       \
	JEQ   twoAhead                        \
oneAhead:                                 \
	FETCH(0, oneFetched)                  \
	ADDQ  $BYTES, AHEAD                   \
	VECTOR(0, oneAheadNext)               \
	NEXT(BYTES, oneAhead)                 \
	JMP   done                            \
twoAhead:                                 \
	FETCH_BOTH                            \
	ADDQ  $(2*BYTES), AHEAD               \
	VECTOR(0, twoAheadMid)                \
	VECTOR(BYTES, twoAheadNext)           \
	NEXT(2*BYTES, twoAhead)               \
done:                                     \
	VZEROUPPER                            \
	RET

// Two vectors are a cache line.
#define BYTES      32
#define VEC        Y0
#define FLIP       Y15
#define XOR        VPXOR
#define FETCH_BOTH FETCH(0, twoFetched)

// func trafficAVX2(a *streams)
TEXT ·trafficAVX2(SB), NOSPLIT, $0-8
	MOVQ a+0(FP), ARGS
	LOOPS

#undef BYTES
#undef VEC
#undef FLIP
#undef XOR
#undef FETCH_BOTH

// A vector is a cache line.
#define BYTES      64
#define VEC        Z0
#define FLIP       Z15
#define XOR        VPXORD
#define FETCH_BOTH FETCH(0, twoFetched) FETCH(64, fetchedBoth)

// func trafficAVX512(a *streams)
TEXT ·trafficAVX512(SB), NOSPLIT, $0-8
	MOVQ a+0(FP), ARGS
	LOOPS
