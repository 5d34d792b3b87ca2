//go:build !amd64 || !gc || purego

// Package fpflags reads what the CPU remembers of floating-point operations: for
// tests that show that code meets no subnormal number.
package fpflags

// Known tells whether this CPU's flags can be read.
const Known = false

// Subnormal runs f. Nothing is known of what it met.
func Subnormal(f func()) bool {
	f()
	return false
}
