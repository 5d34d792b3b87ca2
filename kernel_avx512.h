// The AVX-512 steps that Update and the family share: 16 lanes, masks in K registers.

#define LR       Z31
#define RHO      Z30
#define C        Z29 // 1 - rho
#define EPS      Z28
#define MIN_GRAD Z27
#define MIN_MEAN Z26
#define MAX_V    Z25 // the greatest float32
#define HALF     Z24
#define ABS      Z23 // all bits but the sign

#define AT_LEAST $0x05 // of integers
#define NOT_LESS $0x15 // or NaN
#define REACHES  $0x1d // and not NaN

#define NUMBERS \
	VBROADCASTSS params_lr(PARAMS), LR            \
	VBROADCASTSS params_rho(PARAMS), RHO          \
	VBROADCASTSS params_c(PARAMS), C              \
	VBROADCASTSS params_eps(PARAMS), EPS          \
	VBROADCASTSS params_minGrad(PARAMS), MIN_GRAD \
	VBROADCASTSS params_minMean(PARAMS), MIN_MEAN \
	VBROADCASTSS ·maxV(SB), MAX_V            \
	VBROADCASTSS ·half(SB), HALF             \
	VBROADCASTSS ·abs(SB), ABS

// LIVE_LANES: live = not |g| < minGrad, compared as integers
#define LIVE_LANES(g, live, t) \
	VPANDD ABS, g, t \
	VPCMPD AT_LEAST, MIN_GRAD, t, live

// MEAN: s = rho*(s >= minMean ? s : 0) + c*(live ? g : 0)²
#define MEAN(g, s, live, keep, t) \
	VCMPPS   REACHES, MIN_MEAN, s, keep \
	VMULPS.Z g, g, live, t              \
	VMULPS.Z RHO, s, keep, s            \
	VMULPS   C, t, t                    \
	VADDPS   t, s, s

// LANES_LEFT: lanes has a bit for each of the next 16 elements that there is.
// Masked loads and stores do not touch the other lanes' memory.
#define LANES_LEFT(lanes, whole) \
	KXNORW lanes, lanes, lanes \
	CMPQ   N, $16              \
	JGE    whole               \
	MOVL   $1, AX              \
	SHLL   CX, AX              \
	DECL   AX                  \
	KMOVW  AX, lanes           \
whole:

// ROOT_ESTIMATE: A = min(v, MAX_V)*y, H = y/2
#define ROOT_ESTIMATE(v, a, h, r) \
	VMINPS     MAX_V, v, a \
	VRSQRT14PS a, h        \
	VMULPS     h, a, a     \
	VMULPS     HALF, h, h

#define ROOT_REFINE(v, a, h, r) \
	ROOT_ITERATE(HALF, a, h, r)

#define ROOT_FINISH(v, a, h, r) \
	ROOT_CORRECT(v, a, h)

// SOFTWARE_ROOTS: v = sqrt(v) of some vectors, step by step
#define SOFTWARE_ROOTS(VECTORS) \
	VECTORS(ROOT_ESTIMATE) \
	VECTORS(ROOT_REFINE)   \
	VECTORS(ROOT_FINISH)

#define LAST_TWO(STEP) \
	STEP(Z6, Z10, Z14, Z18) \
	STEP(Z7, Z11, Z15, Z19)

#define LAST_THREE(STEP) \
	STEP(Z5, Z9, Z13, Z17) \
	LAST_TWO(STEP)

// ROOTS: v = sqrt(v) of a block's four vectors, Z4 to Z7: SOFTWARE of them, which is 0,
// 2 or 3, in software.
#define ROOTS \
	VSQRTPS Z4, Z4       \
	CMPQ    SOFTWARE, $2 \
	JGT     three        \
	VSQRTPS Z5, Z5       \
	JEQ     two          \
	VSQRTPS Z6, Z6       \
	VSQRTPS Z7, Z7       \
	JMP     rooted       \
two: \
	SOFTWARE_ROOTS(LAST_TWO) \
	JMP     rooted       \
three: \
	SOFTWARE_ROOTS(LAST_THREE) \
rooted:
