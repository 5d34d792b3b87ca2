// The body of an AVX2 kernel. ADAM, CENTERED and MOMENTUM are WITH or WITHOUT.

	MOVQ c+0(FP), CALL
	ARGUMENTS
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
	MEANS(FOUR, unscaled, unclipped, undecayed, outside)
	TESTQ ROOTS, ROOTS
	JNE   half
	FOUR(ROOT)

rooted:
	QUOTIENT(FOUR, inside)
	PARAMETERS(FOUR, unmasked, unlooked, unrated, unshrunk)
	ARRAYS(NEXT, 128)
	SUBQ $32, N
	JGE  block

rest:
	// N + 32 elements are left, 0 to 31.
	ADDQ $24, N
	JLT  done

vector:
	MEANS(ONE, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	QUOTIENT(ONE, insideOne)
	PARAMETERS(ONE, unmaskedOne, unlookedOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 32)
	SUBQ $8, N
	JGE  vector

done:
	VZEROUPPER
	RET

half:
	VSQRTPS Y4, Y4
	ROOT_SOFTWARE(Y5, T, NUM1, NUM2)
	VSQRTPS Y6, Y6
	ROOT_SOFTWARE(Y7, T, NUM1, NUM2)
	JMP rooted

pairs:
	SUBQ $16, N
	JLT  unpaired

pair:
	CMPQ N, STOP
	JLT  nearPair
	ARRAYS(PREFETCH, 0)

nearPair:
	MEANS(PAIR, unscaledPair, unclippedPair, undecayedPair, outsidePair)
	PAIR(ROOT)
	QUOTIENT(PAIR, insidePair)
	PARAMETERS(PAIR, unmaskedPair, unlookedPair, unratedPair, unshrunkPair)
	ARRAYS(NEXT, 64)
	SUBQ $16, N
	JGE  pair

unpaired:
	SUBQ $16, N
	JMP  rest
