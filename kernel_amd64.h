// Registers that every kernel of this architecture uses alike.

#define THETA DI // the next elements
#define GRAD  SI
#define S     DX
#define N     CX // elements left
#define K     BX // the constants

#define DISTANCE R13 // bytes from an element to what is prefetched meanwhile

// PREFETCH: the cache line DISTANCE on. A kernel computes for so long between
// its loads that the CPU's own look ahead does not cover the way to memory.
#define PREFETCH(at, array) \
	PREFETCHT0 at(array)(DISTANCE*1)

// SET_DISTANCE: 2 KiB, or nothing where that is behind the arrays' end: memory
// that does not exist does not fault there, but is looked for each time. N is
// what will be left behind this block.
#define SET_DISTANCE \
	XORL  DISTANCE, DISTANCE \
	CMPQ  N, $512            \
	SETGE DISTANCE           \
	SHLL  $11, DISTANCE

// The square root of v in software, from an estimate y of 1/sqrt(v) that makes
// A = v*y and H = y/2: see kernel_amd64.s. The registers' width is the caller's.

// ROOT_ITERATE: R = 1/2 - A*H, A += A*R, H += H*R
#define ROOT_ITERATE(a, h, r) \
	VMOVAPS      HALF, r \
	VFNMADD231PS a, h, r \
	VFMADD213PS  a, r, a \
	VFMADD213PS  h, r, h

// ROOT_CORRECT: D = v - A*A, A = A + D*H
#define ROOT_CORRECT(v, a, h) \
	VFNMADD231PS a, a, v \
	VFMADD231PS  v, h, a
