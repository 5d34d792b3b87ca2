// What both kernels of SumSquares on this architecture have alike.

#define X     SI  // the next elements
#define N     CX  // elements left in the block
#define AHEAD R13 // bytes from an element to what is prefetched meanwhile

// BLOCK: AHEAD is 2 KiB where x goes on that far behind the block, and nothing
// otherwise; N is no more than the block.
#define BLOCK \
	XORL    AHEAD, AHEAD                \
	CMPQ    N, $(const_normBlock + 512) \
	SETGE   AHEAD                       \
	SHLL    $11, AHEAD                  \
	MOVL    $const_normBlock, R8        \
	CMPQ    N, R8                       \
	CMOVQGT R8, N

// TREE: X0 = the sum of the 4 that Y0 holds: j and j+2, then j and j+1.
#define TREE \
	VEXTRACTF128 $1, Y0, X1 \
	VADDPD       X1, X0, X0 \
	VPERMILPD    $1, X0, X1 \
	VADDSD       X1, X0, X0
