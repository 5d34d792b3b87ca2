package kernel

import (
	"slices"
	"testing"
)

// All slices of a little memory, empty ones at every place too, against the
// definition: two share an element.
func TestOverlap(t *testing.T) {
	memory := make([]float32, 5)
	var all [][2]int
	for start := range len(memory) + 1 {
		for end := start; end <= len(memory); end++ {
			all = append(all, [2]int{start, end})
		}
	}
	share := func(a, b [2]int) bool { return max(a[0], b[0]) < min(a[1], b[1]) }
	in := func(x [2]int) []float32 { return memory[x[0]:x[1]] }
	for _, a := range all {
		for _, b := range all {
			if got := overlap(in(a), in(b)); got != share(a, b) {
				t.Errorf("overlap of %v and %v: %v", a, b, got)
			}
			spans := appendSpan(appendSpan(nil, in(a), 0, true), in(b), 1, true)
			sortSpans(spans)
			if got := apart(spans); got == share(a, b) {
				t.Errorf("%v and %v apart: %v", a, b, got)
			}
			if share(a, b) {
				continue
			}
			for _, x := range all {
				if got := meets(in(x), spans); got != (share(x, a) || share(x, b)) {
					t.Errorf("%v meets one of %v and %v: %v", x, a, b, got)
				}
			}
		}
	}
	if meets(nil, nil) || !apart(nil) {
		t.Error("there is nothing to overlap")
	}
}

// The sweep says of each slice whether it overlaps one before it of which one is
// written, whatever else lies between them.
func TestOverlapSweep(t *testing.T) {
	memory := make([]float32, 12)
	r := random(t, 41)
	for range 20_000 {
		var spans []span
		for i := range 2 + r.intn(4) {
			start := r.intn(len(memory))
			spans = appendSpan(spans, memory[start:][:1+r.intn(len(memory)-start)], i, r.intn(2) == 0)
		}
		sortSpans(spans)
		var want []int32
		for i, b := range spans {
			if slices.ContainsFunc(spans[:i], func(a span) bool { return a.end > b.start && (a.written || b.written) }) {
				want = append(want, b.slice)
			}
		}
		var got, asked []int32
		var p problems
		p.overlaps(spans, func(slice int32) string {
			asked = append(asked, slice)
			return ""
		})
		for i := 1; i < len(asked); i += 2 { // of a pair the second begins no earlier
			got = append(got, asked[i])
		}
		if !slices.Equal(got, want) || len(p) != len(want) {
			t.Fatalf("%+v: those that overlap one before them are %v, want %v", spans, got, want)
		}
	}
}
