package digits

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	train, test := Load()
	if len(train.Labels) != 1438 || len(test.Labels) != 359 {
		t.Errorf("%d and %d images", len(train.Labels), len(test.Labels))
	}
	for _, set := range []*Set{train, test} {
		if len(set.Images) != Pixels*len(set.Labels) {
			t.Errorf("%d pixels in %d images", len(set.Images), len(set.Labels))
		}
		if slices.Min(set.Images) != 0 || slices.Max(set.Images) != Darkest {
			t.Errorf("pixels from %d to %d", slices.Min(set.Images), slices.Max(set.Images))
		}
		if slices.Min(set.Labels) != 0 || slices.Max(set.Labels) != Classes-1 {
			t.Errorf("labels from %d to %d", slices.Min(set.Labels), slices.Max(set.Labels))
		}
	}
	again, _ := Load()
	if !slices.Equal(again.Images, train.Images) || !slices.Equal(again.Labels, train.Labels) {
		t.Error("not the same the second time")
	}
}

func TestAll(t *testing.T) {
	s := numbered(5)
	all := s.All()
	if !slices.Equal(all.Labels, []int32{0, 1, 2, 3, 4}) || len(all.Images) != 5*Pixels {
		t.Errorf("labels %v, %d pixels", all.Labels, len(all.Images))
	}
	for i, v := range all.Images {
		if v != float32(i/Pixels)/16 {
			t.Fatalf("pixel %d is %v", i, v)
		}
	}
}

// numbered returns a set in which each image holds its own index.
func numbered(n int) *Set {
	s := &Set{}
	for i := range n {
		s.Images = append(s.Images, bytes.Repeat([]byte{byte(i)}, Pixels)...)
		s.Labels = append(s.Labels, byte(i%Classes))
	}
	return s
}

func TestBatches(t *testing.T) {
	s := numbered(100)
	epoch := func(n int) (places []int) {
		for batch := range s.Batches(n, 30) {
			if len(batch.Labels) != 30 || len(batch.Images) != 30*Pixels {
				t.Fatalf("%d labels, %d pixels", len(batch.Labels), len(batch.Images))
			}
			for i, label := range batch.Labels {
				image := batch.Images[i*Pixels : (i+1)*Pixels]
				if slices.Min(image) != slices.Max(image) || label != int32(16*image[0])%Classes {
					t.Fatalf("label %d of the image %v", label, image)
				}
				places = append(places, int(16*image[0]))
			}
		}
		return places
	}
	first, second := epoch(0), epoch(1)
	if !slices.Equal(first, epoch(0)) || slices.Equal(first, second) {
		t.Errorf("epochs %v and %v", first, second)
	}
	slices.Sort(first)
	if len(first) != 90 || len(slices.Compact(first)) != 90 {
		t.Errorf("%d images, all of them %v", len(first), first)
	}
	for range s.Batches(0, 30) {
		break // must not yield again
	}
}

func TestWeights(t *testing.T) {
	w := Weights(rand.New(rand.NewPCG(1, 0)), 50, 200)
	var sum, squares float64
	for _, v := range w {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	mean, variance := sum/float64(len(w)), squares/float64(len(w))
	if len(w) != 10000 || math.Abs(mean) > 0.01 || math.Abs(variance-2.0/50) > 0.002 {
		t.Errorf("%d weights, mean %v, variance %v", len(w), mean, variance)
	}
}

func TestAccuracy(t *testing.T) {
	b := numbered(4).All() // of the classes 0, 1, 2, 3
	scores := make([]float32, 4*Classes)
	scores[0] = 0.5           // right
	scores[Classes+2] = 0.5   // wrong
	scores[2*Classes+2] = 0.1 // right
	scores[3*Classes+9] = -1  // wrong: the first of equals counts
	if got := b.Accuracy(scores); got != 0.5 {
		t.Errorf("%v", got)
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	Print(&b,
		&Training{"theirs", []float64{1.23456, 0.5}, 0.96591, 2 * time.Second, time.Second},
		&Training{"ours", []float64{1.23454, 0.25}, 0.5, 1234567 * time.Microsecond, 98765 * time.Microsecond})
	const want = `
                              theirs                  ours
loss, epoch 1                 1.2346                1.2345
loss, epoch 2                 0.5000                0.2500
test accuracy                 96.59%                50.00%
time                              2s                1.235s
in optimizer               1s, 50.0%          98.8ms, 8.0%
`
	if b.String() != want[1:] {
		t.Errorf("printed\n%s", b.String())
	}
	b.Reset()
	Print(&b, &Training{Losses: []float64{1}})
	if strings.Contains(b.String(), "in optimizer") {
		t.Errorf("printed\n%s", b.String())
	}
}
