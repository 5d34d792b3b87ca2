// The body of a family's AVX-512 kernel: CENTERED and MOMENTUM are WITH or WITHOUT.

	ARGUMENTS
	MOVL params_options(PARAMS), OPTIONS
	CENTERED(LOAD_M)
	MOMENTUM(LOAD_B)
	NUMBERS
	VBROADCASTSS params_epsOutside(PARAMS), EPS_OUTSIDE
	VPXORD ZERO, ZERO, ZERO
	SUBQ $64, N
	JLT  rest

block:
	CMPQ N, STOP
	JLT  near
	PREFETCHES(GRAD)
	PREFETCHES(S)
	CENTERED(PREFETCHES(M))
	MOMENTUM(PREFETCHES(B))
	PREFETCHES(THETA)

near:
	AVERAGE(FOUR, CENTERED, unscaled, unclipped, undecayed)
	ROOTS
	MOVE(FOUR, MOMENTUM, unahead, unrated, unshrunk)
	NEXT(256, GRAD)
	NEXT(256, S)
	CENTERED(NEXT(256, M))
	MOMENTUM(NEXT(256, B))
	NEXT(256, THETA)
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	// 16 elements, or the last 1 to 15
	LANES_LEFT(LANES, whole)
	AVERAGE(ONE, CENTERED, unscaledOne, unclippedOne, undecayedOne)
	ONE(ROOT)
	MOVE(ONE, MOMENTUM, unaheadOne, unratedOne, unshrunkOne)
	NEXT(64, GRAD)
	NEXT(64, S)
	CENTERED(NEXT(64, M))
	MOMENTUM(NEXT(64, B))
	NEXT(64, THETA)
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET
