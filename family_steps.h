// The formula of the family, once for all instruction sets and layouts: the steps
// of familyGeneric in their order. Each instruction set gives words to the steps,
// which EACH takes for every vector of a block; a layout's steps are WITH or
// WITHOUT those of the means of the gradient (CENTERED) and of the momentum
// buffer (MOMENTUM). What else is optional has a branch, once a block, that
// always goes the same way; the labels are those behind the steps left out.

#define WITH(steps) steps
#define WITHOUT(steps)

// ARRAYS: DO(n, array) for each array of the layout
#define ARRAYS(DO, n) \
	DO(n, GRAD)        \
	DO(n, S)           \
	CENTERED(DO(n, M)) \
	MOMENTUM(DO(n, B)) \
	DO(n, THETA)

// AVERAGE: s, and m, follow the gradient. v is what the root is taken of.
#define AVERAGE(EACH, CENTERED, unscaled, unclipped, undecayed, outside) \
	GRADIENT(EACH)                                       \
	WHERE(const_optionScaled, SCALED(EACH), unscaled)    \
	WHERE(const_optionClipped, CLIPPED(EACH), unclipped) \
	WHERE(const_optionL2, DECAYED(EACH), undecayed)      \
	LIVE(EACH)                                           \
	MEAN_SQUARE(EACH)                                    \
	CENTERED(VARIANCE(EACH))                             \
	WHERE(const_optionEpsInside, ADD_INSIDE(EACH), outside)

// MOVE: theta moves by u, or by what u has done to b. v is the root.
#define MOVE(EACH, MOMENTUM, inside, unmasked, unahead, unrated, unshrunk) \
	WHERE(const_optionEpsOutside, ADD_OUTSIDE(EACH), inside)      \
	DIRECTION(EACH)                                               \
	WHERE(const_optionMasked, MASKED(EACH), unmasked)             \
	MOMENTUM(BUFFER(EACH))                                        \
	MOMENTUM(WHERE(const_optionNesterov, AHEAD(EACH), unahead))   \
	MOMENTUM(FROM_BUFFER(EACH))                                   \
	WHERE(const_optionLROutside, RATED(EACH), unrated)            \
	PARAMETER(EACH)                                               \
	WHERE(const_optionDecoupled, SHRUNK(EACH), unshrunk)          \
	MOVED(EACH)
