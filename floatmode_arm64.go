//go:build gc && !purego

package kernel

// defaultFloatMode is that of FPCR: no exceptions trapped, rounding to nearest even,
// subnormal numbers and NaNs kept.
const defaultFloatMode = 0
