package kernel_test

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"github.com/seed57504d97/kernel"
)

// Trains with Keras's conventions: minimises (theta - 3)².
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

// The mean square starts at 1, so that the first steps are small.
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

// Training is saved after 50 of 100 steps and resumed as in another process: it
// ends with the same bits.
func ExampleState() {
	o := kernel.PyTorch()
	o.Centered, o.Momentum = true, 0.9
	train := func(theta []float32, st *kernel.State, steps int) {
		grad := make([]float32, len(theta))
		for range steps {
			for i := range theta {
				grad[i] = 2 * (theta[i] - float32(i))
			}
			o.Update(theta, grad, st)
		}
	}
	theta := make([]float32, 5)
	st := o.NewState(len(theta))
	train(theta, st, 50)

	var file bytes.Buffer
	saved := gob.NewEncoder(&file)
	if err := saved.Encode(theta); err != nil {
		fmt.Println(err)
	}
	if err := saved.Encode(st); err != nil {
		fmt.Println(err)
	}
	train(theta, st, 50)

	var resumed []float32
	var resumedState kernel.State
	read := gob.NewDecoder(&file)
	if err := read.Decode(&resumed); err != nil {
		fmt.Println(err)
	}
	if err := read.Decode(&resumedState); err != nil {
		fmt.Println(err)
	}
	train(resumed, &resumedState, 50)
	fmt.Println(fmt.Sprint(resumed) == fmt.Sprint(theta))
	// Output: true
}

func ExampleRMSProp_Validate() {
	o := kernel.Keras()
	o.LR, o.Momentum = -0.1, 1
	fmt.Println(o.Validate())
	// Output:
	// kernel: LR = -0.1: must be in [0, 2^64]
	// kernel: Momentum = 1: must be in [0, 1), also in float32
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

// Two tensors on all cores, with a learning rate that falls.
func ExampleOptimizer() {
	opt := &kernel.Optimizer{Options: kernel.Keras()}
	params := []kernel.Param{
		{Theta: make([]float32, 1000), Grad: make([]float32, 1000)},
		{Theta: make([]float32, 10), Grad: make([]float32, 10)},
	}
	for step := range 1000 {
		for _, param := range params {
			for i := range param.Theta {
				param.Grad[i] = 2 * (param.Theta[i] - 1)
			}
		}
		opt.Options.LR = 0.01 / (1 + 0.01*float64(step))
		if _, err := opt.Step(params); err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Printf("%.2f %.2f\n", params[0].Theta[999], params[1].Theta[9])
	// Output: 1.00 1.00
}
