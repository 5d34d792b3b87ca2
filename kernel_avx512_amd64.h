// The body of an AVX-512 kernel. ADAM, CENTERED and MOMENTUM are WITH or WITHOUT.

	MOVQ c+0(FP), CALL
	ARGUMENTS
	COEFFICIENTS
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
	MEANS(FOUR, unscaled, unclipped, undecayed, outside)
	TESTQ ROOTS, ROOTS
	JNE   half
	FOUR(ROOT)

rooted:
	QUOTIENT(FOUR, inside)

divided:
	PARAMETERS(FOUR, unmasked, unlooked, unrated, unshrunk)
	ARRAYS(NEXT, 256)
	SUBQ $64, N
	JGE  block

rest:
	// N + 64 elements are left, 0 to 63.
	KXNORW LANES, LANES, LANES
	ADDQ   $48, N
	JLT    last

vector:
	MEANS(ONE, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	QUOTIENT(ONE, insideOne)
	PARAMETERS(ONE, unmaskedOne, unlookedOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 64)
	SUBQ $16, N
	JGE  vector

last:
	// N + 16 elements are left, 0 to 15: a lane each.
	ADDQ  $16, N
	JLE   done
	MOVL  $1, R11
	SHLL  CX, R11
	DECL  R11
	KMOVW R11, LANES
	SUBQ  $16, N
	JMP   vector

done:
	VZEROUPPER
	RET

half:
	FIRST_TWO(ROOT)
	LAST_TWO(ROOT_ESTIMATE)
	LAST_TWO(ROOT_REFINE)
	LAST_TWO(ROOT_FINISH)
	CMPQ call_quotients(CALL), $0
	JEQ  rooted
	FIRST_TWO(DIVIDE)
	LAST_TWO(RECIPROCAL)
	LAST_TWO(RECIPROCAL_REFINE)
	LAST_TWO(RECIPROCAL_REFINE)
	LAST_TWO(DIVIDE_SOFTWARE)
	JMP divided
