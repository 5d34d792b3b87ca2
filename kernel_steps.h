// The formula of a step, once for all instruction sets and layouts: the steps of
// updateGeneric in their order. An instruction set defines each step as a macro over
// the registers of one vector:
//
//	g  the gradient
//	v  the mean square, then the root, the quotient and the update
//	a  the element of another array: m, b, at last theta
//
// EACH applies a step to every vector of a block. A layout runs its steps WITH or
// WITHOUT those of the first moment (ADAM), of the variance (CENTERED) and of the momentum
// buffer (MOMENTUM).
// WHERE skips the steps of an option that is off: one branch a block, which always goes
// the same way, to the label given last. USE loads a coefficient into a register for the
// steps after it, in the instruction sets that have too few registers to hold them all.

#define WITH(steps) steps
#define WITHOUT(steps)

// ARRAYS: DO(n, array) for each array of the layout
#define ARRAYS(DO, n) \
	DO(n, GRAD)        \
	DO(n, S)           \
	ADAM(DO(n, M))     \
	CENTERED(DO(n, M)) \
	MOMENTUM(DO(n, B)) \
	DO(n, THETA)

// MEANS: updates the means; v is then the radicand.
#define MEANS(EACH, unscaled, unclipped, undecayed, outside) \
	EACH(GRADIENT) \ // g = grad
	WHERE(const_optionScaled, USE(coeffs_minScaled, NUM1); USE(coeffs_scale, NUM2); EACH(SCALE), unscaled) \ // g = scale*(|g| < minScaled ? 0 : g)
	WHERE(const_optionClipped, USE(coeffs_clip, NUM1); USE(coeffs_negClip, NUM2); EACH(CLIP), unclipped) \ // g = max(min(g, clip), -clip)
	WHERE(const_optionL2, USE(coeffs_minDecay, NUM1); USE(coeffs_decay, NUM2); EACH(L2), undecayed) \ // g = g + decay*(|theta| < minDecay ? 0 : theta)
	USE(coeffs_minGrad, NUM1)     \
	EACH(LIVE)                    \ // g = |g| < minGrad ? 0 : g
	USE(coeffs_minMean, NUM1)     \
	USE(coeffs_rho, NUM2)         \
	USE(coeffs_c, NUM3)           \
	EACH(MEAN_SQUARE)             \ // s = rho*(s >= minMean ? s : 0) + c*g², v = s
	ADAM(USE(coeffs_minFirst, NUM1); USE(coeffs_first, NUM2); USE(coeffs_cFirst, NUM3); EACH(FIRST_MOMENT)) \ // m = first*(|m| < minFirst ? 0 : m) + cFirst*g, g = |m| < 2^-63 ? 0 : m
	CENTERED(EACH(MEAN_GRADIENT)) \ // m = rho*(|m| < minMean ? 0 : m) + c*g, a = m
	CENTERED(EACH(VARIANCE))      \ // v = s - (|m| < 2^-63 ? 0 : m)², or 0 if that is below 2^-126
	WHERE(const_optionEpsInside, USE(coeffs_eps, NUM1); EACH(ADD_EPS), outside) // v = v + eps

// QUOTIENT: v is the root and becomes lr over the root.
#define QUOTIENT(EACH, inside) \
	WHERE(const_optionEpsOutside, USE(coeffs_epsOutside, NUM1); EACH(ADD_EPS_OUTSIDE), inside) \ // v = v + epsOutside
	USE(coeffs_lr, NUM1) \
	EACH(DIVIDE)           // v = lr/v

// PARAMETERS: moves theta by the gradient times that quotient.
#define PARAMETERS(EACH, unmasked, unlooked, unrated, unshrunk) \
	EACH(MULTIPLY) \ // v = v*g
	WHERE(const_optionMasked, EACH(MASK), unmasked) \ // v = g = 0 ? 0 : v
	MOMENTUM(USE(coeffs_minBuffer, NUM1); USE(coeffs_mu, NUM2); EACH(BUFFER)) \ // b = mu*(|b| < minBuffer ? 0 : b) + v, a = b
	MOMENTUM(WHERE(const_optionNesterov, EACH(NESTEROV), unlooked)) \ // a = mu*b + v
	MOMENTUM(EACH(FROM_BUFFER)) \ // v = a
	WHERE(const_optionLROutside, MOMENTUM(USE(coeffs_minUpdate, NUM1); EACH(FLUSH)); USE(coeffs_lrOutside, NUM1); EACH(RATE), unrated) \ // v = lr*(|v| < minUpdate ? 0 : v)
	EACH(PARAMETER) \ // a = theta
	WHERE(const_optionDecoupled, USE(coeffs_minTheta, NUM1); USE(coeffs_lrDecay, NUM2); EACH(DECAY), unshrunk) \ // a = a - lrDecay*(|a| < minTheta ? 0 : a)
	EACH(MOVE)        // theta = a - v
