package kernel_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/seed57504d97/kernel"
)

// Conventions of one's own, here of a framework without a preset: up the gradient,
// which is clipped by value, PyTorch's momentum and eps, Keras's decay, and a mean square
// that starts at 1.
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

// A gradient that explodes is scaled down to a norm of 1, all tensors together.
func ExampleOptimizer_clipNorm() {
	opt := &kernel.Optimizer{Options: kernel.Keras(), ClipNorm: 1}
	params := []kernel.Param{
		{Theta: make([]float32, 2), Grad: []float32{3000, 0}},
		{Theta: make([]float32, 1), Grad: []float32{4000}},
	}
	report, err := opt.Step(params)
	if err != nil {
		fmt.Println(err)
	}
	// The gradient counted as 0.6 and 0.8: s = 0.1*0.6² and 0.1*0.8².
	fmt.Printf("norm %v, s = %.3f and %.3f\n", report.Norm, params[0].State.MeanSquare[0], params[1].State.MeanSquare[0])
	// Output: norm 5000, s = 0.036 and 0.064
}

// What a step has found: the norm, also of a step that it left out.
func ExampleReport() {
	opt := &kernel.Optimizer{Options: kernel.Keras(), ClipNorm: math.Inf(1)} // no limit, only measured
	params := []kernel.Param{{Theta: make([]float32, 2), Grad: []float32{3, 4}}}
	for range 2 {
		report, err := opt.Step(params)
		if err != nil {
			fmt.Println(err)
		}
		show(report)
		params[0].Grad[0] = float32(math.Inf(-1))
	}
	// Output:
	// norm 5, skipped: false
	// norm +Inf, skipped: true
}

func show(report kernel.Report) { fmt.Printf("norm %v, skipped: %v\n", report.Norm, report.Skipped) }

// Mixed precision: the loss was multiplied by 1024, the gradient overflowed, the
// step is skipped and the loss scale halved.
func ExampleOptimizer_skipNonFinite() {
	opt := &kernel.Optimizer{Options: kernel.Keras(), LossScale: 1024, SkipNonFinite: true, ZeroGrad: true}
	params := []kernel.Param{{Name: "weights", Theta: []float32{1, 2}, Grad: []float32{0.5, float32(math.Inf(1))}}}
	report, err := opt.Step(params)
	if err != nil {
		fmt.Println(err)
	}
	if report.Skipped {
		fmt.Println("skipped for", report.NonFinite)
		opt.LossScale /= 2
	}
	fmt.Println(params[0].Theta, params[0].Grad, opt.LossScale)
	// Output:
	// skipped for weights
	// [1 2] [0 0] 512
}

// Weights decay, biases do not, one layer learns at half the rate of the others, and
// another is frozen: it has no gradient. A schedule of LR reaches them all.
func ExampleParam() {
	opt := &kernel.Optimizer{Options: kernel.Keras()}
	opt.Options.WeightDecay = 10
	params := []kernel.Param{
		{Name: "embedding", Theta: []float32{1}}, // frozen
		{Name: "weights", Theta: []float32{1}, Grad: []float32{0}},
		{Name: "head", Theta: []float32{1}, Grad: []float32{0}, LRScale: 0.5},
		{Name: "bias", Theta: []float32{1}, Grad: []float32{0}, NoDecay: true},
	}
	for range 2 {
		if _, err := opt.Step(params); err != nil {
			fmt.Println(err)
		}
		fmt.Printf("%.4f %.4f %.4f %.4f\n", params[0].Theta, params[1].Theta, params[2].Theta, params[3].Theta)
		opt.Options.LR /= 10
	}
	// Output:
	// [1.0000] [0.9900] [0.9950] [1.0000]
	// [1.0000] [0.9890] [0.9945] [1.0000]
}

// An embedding of four words in two dimensions beside a dense tensor. The batch has
// word 2 twice, whose gradients are added, and word 0 once.
func ExampleParam_rows() {
	opt := &kernel.Optimizer{Options: kernel.Keras(), ClipNorm: math.Inf(1), ZeroGrad: true}
	opt.Options.LR = 0.1
	embedding := make([]float32, 4*2)
	params := []kernel.Param{
		{Name: "embedding", Theta: embedding, Width: 2, Rows: []int{2, 0, 2}, Grad: []float32{1, 0, 0, -4, 2, 0}},
		{Name: "weights", Theta: []float32{0}, Grad: []float32{12}},
	}
	report, err := opt.Step(params)
	fmt.Println(err, report.Norm) // of 3, 0, 0, -4 and 12
	fmt.Printf("%.2f\n%v\n", embedding, params[0].Grad)
	// Output:
	// <nil> 13
	// [0.00 0.32 0.00 0.00 -0.32 0.00 0.00 0.00]
	// [0 0 0 0 0 0]
}

// Momentum begins in the middle of a training: the states are given buffers.
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

// Without it the first step is 1/sqrt(1-rho) times as large as later ones, here
// 31.6 times: the mean square has only just begun to grow.
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

// A training is saved and goes on with another number of workers, with the same bits.
func ExampleOptimizer_resume() {
	train := func(opt *kernel.Optimizer, params []kernel.Param, steps int) {
		for range steps {
			for _, param := range params {
				for i, x := range param.Theta {
					param.Grad[i] = 2 * (x - float32(i))
				}
			}
			if _, err := opt.Step(params); err != nil {
				fmt.Println(err)
			}
		}
	}
	opt := &kernel.Optimizer{Options: kernel.GoMLX(), Workers: 1, ClipNorm: 10}
	params := []kernel.Param{{Theta: make([]float32, 50_000), Grad: make([]float32, 50_000)}}
	train(opt, params, 5)

	var file bytes.Buffer
	saved := gob.NewEncoder(&file)
	if err := errors.Join(saved.Encode(params[0].Theta), saved.Encode(params[0].State)); err != nil {
		fmt.Println(err)
	}
	train(opt, params, 5)

	resumed := []kernel.Param{{Grad: make([]float32, 50_000)}}
	read := gob.NewDecoder(&file)
	if err := errors.Join(read.Decode(&resumed[0].Theta), read.Decode(&resumed[0].State)); err != nil {
		fmt.Println(err)
	}
	train(&kernel.Optimizer{Options: kernel.GoMLX(), Workers: 2, ClipNorm: 10}, resumed, 5)
	fmt.Println(slices.Equal(resumed[0].Theta, params[0].Theta), resumed[0].State.Step)
	// Output: true 10
}

// A batch uses word 2 twice: its gradients are added before the step.
func ExampleCoalesceRows() {
	grad := []float32{5, 5, -5, 5, 1, 0}
	grad, rows := kernel.CoalesceRows(grad, []int{2, 0, 2}, 2)
	fmt.Println(grad, rows)
	// Output: [6 5 -5 5] [2 0]
}

// The optimizer of the paper on DQN: centered, with a large Eps inside the root.
// What the paper calls gradient momentum is the decay of the mean gradient: Rho.
func ExampleRMSProp_dqn() {
	o := kernel.RMSProp{LR: 0.00025, Rho: 0.95, Eps: 0.01, Centered: true}
	theta := []float32{0}
	st := o.NewState(len(theta))
	o.Update(theta, []float32{1}, st) // 0.00025/sqrt(0.05 - 0.05² + 0.01)
	fmt.Printf("%.6f: mean %.2f, mean square %.2f\n", theta[0], st.MeanGrad[0], st.MeanSquare[0])
	// Output: -0.001043: mean 0.05, mean square 0.05
}

// l2reg of Gorgonia is not scaled by the learning rate.
func ExampleGorgonia() {
	const l2reg = 0.01
	o := kernel.Gorgonia()
	o.WeightDecay = l2reg / o.LR
	theta := []float32{1}
	o.Update(theta, []float32{0}, o.NewState(1))
	fmt.Printf("%.2f\n", theta[0])
	// Output: 0.99
}

// The first step is LR whatever the gradient: the bias is corrected.
func ExampleGoMLX() {
	o := kernel.GoMLX()
	theta := []float32{1, 1}
	o.Update(theta, []float32{2, -0.1}, o.NewState(2))
	fmt.Printf("%.4f\n", theta)
	// Output: [0.9990 1.0010]
}

// Errors call a tensor what its framework calls it, and list all that is wrong.
func ExampleParam_name() {
	opt := &kernel.Optimizer{Options: kernel.Keras()}
	weights := make([]float32, 3)
	_, err := opt.Step([]kernel.Param{
		{Name: "encoder.bias", Theta: make([]float32, 3), Grad: make([]float32, 2)},
		{Name: "decoder.bias", Theta: weights, Grad: weights},
	})
	var wrong *kernel.ArgumentError
	if errors.As(err, &wrong) {
		for _, e := range append([]*kernel.ArgumentError{wrong}, wrong.Others...) {
			switch v := e.Value.(type) {
			case kernel.Length:
				fmt.Println(e.Tensor, e.Name, "has", v, "elements")
			case kernel.Overlap:
				fmt.Println(e.Tensor, e.Name, "lies", v.Bytes, "bytes into", v.Tensor, v.Name)
			}
		}
	}
	// Output:
	// encoder.bias Grad has 2 elements
	// decoder.bias Grad lies 0 bytes into decoder.bias Theta
}
