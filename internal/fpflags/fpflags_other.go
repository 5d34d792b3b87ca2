//go:build !amd64 || !gc || purego

// Package fpflags reads the CPU's floating-point status flags. Tests use it to show that
// code meets no subnormal number.
package fpflags

// Known reports whether this CPU's flags can be read.
const Known = false

// Subnormal runs f. It cannot say what f met.
func Subnormal(f func()) bool {
	f()
	return false
}
