package kernel_test

import (
	"fmt"
	"math"

	"github.com/seed57504d97/kernel"
)

// Clips the gradients of two layers by their common norm, 13, to a norm of 1.
func ExampleSumSquares() {
	layers := [][]float32{{3, 4}, {0, -12}}
	var sum float64
	for _, grad := range layers {
		sum += kernel.SumSquares(grad)
	}
	norm := math.Sqrt(sum)
	if factor := float32(1 / norm); factor < 1 {
		for _, grad := range layers {
			for i := range grad {
				grad[i] *= factor
			}
		}
	}
	fmt.Printf("norm %v: %.3f\n", norm, layers)
	// Output: norm 13: [[0.231 0.308] [0.000 -0.923]]
}
