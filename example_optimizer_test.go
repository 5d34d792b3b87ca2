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

// Training is saved after 50 of 100 steps and resumed as in another process. It ends with the same
// bits.
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

// The report of a step has the norm, even if the step was skipped.
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

// Weights decay, biases do not. One layer learns at half the rate of the others. Another one is
// frozen: it has no gradient. A schedule of LR reaches all of them.
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

// An embedding of four words in two dimensions, and a dense tensor. The batch has word 2 twice, whose
// gradients are added up, and word 0 once.
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

// Training is saved and resumed with another number of workers. The bits are the same.
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

// Errors use the tensor's name, and list everything that is wrong.
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

// The gradients of several batches are added up, and the step uses their mean: the sum is divided by
// the loss scale, which is the number of batches.
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

// The weights for inference are an exponential moving average of the trained ones.
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

// After the first step both means are fully corrected, so theta moves by LR for any gradient. After
// the second it moves by LR*m/sqrt(s).
func ExampleAdam() {
	r := kernel.Adam() // as torch.optim.Adam([theta], lr=0.1)
	r.LR = 0.1
	theta := []float32{1}
	st := r.NewState(len(theta))
	for _, grad := range []float32{2, -2} {
		r.Update(theta, []float32{grad}, st)
		fmt.Printf("theta = %.4f, m = %.4f, s = %.4f\n", theta[0], st.MeanGrad[0], st.MeanSquare[0])
	}
	// Output:
	// theta = 0.9000, m = 2.0000, s = 4.0000
	// theta = 0.9053, m = -0.1053, s = 4.0000
}

// The weights decay by LR*WeightDecay of themselves for any gradient.
func ExampleAdamW() {
	opt := &kernel.Optimizer{Options: kernel.AdamW()} // as torch.optim.AdamW
	params := []kernel.Param{
		{Name: "weights", Theta: []float32{1}, Grad: []float32{0}},
		{Name: "bias", Theta: []float32{1}, Grad: []float32{-3}, NoDecay: true},
	}
	if _, err := opt.Step(params); err != nil {
		fmt.Println(err)
	}
	fmt.Printf("%.5f %.5f\n", params[0].Theta, params[1].Theta)
	// Output: [0.99999] [1.00100]
}

// The decay is a hundredth of PyTorch's AdamW's.
func ExampleOptaxAdamW() {
	r := kernel.OptaxAdamW() // as optax.adamw(0.1)
	r.LR = 0.1
	theta := []float32{1}
	r.Update(theta, []float32{0}, r.NewState(len(theta)))
	fmt.Printf("%.5f\n", theta[0])
	// Output: 0.99999
}

// Keras's epsilon is an epsilon hat. In the first step it counts as
// 1e-7/sqrt(1-0.999), as much as a gradient of 3.2e-6.
func ExampleKerasAdam() {
	r := kernel.KerasAdam() // as keras.optimizers.AdamW()
	r.WeightDecay = 0.004
	theta := []float32{0, 0, 100}
	r.Update(theta, []float32{-1, -3.2e-6, 0}, r.NewState(len(theta)))
	fmt.Printf("%.4f\n", theta)

	r.EpsHat = false // as GoMLX and PyTorch
	theta[1] = 0
	r.Update(theta[1:2], []float32{-3.2e-6}, r.NewState(1))
	fmt.Printf("%.4f\n", theta[1])
	// Output:
	// [0.0010 0.0005 99.9996]
	// 0.0010
}

// Adam in a GoMLX model: the first step is LR for any gradient.
func ExampleGoMLXAdam() {
	r := kernel.GoMLXAdam() // as optimizers.Adam().Done()
	theta := []float32{1, 1}
	r.Update(theta, []float32{2, -0.1}, r.NewState(len(theta)))
	fmt.Printf("%.4f\n", theta)
	// Output: [0.9990 1.0010]
}

// Training that began with PyTorch's Adam continues here. PyTorch keeps the means before their
// correction. The way back multiplies instead of dividing.
func ExampleState_adam() {
	const step = 3
	expAvg, expAvgSq := []float32{0.271}, []float32{0.002997001} // after 3 gradients of 1

	r := kernel.Adam()
	st := r.NewState(len(expAvg))
	st.Step = step
	for i := range expAvg {
		st.MeanGrad[i] = float32(float64(expAvg[i]) / (1 - math.Pow(r.FirstMoment, step)))
		st.MeanSquare[i] = float32(float64(expAvgSq[i]) / (1 - math.Pow(r.Rho, step)))
	}
	fmt.Printf("m = %.4f, s = %.4f\n", st.MeanGrad[0], st.MeanSquare[0])

	r.Update([]float32{0}, []float32{1}, st)
	t := float64(st.Step)
	fmt.Printf("exp_avg = %.4f\n", float64(st.MeanGrad[0])*(1-math.Pow(r.FirstMoment, t)))
	fmt.Printf("exp_avg_sq = %.6f\n", float64(st.MeanSquare[0])*(1-math.Pow(r.Rho, t)))
	// Output:
	// m = 1.0000, s = 1.0000
	// exp_avg = 0.3439
	// exp_avg_sq = 0.003994
}
