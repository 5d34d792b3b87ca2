// The body of a NEON kernel. ADAM, CENTERED and MOMENTUM are WITH or WITHOUT.

	MOVD c+0(FP), CALL
	MOVD call_coeffs(CALL), COEFFS
	MOVD call_at(CALL), N
	ARRAY(call_theta, R0)
	ARRAY(call_grad, R1)
	ARRAY(call_s, R2)
	ADAM(ARRAY(call_m, R3))
	CENTERED(ARRAY(call_m, R3))
	MOMENTUM(ARRAY(call_b, R4))
	MOVD call_n(CALL), N
	MOVWU coeffs_options(COEFFS), OPTIONS
	MOVW $0x20000000, R8 // 2^-63
	VDUP R8, V19.S4
	MOVW $0x00800000, R8 // 2^-126
	VDUP R8, V20.S4
	SUBS $16, N
	BLT  rest

block:
	MEANS(FOUR, unscaled, unclipped, undecayed, outside)
	FOUR(ROOT)
	QUOTIENT(FOUR, inside)
	PARAMETERS(FOUR, unmasked, unlooked, unrated, unshrunk)
	ARRAYS(NEXT, 64)
	SUBS $16, N
	BGE  block

rest:
	// N + 16 elements are left, 0 to 15.
	ADDS $12, N
	BLT  done

vector:
	MEANS(ONE, unscaledOne, unclippedOne, undecayedOne, outsideOne)
	ONE(ROOT)
	QUOTIENT(ONE, insideOne)
	PARAMETERS(ONE, unmaskedOne, unlookedOne, unratedOne, unshrunkOne)
	ARRAYS(NEXT, 16)
	SUBS $4, N
	BGE  vector

done:
	RET
