package main

import (
	"math/rand/v2"

	"github.com/seed57504d97/kernel/internal/digits"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

const hidden = 64

// weights are the parameters of a perceptron of two layers.
type weights struct{ w1, b1, w2, b2 *tensor.Dense }

// newWeights returns random weights, always the same, and biases of zero.
func newWeights() *weights {
	rng := rand.New(rand.NewPCG(1, 0))
	layer := func(inputs, outputs int) (w, b *tensor.Dense) {
		return tensor.New(tensor.WithShape(inputs, outputs), tensor.WithBacking(digits.Weights(rng, inputs, outputs))),
			tensor.New(tensor.WithShape(1, outputs), tensor.WithBacking(make([]float32, outputs)))
	}
	w := &weights{}
	w.w1, w.b1 = layer(digits.Pixels, hidden)
	w.w2, w.b2 = layer(hidden, digits.Classes)
	return w
}

// A network is a graph for some number of images at a time.
type network struct {
	vm         gorgonia.VM
	x, y       *gorgonia.Node // the images, and a one for the right class of each
	learnables gorgonia.Nodes
	loss, p    gorgonia.Value // of the last run: mean over the images, and the probabilities for each
}

// newNetwork returns a network with the weights w, which it shares with all
// others that have them. A network for training also computes gradients.
func newNetwork(w *weights, images int, training bool) (*network, error) {
	g := gorgonia.NewGraph()
	n := &network{
		x: gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(images, digits.Pixels), gorgonia.WithName("x")),
		y: gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(images, digits.Classes), gorgonia.WithName("y")),
	}
	layer := func(x *gorgonia.Node, name string, weight, bias *tensor.Dense) *gorgonia.Node {
		w := gorgonia.NodeFromAny(g, weight, gorgonia.WithName("w"+name))
		b := gorgonia.NodeFromAny(g, bias, gorgonia.WithName("b"+name))
		n.learnables = append(n.learnables, w, b)
		return gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Mul(x, w)), b, nil, []byte{0}))
	}
	h := gorgonia.Must(gorgonia.Rectify(layer(n.x, "1", w.w1, w.b1)))
	p := gorgonia.Must(gorgonia.SoftMax(layer(h, "2", w.w2, w.b2)))
	// The mean is over all elements of y*log(p), of which each image has Classes.
	mean := gorgonia.Must(gorgonia.Mean(gorgonia.Must(gorgonia.HadamardProd(gorgonia.Must(gorgonia.Log(p)), n.y))))
	loss := gorgonia.Must(gorgonia.Mul(mean, gorgonia.NewConstant(float32(-digits.Classes))))
	gorgonia.Read(p, &n.p)
	gorgonia.Read(loss, &n.loss)
	if !training {
		n.vm = gorgonia.NewTapeMachine(g)
		return n, nil
	}
	if _, err := gorgonia.Grad(loss, n.learnables...); err != nil {
		return nil, err
	}
	n.vm = gorgonia.NewTapeMachine(g, gorgonia.BindDualValues(n.learnables...))
	return n, nil
}

// run computes loss and p and, in a network for training, adds the gradients to
// those that the learnables have.
func (n *network) run(set *digits.Batch) error {
	y := make([]float32, len(set.Labels)*digits.Classes)
	for i, label := range set.Labels {
		y[i*digits.Classes+int(label)] = 1
	}
	if err := gorgonia.Let(n.x, tensor.New(tensor.WithShape(n.x.Shape()...), tensor.WithBacking(set.Images))); err != nil {
		return err
	}
	if err := gorgonia.Let(n.y, tensor.New(tensor.WithShape(n.y.Shape()...), tensor.WithBacking(y))); err != nil {
		return err
	}
	n.vm.Reset()
	return n.vm.RunAll()
}
