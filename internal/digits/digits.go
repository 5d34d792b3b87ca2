// Package digits has the images that the examples train on, the code that their networks share,
// and a report that compares trainings side by side.
//
// The images are Optical Recognition of Handwritten Digits by E. Alpaydin and
// C. Kaynak, 1998, under CC BY 4.0: see examples/digits/README.md.
package digits

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

const (
	Name       = "digits.csv.gz" // the file that is embedded
	Rows, Cols = 8, 8            // of an image
	Pixels     = Rows * Cols
	Darkest    = 16 // the largest value of a pixel
	Classes    = 10
)

// A Set is images, one after the other, and the digit that each of them shows.
type Set struct {
	Images []byte // Pixels of each image, row by row, from 0 to Darkest
	Labels []byte // one per image, below Classes
}

//go:embed digits.csv.gz
var file []byte

// Load returns the images. A fifth of them is held out to test on. It is drawn at
// random, because the file follows a pattern of digits, but always the same.
func Load() (train, test *Set) {
	unzipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	lines, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		panic(err)
	}
	train, test = &Set{}, &Set{}
	for i, at := range rand.New(rand.NewPCG(0, 0)).Perm(len(lines)) {
		set := train
		if i < len(lines)/5 {
			set = test
		}
		var values [Pixels + 1]byte // the pixels of an image, then the digit
		for k, field := range lines[at] {
			v, err := strconv.ParseUint(field, 10, 8)
			if err != nil {
				panic(err)
			}
			values[k] = byte(v)
		}
		set.Images = append(set.Images, values[:Pixels]...)
		set.Labels = append(set.Labels, values[Pixels])
	}
	return train, test
}

// A Batch is some images of a Set as the input of a network.
type Batch struct {
	Images []float32 // Pixels of each image, in [0, 1]
	Labels []int32
}

// All returns all images in their order.
func (s *Set) All() *Batch {
	b := &Batch{}
	for i := range s.Labels {
		b.add(s, i)
	}
	return b
}

func (b *Batch) add(s *Set, i int) {
	for _, pixel := range s.Images[i*Pixels : (i+1)*Pixels] {
		b.Images = append(b.Images, float32(pixel)/Darkest)
	}
	b.Labels = append(b.Labels, int32(s.Labels[i]))
}

// Batches yields size images at a time, in an order that depends on the epoch alone. It leaves
// out the images after the last whole batch.
func (s *Set) Batches(epoch, size int) iter.Seq[*Batch] {
	return func(yield func(*Batch) bool) {
		order := rand.New(rand.NewPCG(1, uint64(epoch))).Perm(len(s.Labels))
		for ; len(order) >= size; order = order[size:] {
			batch := &Batch{}
			for _, i := range order[:size] {
				batch.add(s, i)
			}
			if !yield(batch) {
				return
			}
		}
	}
}

// Weights draws the weights of a layer, inputs rows of outputs, uniformly and with
// a variance of 2/inputs, at which signals neither grow nor fade on their way
// through rectifiers (He and others, Delving deep into rectifiers, 2015).
func Weights(rng *rand.Rand, inputs, outputs int) []float32 {
	width := 2 * math.Sqrt(6/float64(inputs))
	w := make([]float32, inputs*outputs)
	for i := range w {
		w[i] = float32(width * (rng.Float64() - 0.5))
	}
	return w
}

// Accuracy returns the share of images whose label has the highest of the image's
// Classes scores. The scores are those of one image after the other.
func (b *Batch) Accuracy(scores []float32) float64 {
	right := 0
	for i, label := range b.Labels {
		row := scores[i*Classes : (i+1)*Classes]
		if slices.Index(row, slices.Max(row)) == int(label) {
			right++
		}
	}
	return float64(right) / float64(len(b.Labels))
}
