// The AVX2 steps that Update and the family share: 8 lanes, masks in YMM registers.

#define NOT_EQUAL $0x04 // or NaN
#define NOT_LESS  $0x15 // or NaN
#define REACHES   $0x1d // and not NaN

// KEEP: x = |x| < least ? 0 : x, compared as integers. NaN stays NaN.
#define KEEP(least, x, t) \
	VANDPS   ·abs(SB), x, t \
	VPCMPGTD t, least, t    \
	VANDNPS  x, t, x

// MEAN: s = rho*(s >= minMean ? s : 0) + c*g²
#define MEAN(minMean, rho, c, g, s, t) \
	VCMPPS REACHES, minMean, s, t \
	VANDPS t, s, s   \
	VMULPS rho, s, s \
	VMULPS g, g, t   \
	VMULPS c, t, t   \
	VADDPS t, s, s

// ROOT_SOFTWARE: v = sqrt(v). The estimate has 12 bits, so that Goldschmidt's
// iteration follows twice.
#define ROOT_SOFTWARE(v, a, h, r) \
	VMINPS   ·maxV(SB), v, a \
	VRSQRTPS a, h            \
	VMULPS   h, a, a         \
	VMULPS   ·half(SB), h, h \
	ROOT_ITERATE(·half(SB), a, h, r) \
	ROOT_ITERATE(·half(SB), a, h, r) \
	ROOT_CORRECT(v, a, h)
