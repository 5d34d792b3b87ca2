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
	ARRAYS(PREFETCH, 0)
	ARRAYS(PREFETCH, 64)
	ARRAYS(PREFETCH, 128)
	ARRAYS(PREFETCH, 192)

near:
	AVERAGE(FOUR, CENTERED, unscaled, unclipped, undecayed, outside)
	ROOTS
	MOVE(FOUR, MOMENTUM, inside, unmasked, unahead, unrated, unshrunk)
	ARRAYS(NEXT, 256)
	SUBQ $64, N
	JGE  block

rest:
	ADDQ $64, N
	JEQ  done

vector:
	// 16 elements, or the last 1 to 15
	LANES_LEFT(LANES, whole)
	AVERAGE(ONE, CENTERED, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	MOVE(ONE, MOMENTUM, insideOne, unmaskedOne, unaheadOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 64)
	SUBQ $16, N
	JGT  vector

done:
	VZEROUPPER
	RET
