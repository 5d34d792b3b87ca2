//go:build gc && !purego

// Package fpflags reads the CPU's floating-point status flags. Tests use it to show that
// code meets no subnormal number.
package fpflags

// Known reports whether this CPU's flags can be read.
const Known = true

// The bits of MXCSR that stay set once an operand was subnormal, and once a
// result was too small for a normal number and had to be rounded (Intel 64 and
// IA-32 Architectures Software Developer's Manual, volume 1, 10.2.3).
const (
	denormal  = 1 << 1
	underflow = 1 << 4
	sticky    = 0x3f
)

func getMXCSR() uint32

func setMXCSR(bits uint32)

// Subnormal runs f and reports whether it met a subnormal operand or result. The
// calling goroutine must be locked to its thread, whose flags these are.
func Subnormal(f func()) bool {
	setMXCSR(getMXCSR() &^ sticky)
	f()
	return getMXCSR()&(denormal|underflow) != 0
}
