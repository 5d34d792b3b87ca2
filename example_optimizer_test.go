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

// The gradients of several batches are added up, and a step is taken on their mean: the
// loss scale is what they were multiplied by, so to say.
func ExampleOptimizer_accumulation() {
	const batches = 4
	opt := &kernel.Optimizer{Options: kernel.Keras(), LossScale: batches, ClipNorm: math.Inf(1), ZeroGrad: true}
	params := []kernel.Param{{Theta: make([]float32, 2), Grad: make([]float32, 2)}}
	for batch := range 2 * batches {
		for i := range params[0].Grad {
			params[0].Grad[i] += float32(3 + i) // a backward pass
		}
		if (batch+1)%batches == 0 {
			report, err := opt.Step(params)
			fmt.Println(report.Norm, params[0].Grad, err)
		}
	}
	// Output:
	// 5 [0 0] <nil>
	// 5 [0 0] <nil>
}

// The weights to be used are an exponential moving average of those that are trained.
func ExampleOptimizer_average() {
	const keep = 0.9
	opt := &kernel.Optimizer{Options: kernel.GoMLX()}
	opt.Options.LR = 0.1
	theta, grad := []float32{1}, []float32{1}
	params, average := []kernel.Param{{Theta: theta, Grad: grad}}, []float32{1}
	for range 3 {
		if _, err := opt.Step(params); err != nil {
			fmt.Println(err)
		}
		for i := range average {
			average[i] = keep*average[i] + (1-keep)*theta[i]
		}
		fmt.Printf("%.3f %.3f\n", theta, average)
	}
	// Output:
	// [0.900] [0.990]
	// [0.800] [0.971]
	// [0.700] [0.944]
}
