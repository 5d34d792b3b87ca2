// The body of a family's AVX2 kernel: CENTERED and MOMENTUM are WITH or WITHOUT.

	ARGUMENTS
	MOVL params_options(PARAMS), OPTIONS
	CENTERED(LOAD_M)
	MOMENTUM(LOAD_B)
	CMPQ call_vectors(CALL), $2
	JEQ  pairs
	SUBQ $32, N
	JLT  rest

block:
	CMPQ N, STOP
	JLT  near
	ARRAYS(PREFETCH, 0)
	ARRAYS(PREFETCH, 64)

near:
	AVERAGE(FOUR, CENTERED, unscaled, unclipped, undecayed, outside)
	TESTQ SOFTWARE, SOFTWARE
	JNE   half
	FOUR(ROOT)

rooted:
	MOVE(FOUR, MOMENTUM, inside, unmasked, unahead, unrated, unshrunk)
	ARRAYS(NEXT, 128)
	SUBQ $32, N
	JGE  block

rest:
	// N + 32 elements are left, 0 to 24.
	ADDQ $24, N
	JLT  done

vector:
	AVERAGE(ONE, CENTERED, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	MOVE(ONE, MOMENTUM, insideOne, unmaskedOne, unaheadOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 32)
	SUBQ $8, N
	JGE  vector

done:
	VZEROUPPER
	RET

pairs:
	SUBQ $16, N
	JLT  unpaired

pair:
	CMPQ N, STOP
	JLT  nearPair
	ARRAYS(PREFETCH, 0)

nearPair:
	AVERAGE(PAIR, CENTERED, unscaledPair, unclippedPair, undecayedPair, outsidePair)
	PAIR(ROOT)
	MOVE(PAIR, MOMENTUM, insidePair, unmaskedPair, unaheadPair, unratedPair, unshrunkPair)
	ARRAYS(NEXT, 64)
	SUBQ $16, N
	JGE  pair

unpaired:
	SUBQ $16, N
	JMP  rest

half:
	VSQRTPS Y4, Y4
	ROOT_SOFTWARE(Y5, T, K1, K2)
	VSQRTPS Y6, Y6
	ROOT_SOFTWARE(Y7, T, K1, K2)
	JMP rooted
