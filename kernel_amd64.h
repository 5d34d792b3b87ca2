// Registers that every kernel of this architecture uses alike, and what is the
// same for both vector widths.

#define CALL     AX
#define PARAMS   BX // the params
#define THETA    DI // the next elements
#define GRAD     SI
#define S        DX
#define M        R8
#define B        R9
#define N        CX // elements left
#define OPTIONS  R10
#define SOFTWARE R11 // of four vectors' roots, how many are taken in software
#define STOP     R12 // nothing is prefetched where fewer elements are left than these
#define DISTANCE R13 // the bytes from an element to what is prefetched meanwhile

#define ARGUMENTS \
	MOVQ call_p(CALL), PARAMS         \
	MOVQ call_theta(CALL), THETA       \
	MOVQ call_grad(CALL), GRAD         \
	MOVQ call_s(CALL), S               \
	MOVQ call_n(CALL), N               \
	MOVQ call_software(CALL), SOFTWARE \
	MOVQ call_stop(CALL), STOP         \
	MOVQ call_ahead(CALL), DISTANCE

// Those that only some layouts have.
#define LOAD_M MOVQ call_m(CALL), M
#define LOAD_B MOVQ call_b(CALL), B

// NEXT: an array's next elements
#define NEXT(bytes, array) \
	ADDQ $bytes, array

#define PREFETCH(at, array) \
	PREFETCHT0 at(array)(DISTANCE*1)

// The square root of v in software, from an estimate y of 1/sqrt(v) that makes
// A = v*y and H = y/2: see kernel_amd64.s.

// ROOT_ITERATE: R = 1/2 - A*H, A += A*R, H += H*R
#define ROOT_ITERATE(half, a, h, r) \
	VMOVAPS      half, r \
	VFNMADD231PS a, h, r \
	VFMADD213PS  a, r, a \
	VFMADD213PS  h, r, h

// ROOT_CORRECT: D = v - A*A, v = A + D*H
#define ROOT_CORRECT(v, a, h) \
	VFNMADD231PS a, a, v \
	VFMADD213PS  a, h, v
