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
	PREFETCH(0, GRAD)
	PREFETCH(64, GRAD)
	PREFETCH(0, S)
	PREFETCH(64, S)
	CENTERED(PREFETCH(0, M))
	CENTERED(PREFETCH(64, M))
	MOMENTUM(PREFETCH(0, B))
	MOMENTUM(PREFETCH(64, B))
	PREFETCH(0, THETA)
	PREFETCH(64, THETA)

near:
	AVERAGE(FOUR, CENTERED, unscaled, unclipped, undecayed)
	TESTQ SOFTWARE, SOFTWARE
	JNE   half
	FOUR(ROOT)

rooted:
	MOVE(FOUR, MOMENTUM, unahead, unrated, unshrunk)
	NEXT(128, GRAD)
	NEXT(128, S)
	CENTERED(NEXT(128, M))
	MOMENTUM(NEXT(128, B))
	NEXT(128, THETA)
	SUBQ $32, N
	JGE  block

rest:
	// N + 32 elements are left, 0 to 24.
	ADDQ $24, N
	JLT  done

vector:
	AVERAGE(ONE, CENTERED, unscaledOne, unclippedOne, undecayedOne)
	ONE(ROOT)
	MOVE(ONE, MOMENTUM, unaheadOne, unratedOne, unshrunkOne)
	NEXT(32, GRAD)
	NEXT(32, S)
	CENTERED(NEXT(32, M))
	MOMENTUM(NEXT(32, B))
	NEXT(32, THETA)
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
	PREFETCH(0, GRAD)
	PREFETCH(0, S)
	CENTERED(PREFETCH(0, M))
	MOMENTUM(PREFETCH(0, B))
	PREFETCH(0, THETA)

nearPair:
	AVERAGE(PAIR, CENTERED, unscaledPair, unclippedPair, undecayedPair)
	PAIR(ROOT)
	MOVE(PAIR, MOMENTUM, unaheadPair, unratedPair, unshrunkPair)
	NEXT(64, GRAD)
	NEXT(64, S)
	CENTERED(NEXT(64, M))
	MOMENTUM(NEXT(64, B))
	NEXT(64, THETA)
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
