package kernel_test

import (
	"errors"
	"fmt"
	"math"

	"github.com/seed57504d97/kernel"
)

// Minimises (theta - 3)². The state s is made once and lives as long as theta.
func Example() {
	theta := []float32{0}
	grad := make([]float32, 1)
	s := make([]float32, 1)
	for range 1000 {
		grad[0] = 2 * (theta[0] - 3)
		kernel.Update(theta, grad, s, 0.01, 0.9, 1e-7)
	}
	fmt.Printf("%.2f\n", theta[0])
	// Output: 3.00
}

// One step by hand: s = 0.9*0 + 0.1*2² = 0.4, theta = 1 - 0.1/sqrt(0.4)*2.
func ExampleUpdate() {
	theta, grad, s := []float32{1}, []float32{2}, []float32{0}
	kernel.Update(theta, grad, s, 0.1, 0.9, 1e-7)
	fmt.Printf("theta = %.4f, s = %.1f\n", theta[0], s[0])
	// Output: theta = 0.6838, s = 0.4
}

func ExampleArgumentError() {
	defer func() {
		var wrong *kernel.ArgumentError
		if err, ok := recover().(error); ok && errors.As(err, &wrong) {
			fmt.Println(wrong.Error())
			fmt.Println(wrong.Name, wrong.Value == kernel.Length(3), wrong.Want)
		}
	}()
	kernel.Update(make([]float32, 4), make([]float32, 3), make([]float32, 4), 0.1, 0.9, 1e-7)
	// Output:
	// kernel: len(grad) = 3, want 4 (len(theta))
	// grad true 4 (len(theta))
}

// The bits do not depend on the implementation.
func ExampleSetISA() {
	defer kernel.SetISA(kernel.ISA())
	results := map[float32]bool{}
	for _, name := range kernel.ISAs() {
		if err := kernel.SetISA(name); err != nil {
			fmt.Println(err)
		}
		theta, grad, s := []float32{1}, []float32{0.3}, []float32{0.2}
		kernel.Update(theta, grad, s, 0.1, 0.9, 1e-7)
		results[theta[0]] = true
	}
	fmt.Println(results)
	// Output: map[0.93099344:true]
}

func ExampleAdviseHugePages() {
	const n = 1 << 20
	theta, grad, s := make([]float32, n), make([]float32, n), make([]float32, n)
	if err := kernel.AdviseHugePages(theta, grad, s); err != nil {
		fmt.Println("on small pages:", err) // slower, not wrong
	}
	kernel.Update(theta, grad, s, 0.001, 0.9, 1e-7)
	fmt.Println(theta[0])
	// Output: 0
}

// The parameters' own type may be the hyperparameters': here a schedule in float32.
func ExampleFloat() {
	fmt.Printf("%.4f %.4f\n", descend(float32(0.1), 0.5), descend(0.1, 0.5))
	// Output: 0.7448 0.7448
}

// descend takes two steps with a learning rate that falls by a factor.
func descend[F kernel.Float](lr, factor F) float32 {
	theta, grad, s := []float32{1}, []float32{2}, []float32{1}
	for range 2 {
		kernel.Update(theta, grad, s, lr, 0.9, 1e-7)
		lr *= factor
	}
	return theta[0]
}

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
