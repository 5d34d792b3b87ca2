// What the kernels of AVX2 and AVX-512 have in common: registers, and the iteration for
// a square root in software.

#define CALL     AX
#define COEFFS   BX // the call's coefficients
#define THETA    DI // the next elements of each array
#define GRAD     SI
#define S        DX
#define M        R8
#define B        R9
#define N        CX // the elements left
#define OPTIONS  R10
#define ROOTS    R11 // how many of a block's vectors compute their root in software
#define STOP     R12 // prefetching stops when fewer elements than this are left
#define DISTANCE R13 // the prefetch distance in bytes

// ARRAY: the address of an array's first element
#define ARRAY(offset, array) \
	MOVQ offset(CALL), array \
	LEAQ (array)(N*4), array

#define ARGUMENTS \
	MOVQ call_coeffs(CALL), COEFFS      \
	MOVQ call_at(CALL), N              \
	ARRAY(call_theta, THETA)           \
	ARRAY(call_grad, GRAD)             \
	ARRAY(call_s, S)                   \
	ADAM(ARRAY(call_m, M))             \
	CENTERED(ARRAY(call_m, M))         \
	MOMENTUM(ARRAY(call_b, B))         \
	MOVQ call_n(CALL), N               \
	MOVQ call_roots(CALL), ROOTS       \
	MOVQ call_stop(CALL), STOP         \
	MOVQ call_ahead(CALL), DISTANCE    \
	MOVL coeffs_options(COEFFS), OPTIONS

// NEXT: an array's next elements
#define NEXT(bytes, array) \
	ADDQ $bytes, array

#define PREFETCH(at, array) \
	PREFETCHT0 at(array)(DISTANCE*1)

// WHERE: steps of an option, skipped if it is off
#define WHERE(option, STEPS, off) \
	TESTL $option, OPTIONS \
	JEQ   off              \
	STEPS                  \
off:

// The predicates of compares
#define AT_LEAST  $0x05 // of integers
#define NOT_EQUAL $0x04 // or NaN
#define NOT_LESS  $0x15 // or NaN
#define REACHES   $0x1d // and not NaN

// ROOT_ITERATE: R = 1/2 - A*H, A = A + A*R, H = H + H*R. It is Goldschmidt's iteration for
// A near sqrt(v) and H near 1/(2*sqrt(v)), all operations fused. DESIGN.md says which roots
// it gives exactly.
#define ROOT_ITERATE(half, a, h, r) \
	VMOVAPS      half, r \
	VFNMADD231PS a, h, r \
	VFMADD213PS  a, r, a \
	VFMADD213PS  h, r, h
