//go:build gc && !purego

package kernel

// defaultFloatMode is that of MXCSR: all exceptions masked, rounding to nearest even,
// subnormal numbers kept.
const defaultFloatMode = 0x1f80
