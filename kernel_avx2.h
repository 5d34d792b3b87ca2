// The AVX2 steps of the arithmetic: 8 lanes, masks in YMM registers. ZERO,
// LIVE_BITS, MIN_S, RHO and C may be registers or memory.

// LIVE: dead = g has none of the exponent bits of 2^-63 and above, of
// infinities and NaN; g = dead ? 0 : g
#define LIVE(g, dead) \
	VPAND    LIVE_BITS, g, dead \
	VPCMPEQD ZERO, dead, dead   \
	VANDNPS  g, dead, g

// MEAN: s = rho*(s < 2^-126 ? 0 : s) + c*g². The comparison is "not less
// than", which holds for NaN.
#define MEAN(g, s, gg) \
	VCMPPS $0x15, MIN_S, s, gg \
	VANDPS gg, s, s  \
	VMULPS RHO, s, s \
	VMULPS g, g, gg  \
	VMULPS C, gg, gg \
	VADDPS gg, s, s
