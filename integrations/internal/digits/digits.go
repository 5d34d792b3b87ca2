// Package digits is what the examples and tests of the integrations train on:
// the images of examples/digits, divided as there, and a report on how two
// trainings went, side by side.
package digits

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	Pixels  = 64 // of an image, 8 rows of 8
	Classes = 10
)

// A Set is images, one after the other, and the digit that each shows.
type Set struct {
	Images []float32 // Pixels for each of Labels, in [0, 1]
	Labels []int32   // below Classes
}

// Load reads examples/digits/digits.csv.gz of the repository that the working
// directory is in. A fifth of the images, drawn at random but always the same,
// is held out to test on.
func Load() (train, test *Set, err error) {
	file, err := open()
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	train, test, err = read(file)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return train, test, nil
}

// open opens the file in the working directory's repository: it is embedded in a
// program, which cannot be imported, and go:embed reaches no file above its own.
func open() (*os.File, error) {
	name := filepath.Join("examples", "digits", "digits.csv.gz")
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for at := dir; ; at = filepath.Dir(at) {
		file, err := os.Open(filepath.Join(at, name))
		if err == nil {
			return file, nil
		}
		if at == filepath.Dir(at) {
			return nil, fmt.Errorf("no %s in %s or above it", name, dir)
		}
	}
}

// read reads gzipped lines of an image each.
func read(r io.Reader) (train, test *Set, err error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, nil, err
	}
	lines, err := csv.NewReader(unzipped).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	train, test = &Set{}, &Set{}
	for i, at := range rand.New(rand.NewPCG(0, 0)).Perm(len(lines)) {
		set := train
		if i < len(lines)/5 {
			set = test
		}
		if err := set.add(lines[at]); err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", at+1, err)
		}
	}
	return train, test, nil
}

// add adds an image: its pixels as numbers of 0 to 16, and the digit.
func (s *Set) add(line []string) error {
	if len(line) != Pixels+1 {
		return fmt.Errorf("%d fields: must be %d", len(line), Pixels+1)
	}
	for i, field := range line {
		most := uint64(16)
		if i == Pixels {
			most = Classes - 1
		}
		v, err := strconv.ParseUint(field, 10, 8)
		if err != nil || v > most {
			return fmt.Errorf("field %d is %q: must be a number of 0 to %d", i+1, field, most)
		}
		if i < Pixels {
			s.Images = append(s.Images, float32(v)/16)
		} else {
			s.Labels = append(s.Labels, int32(v))
		}
	}
	return nil
}

// Batches yields so many images at a time, in an order that depends on the epoch
// and nothing else. What is left after the last whole batch is left out.
func (s *Set) Batches(epoch, size int) iter.Seq[*Set] {
	return func(yield func(*Set) bool) {
		order := rand.New(rand.NewPCG(1, uint64(epoch))).Perm(len(s.Labels))
		for ; len(order) >= size; order = order[size:] {
			batch := &Set{}
			for _, i := range order[:size] {
				batch.Images = append(batch.Images, s.Images[i*Pixels:(i+1)*Pixels]...)
				batch.Labels = append(batch.Labels, s.Labels[i])
			}
			if !yield(batch) {
				return
			}
		}
	}
}

// Weights draws those of a layer, inputs rows of outputs, uniformly and with a
// variance of 2/inputs, at which signals neither grow nor fade on their way
// through rectifiers (He and others, Delving deep into rectifiers, 2015).
func Weights(rng *rand.Rand, inputs, outputs int) []float32 {
	width := 2 * math.Sqrt(6/float64(inputs))
	w := make([]float32, inputs*outputs)
	for i := range w {
		w[i] = float32(width * (rng.Float64() - 0.5))
	}
	return w
}

// Accuracy is the share of images whose label has the highest of its Classes
// scores, which lie one image after the other.
func (s *Set) Accuracy(scores []float32) float64 {
	right := 0
	for i, label := range s.Labels {
		row := scores[i*Classes : (i+1)*Classes]
		if slices.Index(row, slices.Max(row)) == int(label) {
			right++
		}
	}
	return float64(right) / float64(len(s.Labels))
}
