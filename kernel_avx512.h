// The AVX-512 steps of the arithmetic: 16 lanes, masks in K registers.

#define LR        Z31
#define RHO       Z30
#define C         Z29 // 1 - rho
#define EPS       Z28
#define LIVE_BITS Z27
#define MIN_S     Z26
#define MAX_V     Z25
#define HALF      Z24

// LIVE: live = g has one of the exponent bits of 2^-63 and above, of infinities
// and NaN.
#define LIVE(g, live) \
	VPTESTMD LIVE_BITS, g, live

// MEAN: s = rho*(s < 2^-126 ? 0 : s) + c*(live ? g : 0)². The comparison is
// "not less than", which holds for NaN.
#define MEAN(g, s, live, keep, gg) \
	VCMPPS   $0x15, MIN_S, s, keep \
	VMULPS.Z g, g, live, gg        \
	VMULPS.Z RHO, s, keep, s       \
	VMULPS   C, gg, gg             \
	VADDPS   gg, s, s

// ROOT_ESTIMATE: A = min(v, MAX_V)*y, H = y/2
#define ROOT_ESTIMATE(v, a, h) \
	VMINPS     MAX_V, v, a \
	VRSQRT14PS a, h        \
	VMULPS     h, a, a     \
	VMULPS     HALF, h, h

// U: d = live ? lr/d * g : 0, the way that theta goes
#define U(g, live, d) \
	VDIVPS   d, LR, d \
	VMULPS.Z g, d, live, d

// STEP: theta = theta - (live ? lr/d * g : 0)
#define STEP(theta, g, live, d) \
	U(g, live, d) \
	VSUBPS d, theta, theta
