package main

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
)

// A network is a perceptron of two layers, with a rectifier after the first and
// a softmax after the second:
//
//	h = max(x·w1 + b1, 0)
//	p = softmax(h·w2 + b2)
//
// The weights get the same bits on every machine. That takes three precautions. A
// product that is added to something is converted explicitly: otherwise Go may fuse
// the two operations, and does on some machines. Each sum has a fixed order. And
// the weights depend on no function of package math that is not correctly rounded:
// Exp and Log differ in their last bits from machine to machine.
type network struct {
	// All parameters, and the gradient of the loss by each of them.
	theta, grad []float32

	weight, slope layers // the parts of theta and of grad

	x, h, p []float32 // pixels, hidden units and probabilities of one image
	dh, dz  []float32 // gradient of the loss by h, and by what softmax is given
}

// layers are the parts of a slice with an element for each parameter. The
// weights from one unit to all units of the next layer lie side by side.
type layers struct{ w1, b1, w2, b2 []float32 }

func split(all []float32, inputs, hidden int) layers {
	cut := func(size int) (part []float32) {
		part, all = all[:size], all[size:]
		return part
	}
	return layers{w1: cut(inputs * hidden), b1: cut(hidden), w2: cut(hidden * classes), b2: cut(classes)}
}

// newNetwork returns a network with random weights and biases of zero.
func newNetwork(inputs, hidden int, rng *rand.Rand) *network {
	parameters := (inputs+1)*hidden + (hidden+1)*classes
	n := &network{
		theta: make([]float32, parameters),
		grad:  make([]float32, parameters),
		x:     make([]float32, inputs),
		h:     make([]float32, hidden),
		p:     make([]float32, classes),
		dh:    make([]float32, hidden),
		dz:    make([]float32, classes),
	}
	n.weight = split(n.theta, inputs, hidden)
	n.slope = split(n.grad, inputs, hidden)
	randomize(n.weight.w1, inputs, rng)
	randomize(n.weight.w2, hidden, rng)
	return n
}

// randomize draws the weights of a layer with a variance of 2/inputs, at which
// signals neither grow nor fade on their way through rectifiers (He and others,
// 2015). They are uniform because a normal distribution takes a logarithm.
func randomize(w []float32, inputs int, rng *rand.Rand) {
	width := float32(2 * math.Sqrt(6/float64(inputs)))
	for i := range w {
		w[i] = width * (rng.Float32() - 0.5)
	}
}

// gradient adds to grad the gradient of the mean loss over some images of a set,
// times lossScale, and returns the sum of their losses.
func (n *network) gradient(set *dataset, images []int, lossScale float32) (loss float64) {
	for _, i := range images {
		label := set.load(n.x, i)
		loss += n.forward(label)
		n.backward(label, lossScale/float32(len(images)))
	}
	return loss
}

// forward computes h and p from x and returns the loss, which is -log p[label].
func (n *network) forward(label byte) float64 {
	w := &n.weight
	copy(n.h, w.b1)
	for i, x := range n.x {
		if x != 0 { // half of the pixels are background
			addScaled(n.h, x, row(w.w1, i, len(n.h)))
		}
	}
	copy(n.p, w.b2)
	for j, h := range n.h {
		h = max(h, 0)
		n.h[j] = h
		if h != 0 {
			addScaled(n.p, h, row(w.w2, j, classes))
		}
	}
	return softmax(n.p, label)
}

// backward adds to grad the gradient of the loss that forward returned, times
// scale.
func (n *network) backward(label byte, scale float32) {
	w, g := &n.weight, &n.slope
	for k, p := range n.p {
		n.dz[k] = scale * p
	}
	n.dz[label] = scale * (n.p[label] - 1)
	addScaled(g.b2, 1, n.dz)
	for j, h := range n.h {
		n.dh[j] = 0
		if h != 0 {
			n.dh[j] = dot(row(w.w2, j, classes), n.dz)
			addScaled(row(g.w2, j, classes), h, n.dz)
		}
	}
	addScaled(g.b1, 1, n.dh)
	for i, x := range n.x {
		if x != 0 {
			addScaled(row(g.w1, i, len(n.h)), x, n.dh)
		}
	}
}

// accuracy returns the share of a set's images whose label is the likeliest class.
func (n *network) accuracy(set *dataset) float64 {
	right := 0
	for i := range set.labels {
		label := set.load(n.x, i)
		n.forward(label)
		if slices.Index(n.p, slices.Max(n.p)) == int(label) {
			right++
		}
	}
	return float64(right) / float64(len(set.labels))
}

// finite reports whether no parameter is infinite or NaN.
func (n *network) finite() bool {
	return !slices.ContainsFunc(n.theta, func(v float32) bool { return v-v != 0 })
}

// hash returns the SHA-256 of the parameters' bits: w1, b1, w2, b2, little-endian.
func (n *network) hash() [sha256.Size]byte {
	var bits []byte
	for _, v := range n.theta {
		bits = binary.LittleEndian.AppendUint32(bits, math.Float32bits(v))
	}
	return sha256.Sum256(bits)
}

// softmax replaces z by exp(z)/sum(exp(z)) and returns minus the logarithm of
// the element at label. The logarithm may use package math because the program only
// prints it.
func softmax(z []float32, label byte) float64 {
	top := slices.Max(z) // no exponent is above 0, so that nothing overflows
	below := top - z[label]
	var sum float32
	for k, v := range z {
		z[k] = exp(v - top)
		sum += z[k]
	}
	for k := range z {
		z[k] /= sum
	}
	return float64(below) + math.Log(float64(sum))
}

// exp returns e^x for x <= 0 to the last place of a float32, or 0 if e^x is close
// to a subnormal number.
func exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	// e^x = 2^k e^r with |r| <= log(2)/2. The power series of e^r up to r^7/7! is off
	// by less than 2^-27 there.
	k := math.RoundToEven(float64(x) * math.Log2E)
	r := float64(x) - float64(k*math.Ln2)
	e := 1.0
	for i := 7.0; i > 0; i-- {
		e = 1 + r*e/i // in the end 1 + r/1 (1 + r/2 (1 + r/3 (…)))
	}
	return float32(math.Ldexp(e, int(k)))
}

// row returns row i of a matrix.
func row(matrix []float32, i, width int) []float32 {
	return matrix[i*width : (i+1)*width]
}

// addScaled computes y += a*x.
func addScaled(y []float32, a float32, x []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

// dot returns x·y.
func dot(x, y []float32) (sum float32) {
	y = y[:len(x)]
	for i, v := range x {
		sum += float32(v * y[i])
	}
	return sum
}
