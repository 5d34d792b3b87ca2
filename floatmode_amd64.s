//go:build gc && !purego

#include "textflag.h"

// func floatMode() uint32
TEXT ·floatMode(SB), NOSPLIT, $0-4
	STMXCSR ret+0(FP)
	ANDL    $0xffffffc0, ret+0(FP) // without the flags
	RET

// func setFloatMode(mode uint32)
TEXT ·setFloatMode(SB), NOSPLIT, $0-4
	LDMXCSR mode+0(FP)
	RET
