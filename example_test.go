package kernel_test

import (
	"errors"
	"fmt"
	"math"

	"github.com/seed57504d97/kernel"
)

// Minimizes (theta - 3)². The state s is allocated once and lives as long as theta.
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

// Hyperparameters may be float32 or float64, here in a schedule.
func ExampleFloat() {
	fmt.Printf("%.4f %.4f\n", descend(float32(0.1), 0.5), descend(0.1, 0.5))
	// Output: 0.7448 0.7448
}

// descend runs two steps with a learning rate that falls by a factor.
func descend[F kernel.Float](lr, factor F) float32 {
	theta, grad, s := []float32{1}, []float32{2}, []float32{1}
	for range 2 {
		kernel.Update(theta, grad, s, lr, 0.9, 1e-7)
		lr *= factor
	}
	return theta[0]
}

// Your own conventions: along the gradient, clipping by value, PyTorch's momentum and eps, Keras's
// decay, and a mean square that starts at 1.
func ExampleRMSProp() {
	o := kernel.RMSProp{
		LR: 0.1, Rho: 0.9, Eps: 1e-8,
		ClipValue: 1, Maximize: true,
		Momentum: 0.5, LROutside: true, EpsOutside: true,
		WeightDecay: 0.1, DecoupledDecay: true,
		InitialMeanSquare: 1,
	}
	if err := o.Validate(); err != nil {
		fmt.Println(err)
	}
	theta := []float32{1}
	st := o.NewState(len(theta))
	for range 2 {
		o.Update(theta, []float32{3}, st) // s = 0.9*1 + 0.1*1² = 1, b = 0.5*b - 1, theta = theta - 0.1*0.1*theta - 0.1*b
		fmt.Printf("theta = %.4f, s = %.1f, b = %.1f\n", theta[0], st.MeanSquare[0], st.MomentumBuffer[0])
	}
	// Output:
	// theta = 1.0900, s = 1.0, b = -1.0
	// theta = 1.2291, s = 1.0, b = -1.5
}

// Trains with Keras's conventions: minimizes (theta - 3)².
func ExampleKeras() {
	o := kernel.Keras()
	o.LR = 0.01
	o.Momentum = 0.9
	theta, grad := []float32{0}, make([]float32, 1)
	st := o.NewState(len(theta))
	for range 500 {
		grad[0] = 2 * (theta[0] - 3)
		o.Update(theta, grad, st)
	}
	fmt.Printf("%.1f\n", theta[0])
	// Output: 3.0
}

// One step by hand: s = 0.01*2², theta = 1 - 0.01*2/(sqrt(s) + 1e-8).
func ExamplePyTorch() {
	o := kernel.PyTorch() // as torch.optim.RMSprop([theta])
	theta := []float32{1}
	st := o.NewState(1)
	o.Update(theta, []float32{2}, st)
	fmt.Printf("theta = %.4f, s = %.2f\n", theta[0], st.MeanSquare[0])
	// Output: theta = 0.9000, s = 0.04
}

// The mean square starts at 1, so the first steps are small.
func ExampleTensorFlow() {
	o := kernel.TensorFlow()
	o.LR = 0.1
	theta := []float32{1}
	st := o.NewState(1)
	o.Update(theta, []float32{2}, st)
	fmt.Printf("theta = %.4f, s = %.1f\n", theta[0], st.MeanSquare[0])
	// Output: theta = 0.8246, s = 1.3
}

func ExampleOptax() {
	o := kernel.Optax() // as optax.rmsprop(0.1, momentum=0.9, nesterov=True)
	o.LR, o.Momentum, o.Nesterov = 0.1, 0.9, true
	theta := []float32{1}
	o.Update(theta, []float32{2}, o.NewState(1))
	fmt.Printf("%.4f\n", theta[0])
	// Output: 0.3992
}

func ExampleRMSProp_Validate() {
	o := kernel.Keras()
	o.LR, o.Momentum = -0.1, 1
	fmt.Println(o.Validate())
	// Output:
	// kernel: LR = -0.1, want a number in [0, 2^64]
	// kernel: Momentum = 1, want a number in [0, 1), also in float32
}

// An embedding of four words in two dimensions, of which a batch had two.
func ExampleRMSProp_UpdateRows() {
	o := kernel.Keras()
	o.LR = 0.1
	table := []float32{1, 1, 1, 1, 1, 1, 1, 1}
	st := o.NewState(len(table))
	o.UpdateRows(table, []float32{5, 5, -5, 5}, st, []int{2, 0}, 2)
	fmt.Printf("%.2f\n", table)
	// Output: [1.32 0.68 1.00 1.00 0.68 0.68 1.00 1.00]
}

// Momentum begins in the middle of training: Adapt adds buffers to the states.
func ExampleRMSProp_Adapt() {
	opt := &kernel.Optimizer{Options: kernel.PyTorch()}
	params := []kernel.Param{{Theta: []float32{1}, Grad: []float32{1}}}
	for _, momentum := range []float64{0, 0.9} {
		opt.Options.Momentum = momentum
		for _, param := range params {
			if param.State != nil {
				opt.Options.Adapt(param.State)
			}
		}
		_, err := opt.Step(params)
		fmt.Println(err, len(params[0].State.MomentumBuffer))
	}
	// Output:
	// <nil> 0
	// <nil> 1
}

// Without BiasCorrection, the first step is 1/sqrt(1-rho) times as large as later ones, here 31.6
// times, because the mean square is still small.
func ExampleRMSProp_biasCorrection() {
	for _, correct := range []bool{false, true} {
		o := kernel.RMSProp{LR: 0.001, Rho: 0.999, Eps: 1e-8, BiasCorrection: correct}
		theta := []float32{0}
		o.Update(theta, []float32{-3}, o.NewState(1))
		fmt.Printf("%.4f\n", theta[0])
	}
	// Output:
	// 0.0316
	// 0.0010
}

// A batch uses word 2 twice. Its gradients are added up before the step.
func ExampleCoalesceRows() {
	grad := []float32{5, 5, -5, 5, 1, 0}
	grad, rows := kernel.CoalesceRows(grad, []int{2, 0, 2}, 2)
	fmt.Println(grad, rows)
	// Output: [6 5 -5 5] [2 0]
}

// The optimizer of the paper on DQN: centered, with a large Eps inside the root.
// The paper's gradient momentum is the decay rate of the mean gradient, Rho.
func ExampleRMSProp_dqn() {
	o := kernel.RMSProp{LR: 0.00025, Rho: 0.95, Eps: 0.01, Centered: true}
	theta := []float32{0}
	st := o.NewState(len(theta))
	o.Update(theta, []float32{1}, st) // 0.00025/sqrt(0.05 - 0.05² + 0.01)
	fmt.Printf("%.6f: mean %.2f, mean square %.2f\n", theta[0], st.MeanGrad[0], st.MeanSquare[0])
	// Output: -0.001043: mean 0.05, mean square 0.05
}

// Gorgonia's l2reg is not scaled by the learning rate.
func ExampleGorgonia() {
	const l2reg = 0.01
	o := kernel.Gorgonia()
	o.WeightDecay = l2reg / o.LR
	theta := []float32{1}
	o.Update(theta, []float32{0}, o.NewState(1))
	fmt.Printf("%.2f\n", theta[0])
	// Output: 0.99
}

// The first step is LR for any gradient, because the bias is corrected.
func ExampleGoMLX() {
	o := kernel.GoMLX()
	theta := []float32{1, 1}
	o.Update(theta, []float32{2, -0.1}, o.NewState(2))
	fmt.Printf("%.4f\n", theta)
	// Output: [0.9990 1.0010]
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
