package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestGradient compares gradient with the slope of the loss between two close points.
func TestGradient(t *testing.T) {
	const inputs, hidden = 6, 5
	rng := rand.New(rand.NewPCG(1, 0))
	n := newNetwork(inputs, hidden, rng)
	for i := range n.theta {
		n.theta[i] += rng.Float32() - 0.5 // biases too
	}
	set := &dataset{rows: 2, cols: 3, full: 255, labels: []byte{7, 0, 9, 7}}
	for range len(set.labels) * inputs {
		set.pixels = append(set.pixels, byte(rng.UintN(256)))
	}
	set.pixels[2] = 0
	images := []int{3, 0, 1}

	theta := make([]float64, len(n.theta))
	for i, v := range n.theta {
		theta[i] = float64(v)
	}
	var sum float64
	for _, i := range images {
		sum += lossIn64(theta, hidden, set, i)
	}
	if got := n.gradient(set, images, 1); math.Abs(got-sum) > 1e-5 {
		t.Errorf("loss %v, want %v", got, sum)
	}
	for i, v := range theta {
		const step = 1e-5
		var want float64
		for _, image := range images {
			theta[i] = v + step
			above := lossIn64(theta, hidden, set, image)
			theta[i] = v - step
			below := lossIn64(theta, hidden, set, image)
			want += (above - below) / (2 * step) / float64(len(images))
		}
		theta[i] = v
		if got := float64(n.grad[i]); math.Abs(got-want) > 1e-6 {
			t.Errorf("gradient of parameter %d is %v, want %v", i, got, want)
		}
	}
}

// lossIn64 is the loss at one image, by the formulas in float64.
func lossIn64(theta []float64, hidden int, set *dataset, image int) float64 {
	inputs := set.rows * set.cols
	w1, b1 := theta[:inputs*hidden], theta[inputs*hidden:]
	w2, b2 := b1[hidden:], b1[hidden+hidden*classes:]
	z := append([]float64(nil), b2[:classes]...)
	for j := range hidden {
		h := b1[j]
		for i := range inputs {
			h += float64(set.pixels[image*inputs+i]) / float64(set.full) * w1[i*hidden+j]
		}
		for k := range z {
			z[k] += max(h, 0) * w2[j*classes+k]
		}
	}
	var sum float64
	for _, v := range z {
		sum += math.Exp(v)
	}
	return math.Log(sum) - z[set.labels[image]]
}

func TestExp(t *testing.T) {
	for x := float32(0); x >= -87; x -= 0.0037 {
		got, want := float64(exp(x)), math.Exp(float64(x))
		if math.Abs(got-want) > want*0x1p-23 {
			t.Errorf("exp(%v) = %v, want %v", x, got, want)
		}
	}
	for _, x := range []float32{-87.5, -1000, float32(math.Inf(-1))} {
		if got := exp(x); got != 0 {
			t.Errorf("exp(%v) = %v, want 0", x, got)
		}
	}
	if got := exp(float32(math.NaN())); got == got {
		t.Errorf("exp(NaN) = %v", got)
	}
}

func TestSoftmaxOfLargeNumbers(t *testing.T) {
	z := []float32{3e38, -3e38, 3e38}
	if loss := softmax(z, 2); z[0] != 0.5 || z[1] != 0 || z[2] != 0.5 || math.Abs(loss-math.Ln2) > 1e-7 {
		t.Errorf("softmax = %v, loss %v", z, loss)
	}
}

func TestFinite(t *testing.T) {
	for v, want := range map[float32]bool{
		1: true, -math.MaxFloat32: true,
		float32(math.Inf(1)): false, float32(math.Inf(-1)): false, float32(math.NaN()): false,
	} {
		if got := (&network{theta: []float32{0, v}}).finite(); got != want {
			t.Errorf("finite with a parameter %v = %v", v, got)
		}
	}
}
