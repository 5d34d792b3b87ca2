// The body of a family's NEON kernel: CENTERED and MOMENTUM are WITH or WITHOUT.

	ARGUMENTS
	MOVWU params_options(PARAMS), OPTIONS
	CENTERED(LOAD_M)
	MOMENTUM(LOAD_B)
	MOVW $0x20000000, R8 // 2^-63
	VDUP R8, V19.S4
	MOVW $0x00800000, R8 // 2^-126
	VDUP R8, V20.S4
	SUBS $16, N
	BLT  rest

block:
	AVERAGE(FOUR, CENTERED, unscaled, unclipped, undecayed, outside)
	FOUR(ROOT)
	MOVE(FOUR, MOMENTUM, inside, unmasked, unahead, unrated, unshrunk)
	ARRAYS(NEXT, 64)
	SUBS $16, N
	BGE  block

rest:
	// N + 16 elements are left, 0 to 12.
	ADDS $12, N
	BLT  done

vector:
	AVERAGE(ONE, CENTERED, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	MOVE(ONE, MOMENTUM, insideOne, unmaskedOne, unaheadOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 16)
	SUBS $4, N
	BGE  vector

done:
	RET
