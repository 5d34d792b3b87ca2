package kernel

import (
	"fmt"
	"slices"
)

// UpdateRows takes one step in some rows of a table, as for an embedding of
// which a batch uses few: theta and the state are rows of width elements, and
// row i of grad updates row rows[i] of them, with the bits that Update gives
// there. All other rows are left alone: neither do their means and momentum
// decay, nor does their theta, which is what TensorFlow calls the sparse
// update. A row that is listed with a gradient of zero is not left alone.
//
// [CoalesceRows] makes a gradient that has a row for each use of a row into one
// that fits here. Sorted rows are fastest: neighbours take one step together.
//
// st.Step counts the calls. With BiasCorrection each row takes that for its
// number of steps, so that the means of a row which is used for the first time
// in a late call are not corrected for their start.
//
// It panics with an [*ArgumentError], before it has written anything, where
// Update would, and if a row is out of range or listed twice. It allocates only
// where rows is unsorted and the table has more than 32,768 rows: one bit a row,
// to find what is listed twice.
func (r *RMSProp) UpdateRows(theta, grad []float32, st *State, rows []int, width int) {
	wrong := r.check(nil).width(width)
	if width >= 1 {
		if len(theta)%width != 0 {
			wrong = wrong.addf("theta", Length(len(theta)), "a multiple of width = %d", width)
		}
		wrong = wrong.rowsOf("grad", len(grad), rows, width).rows(rows, len(theta)/width)
	}
	r.checkTensor(wrong, theta, grad, st).panic()
	var k coeffs
	k.round(r, 1, r.rhoAt(st.Step+1))
	table := k.call(theta, grad, st)
	for i := 0; i < len(rows); {
		first := i
		for i++; i < len(rows) && rows[i] == rows[i-1]+1; i++ {
		}
		c := table.part(rows[first]*width, first*width, (i-first)*width)
		c.run(c.n)
	}
	st.Step++
}

// part is x[start:end] of a slice that may be empty instead.
func part(x []float32, start, end int) []float32 {
	if len(x) == 0 {
		return nil
	}
	return x[start:end]
}

// CoalesceRows makes a gradient in which rows are listed twice or more, as where a
// word occurs again in a batch, into one that [RMSProp.UpdateRows] takes: row i
// of grad, of width elements, is added to the others of row rows[i]. The sums are
// float32 sums in the order of the list, and the rows of the result stand in the
// order of their first occurrence, so that the bits are the same everywhere.
//
// What it is given stays as it is. It returns grad and rows themselves where no
// row is listed twice, and new slices otherwise. It panics with an
// [*ArgumentError] if width is not positive or grad does not have a row for each
// of rows.
func CoalesceRows(grad []float32, rows []int, width int) ([]float32, []int) {
	var wrong *ArgumentError
	wrong.width(width).panic()
	wrong.rowsOf("grad", len(grad), rows, width).panic()
	if increasing(rows) {
		return grad, rows
	}
	place := make(map[int]int, len(rows)) // of a row in the result
	for _, row := range rows {
		if _, listed := place[row]; !listed {
			place[row] = len(place)
		}
	}
	if len(place) == len(rows) {
		return grad, rows
	}
	sums, once := make([]float32, 0, len(place)*width), make([]int, 0, len(place))
	for i, row := range rows {
		more := grad[i*width:][:width]
		if at := place[row]; at < len(once) {
			sum := sums[at*width:][:width]
			for j, g := range more {
				sum[j] += g
			}
		} else {
			sums, once = append(sums, more...), append(once, row)
		}
	}
	return sums, once
}

func increasing(rows []int) bool {
	for i := 1; i < len(rows); i++ {
		if rows[i] <= rows[i-1] {
			return false
		}
	}
	return true
}

func (e *ArgumentError) width(width int) *ArgumentError {
	if width < 1 {
		return e.addf("width", width, "1 or more")
	}
	return e
}

// rowsOf checks that a slice of n elements has a row of width elements for each
// of rows.
func (e *ArgumentError) rowsOf(name string, n int, rows []int, width int) *ArgumentError {
	if n%width != 0 || n/width != len(rows) {
		return e.addf(name, Length(n), "%d (len(rows)*width)", len(rows)*width)
	}
	return e
}

// rows checks that the rows are in [0, n) and that none is listed twice. Sorted
// rows are looked at once.
func (e *ArgumentError) rows(rows []int, n int) *ArgumentError {
	sorted, last := true, -1
	for i, r := range rows {
		if r < 0 || r >= n {
			return e.addf(fmt.Sprintf("rows[%d]", i), r, "a row of theta, in [0, %d)", n)
		}
		sorted = sorted && r > last
		last = r
	}
	if sorted {
		return e
	}
	var few [512]uint64
	seen := few[:]
	if n > 64*len(few) {
		seen = make([]uint64, (n+63)/64)
	}
	for i, r := range rows {
		bit := uint64(1) << (r % 64)
		if seen[r/64]&bit != 0 {
			return e.addf(fmt.Sprintf("rows[%d]", i), r, "each row once, which rows[%d] is already", slices.Index(rows, r))
		}
		seen[r/64] |= bit
	}
	return e
}
