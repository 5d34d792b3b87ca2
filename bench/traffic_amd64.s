#include "go_asm.h"
#include "textflag.h"

// The memory traffic of a step and nothing else; see traffic.go. FLIP is zero, so the loop
// stores what it loaded.

#define ARGS  BX // the streams
#define GRAD  SI // the start of each array
#define THETA DI
#define S     DX
#define M     R8 // nil if there is none; then B is nil
#define B     R9 // nil if there is none
#define AT    AX // the offset in bytes
#define AHEAD R10 // the prefetch distance in bytes
#define END   CX // where to stop

#define FETCH(pointer) \
	PREFETCHT0 (pointer)(AHEAD*1)

#define NO_FETCH(pointer)

// LOOP handles a cache line of each array in an iteration.
#define LOOP(turn, next, FETCH, READ, KEEP) \
turn:               \
	FETCH(GRAD)     \
	FETCH(THETA)    \
	FETCH(S)        \
	READ(GRAD)      \
	KEEP(THETA)     \
	KEEP(S)         \
	TESTQ M, M      \
	JEQ   next      \
	FETCH(M)        \
	KEEP(M)         \
	TESTQ B, B      \
	JEQ   next      \
	FETCH(B)        \
	KEEP(B)         \
next:               \
	ADDQ $64, AT    \
	ADDQ $64, AHEAD \
	CMPQ AT, END    \
	JLT  turn

// LOOPS is the body of a function after it loaded its argument.
#define LOOPS(FLIP, READ, KEEP) \
	MOVQ  streams_read(ARGS), GRAD              \
	MOVQ  (streams_kept+0)(ARGS), THETA         \
	MOVQ  (streams_kept+8)(ARGS), S             \
	MOVQ  (streams_kept+16)(ARGS), M            \
	MOVQ  (streams_kept+24)(ARGS), B            \
	MOVQ  streams_whole(ARGS), END              \
	MOVQ  streams_ahead(ARGS), AHEAD            \
	VBROADCASTSS streams_flip(ARGS), FLIP       \
	XORL  AT, AT                                \
	TESTQ AHEAD, AHEAD                          \
	JNE   ahead                                 \
	LOOP(near, nearNext, NO_FETCH, READ, KEEP)  \
	JMP   done                                  \
ahead:                                          \
	LOOP(far, farNext, FETCH, READ, KEEP)       \
done:                                           \
	VZEROUPPER                                  \
	RET

#define READ_AVX2(pointer) \
	VMOVUPS (pointer)(AT*1), Y0   \
	VMOVUPS 32(pointer)(AT*1), Y1

#define KEEP_AVX2(pointer) \
	VPXOR   (pointer)(AT*1), Y15, Y0   \
	VPXOR   32(pointer)(AT*1), Y15, Y1 \
	VMOVUPS Y0, (pointer)(AT*1)        \
	VMOVUPS Y1, 32(pointer)(AT*1)

// func trafficAVX2(a *streams)
TEXT ·trafficAVX2(SB), NOSPLIT, $0-8
	MOVQ a+0(FP), ARGS
	LOOPS(Y15, READ_AVX2, KEEP_AVX2)

#define READ_AVX512(pointer) \
	VMOVUPS (pointer)(AT*1), Z0

#define KEEP_AVX512(pointer) \
	VPXORD  (pointer)(AT*1), Z15, Z0 \
	VMOVUPS Z0, (pointer)(AT*1)

// func trafficAVX512(a *streams)
TEXT ·trafficAVX512(SB), NOSPLIT, $0-8
	MOVQ a+0(FP), ARGS
	LOOPS(Z15, READ_AVX512, KEEP_AVX512)
